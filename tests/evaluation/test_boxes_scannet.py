"""Overlap of many yawed boxes against dense sampling, and ScanNet's protocol against a slow reading of it."""

import numpy as np
import pytest

from dollhouse.evaluation.metrics.boxes import BoxScorer, box_iou, convex_overlap
from dollhouse.scenes.scene import Box

PAIRS = 2000
STEPS = 128  #: sample points along each axis of a box


def box(center=(0, 0, 0.5), size=(1, 1, 1), yaw=0.0, label="chair", score=None):
    return Box(1, label, np.array(center, float), np.array(size, float), yaw, score=score)


def random_box(generator, label="chair", score=None):
    size = generator.uniform(0.2, 2.0, 3)
    return box(generator.uniform(-0.7, 0.7, 3), size, generator.uniform(-4, 4), label, score)


def sampled_iou(a, b):
    """From STEPS³ points spread evenly in ``a``: those inside ``b``.

    Boxes stand upright, so whether a point is inside is one question in the plan and another in height, and the two
    shares multiply.
    """
    ticks = (np.arange(STEPS) + 0.5) / STEPS - 0.5
    x, y = (axis.ravel() for axis in np.meshgrid(ticks * a.size[0], ticks * a.size[1]))
    turn = a.yaw - b.yaw
    offset = a.center - b.center
    along = x * np.cos(turn) - y * np.sin(turn) + offset[0] * np.cos(b.yaw) + offset[1] * np.sin(b.yaw)
    across = x * np.sin(turn) + y * np.cos(turn) + offset[1] * np.cos(b.yaw) - offset[0] * np.sin(b.yaw)
    in_plan = np.mean((np.abs(along) <= b.size[0] / 2) & (np.abs(across) <= b.size[1] / 2))
    in_height = np.mean(np.abs(ticks * a.size[2] + offset[2]) <= b.size[2] / 2)
    shared = in_plan * in_height * np.prod(a.size)
    return shared / (np.prod(a.size) + np.prod(b.size) - shared)


@pytest.mark.slow
def test_iou_of_2000_random_pairs_against_dense_sampling():
    generator = np.random.default_rng(17)
    a, b = ([random_box(generator) for _ in range(PAIRS)] for _ in range(2))
    exact = np.array([box_iou([first], [second])[0, 0] for first, second in zip(a, b, strict=True)])
    sampled = np.array([sampled_iou(*pair) for pair in zip(a, b, strict=True)])
    assert (exact > 0.1).sum() > 300
    assert (exact == 0).sum() > 100
    assert np.abs(exact - sampled).max() < 0.02  # one layer of samples of a box half as high as the other
    assert np.abs(exact - sampled).mean() < 0.001
    assert abs(np.mean(exact - sampled)) < 1e-4


def clip(polygon, corner, other):
    """Sutherland and Hodgman: what of a polygon lies left of the line from ``corner`` to ``other``."""

    def side(point):
        return (other[0] - corner[0]) * (point[1] - corner[1]) - (other[1] - corner[1]) * (point[0] - corner[0])

    kept = []
    for i, point in enumerate(polygon):
        before = polygon[i - 1]
        if (side(before) >= 0) != (side(point) >= 0):
            share = side(before) / (side(before) - side(point))
            kept.append(before + share * (point - before))
        if side(point) >= 0:
            kept.append(point)
    return kept


def test_overlap_at_once_is_that_of_clipping_edge_by_edge():
    generator = np.random.default_rng(5)
    pairs = [(random_box(generator).corners[:4, :2], random_box(generator).corners[:4, :2]) for _ in range(400)]
    areas = convex_overlap(np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]))
    for (a, b), area in zip(pairs, areas, strict=True):
        polygon = list(a)
        for i in range(4):
            polygon = clip(polygon, b[i], b[(i + 1) % 4])
        x, y = np.array(polygon).reshape(-1, 2).T
        expected = 0.5 * abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) if len(polygon) else 0.0
        assert area == pytest.approx(expected, abs=1e-9)


def slow_protocol(scenes, label, threshold):
    """Average precision and recall of one class, one prediction after the other."""
    found = [(p.score, n, p) for n, (predicted, _) in enumerate(scenes) for p in predicted if p.label == label]
    truths = {n: [t for t in truth if t.label == label] for n, (_, truth) in enumerate(scenes)}
    count = sum(map(len, truths.values()))
    taken, hits = set(), []
    for _, scene, prediction in sorted(found, key=lambda item: -item[0]):
        overlaps = [box_iou([prediction], [true])[0, 0] for true in truths[scene]]
        best = max(range(len(overlaps)), key=overlaps.__getitem__) if overlaps else None
        hit = best is not None and overlaps[best] > threshold and (scene, best) not in taken
        if hit:
            taken.add((scene, best))
        hits.append(hit)
    precisions = [sum(hits[: k + 1]) / (k + 1) for k in range(len(hits))]
    return sum(max(precisions[k:]) / count for k, hit in enumerate(hits) if hit), sum(hits) / count


def score_boxes(scenes):
    scorer = BoxScorer(best_only=True)
    for predicted, truth in scenes:
        scorer.add(predicted, truth)
    return scorer.result()


def test_map_and_recall_against_the_slow_protocol():
    generator = np.random.default_rng(9)
    labels = ("bed", "chair", "lamp")
    scenes = []
    for _ in range(10):
        truth = [random_box(generator, str(generator.choice(labels))) for _ in range(6)]
        found = [
            box(t.center + generator.normal(0, 0.12, 3), t.size, t.yaw, t.label, float(generator.uniform()))
            for t in (*truth, *truth[:3])
        ]
        found += [random_box(generator, str(generator.choice((*labels, "sofa"))), float(generator.uniform()))] * 2
        scenes.append((found, truth))
    result = score_boxes(scenes)
    assert result is not None
    assert list(result["classes"]) == ["bed", "chair", "lamp"]  # nobody annotated a sofa
    for name, threshold in (("25", 0.25), ("50", 0.5)):
        expected = np.array([slow_protocol(scenes, label, threshold) for label in labels])
        assert result[f"map_{name}"] == pytest.approx(expected[:, 0].mean())
        assert result[f"recall_{name}"] == pytest.approx(expected[:, 1].mean())
        assert 0.05 < result[f"map_{name}"] < 0.95
    assert (result["n"], result["predicted"]) == (60, 110)


def test_a_prediction_whose_best_object_is_taken_is_wrong_even_if_another_is_free():
    truth = [box(), box(center=(0.5, 0, 0.5))]
    both_at_the_first = [box(score=0.9), box(center=(0.1, 0, 0.5), score=0.8)]
    result = score_boxes([(both_at_the_first, truth)])
    assert result is not None
    assert (result["map_25"], result["recall_25"]) == (0.5, 0.5)


def test_recall_is_averaged_over_classes_and_nothing_true_is_nothing():
    truth = [box(label="bed"), *[box((i, 5, 0.5), label="chair") for i in (2, 4, 6)]]
    result = score_boxes([([box(label="bed", score=0.5)], truth)])
    assert result is not None
    assert result["recall_25"] == 0.5
    assert score_boxes([([box(score=0.5)], [])]) is None
    with pytest.raises(ValueError, match="score"):
        score_boxes([([box()], truth)])
