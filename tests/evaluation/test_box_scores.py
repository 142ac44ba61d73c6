from dataclasses import replace

import numpy as np
import pytest

from dollhouse.evaluation.metrics.boxes import BoxScorer, average_precision, box_iou
from dollhouse.geometry import inside_box
from dollhouse.scenes.scene import Box


def box(center=(0, 0, 0.5), size=(1, 1, 1), yaw=0.0, label="chair", score=None, id=1):
    return Box(id, label, np.array(center, float), np.array(size, float), yaw, score=score)


def random_box(generator, label="chair", score=None):
    return box(generator.uniform(-0.6, 0.6, 3), generator.uniform(0.3, 1.8, 3), generator.uniform(-4, 4), label, score)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (box(), box(), 1.0),
        (box(yaw=0.7), box(yaw=0.7 + np.pi), 1.0),
        (box(yaw=0.3), box(yaw=0.3 + np.pi / 2), 1.0),
        (box(), box(center=(0.5, 0, 0.5)), 1 / 3),
        (box(), box(center=(0, 0, 1.0)), 1 / 3),
        (box(), box(center=(1, 0, 0.5)), 0.0),  # a shared face is no overlap
        (box(), box(center=(0, 0, 1.5)), 0.0),
        (box(), box(size=(0.5, 0.5, 0.5)), 1 / 8),
        (box(size=(2, 1, 1)), box(size=(2, 1, 1), yaw=np.pi / 2), 1 / 3),
        (box(), box(yaw=np.pi / 4), (a := 2 * (np.sqrt(2) - 1)) / (2 - a)),  # a regular octagon
        (box(), box(center=(9, 9, 9)), 0.0),
        (box(), box(size=(0, 1, 1)), 0.0),
        (box(size=(0, 0, 0)), box(size=(0, 0, 0)), 0.0),
        (box(center=(1e3, -1e3, 0.5), yaw=1.1), box(center=(1e3, -1e3, 0.5), yaw=1.1 + 1e-12), 1.0),
    ],
)
def test_iou_of_constructed_boxes(a, b, expected):
    assert box_iou([a], [b])[0, 0] == pytest.approx(expected, abs=1e-9)
    assert box_iou([b], [a])[0, 0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
def test_iou_against_dense_sampling():
    generator = np.random.default_rng(7)
    a, b = ([random_box(generator) for _ in range(300)] for _ in range(2))
    exact = np.array([box_iou([first], [second])[0, 0] for first, second in zip(a, b, strict=True)])
    points = generator.uniform(-2.0, 2.0, (60_000, 3))
    in_a, in_b = ([inside_box(points, x.center, x.size, x.yaw) for x in boxes] for boxes in (a, b))
    sampled = np.array([(p & q).sum() / max((p | q).sum(), 1) for p, q in zip(in_a, in_b, strict=True)])
    assert (exact > 0.1).sum() > 50
    assert np.abs(exact - sampled).max() < 0.08
    assert abs(np.mean(exact - sampled)) < 0.002


def test_iou_of_many_is_that_of_each_pair():
    generator = np.random.default_rng(8)
    a, b = ([random_box(generator) for _ in range(count)] for count in (16, 12))
    pairs = [[box_iou([first], [second])[0, 0] for second in b] for first in a]
    assert np.allclose(box_iou(a, b), pairs)
    assert box_iou([], b).shape == (0, 12)


def slow_average_precision(scenes, label, threshold):
    """Plain reference: one list over all scenes, one prediction after the other, precision at each recall."""
    predictions = sorted(
        (
            (p.score, scene, i)
            for scene, (found, _) in enumerate(scenes)
            for i, p in enumerate(found)
            if p.label == label
        ),
        key=lambda item: -item[0],
    )
    truths = sum(t.label == label for _, truth in scenes for t in truth)
    taken, hits = set(), []
    for _, scene, i in predictions:
        best, best_overlap = None, threshold
        for j, true_box in enumerate(scenes[scene][1]):
            overlap = box_iou([scenes[scene][0][i]], [true_box])[0, 0]
            if true_box.label == label and (scene, j) not in taken and overlap >= best_overlap:
                best, best_overlap = (scene, j), overlap
        hits.append(best is not None)
        taken.add(best)
    area = 0.0
    for rank, hit in enumerate(hits):
        if hit:
            area += max(sum(hits[: k + 1]) / (k + 1) for k in range(rank, len(hits))) / truths
    return area


def test_map_against_a_plain_reference():
    generator = np.random.default_rng(3)
    labels = ("chair", "table", "lamp")
    scenes = []
    for _ in range(12):
        truth = [random_box(generator, str(generator.choice(labels))) for _ in range(6)]
        found = [
            replace(t, center=t.center + generator.normal(0, 0.15, 3), score=float(generator.uniform()))
            for t in truth + truth[:3]
        ]
        found += [random_box(generator, str(generator.choice(labels)), float(generator.uniform())) for _ in range(4)]
        scenes.append((found, truth))
    scorer = BoxScorer()
    for found, truth in scenes:
        scorer.add(found, truth)
    result = scorer.result()
    assert result is not None
    for threshold, name in ((0.25, "25"), (0.5, "50")):
        expected = [slow_average_precision(scenes, label, threshold) for label in labels]
        assert result[f"map_{name}"] == pytest.approx(np.mean(expected))
        assert 0.05 < np.mean(expected) < 0.95
    assert result["n"] == 72


def test_average_precision_by_hand():
    # precision 1, 1/2, 2/3, 2/4 at recall 1/3, 1/3, 2/3, 2/3: the envelope is 1, 2/3, 2/3, 1/2
    assert average_precision(np.array([True, False, True, False]), 3) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(np.zeros(0, dtype=bool), 4) == 0.0


def test_hardly_seen_objects_neither_help_nor_hurt():
    sure, hidden = box(score=0.5), box(center=(5, 0, 0.5), score=0.9)
    scorer = BoxScorer()
    scorer.add([hidden, sure], [box()], [box(center=(5, 0, 0.5))])
    result = scorer.result()
    assert result is not None
    assert (result["map_25"], result["recall_25"], result["n"]) == (1.0, 1.0, 1)
    punished = BoxScorer()
    punished.add([hidden, sure], [box()])
    assert punished.result()["map_25"] == 0.5


def test_objects_without_a_label_neither_help_nor_hurt_any_class():
    scorer, foreign = BoxScorer(), box((4, 0, 0.5), label="whiteboard")
    predicted = [box(score=0.9), box((4, 0, 0.5), label="table", score=0.8), box((8, 0, 0.5), label="chair", score=0.7)]
    scorer.add(predicted, [box(), box((-4, 0, 0.5), label="table")], unlabelled=[foreign])
    result = scorer.result()
    assert result["n"] == 2
    assert result["classes"]["chair"]["ap_50"] == 1.0
    assert result["classes"]["table"]["ap_50"] == 0.0
    counted = BoxScorer()
    counted.add([box((4, 0, 0.5), score=0.95), *predicted], [box()], unlabelled=[foreign])
    assert counted.result()["map_50"] == 1.0, "else the first prediction would be wrong"


def test_a_second_prediction_of_one_object_is_wrong_and_absent_classes_do_not_count():
    scorer = BoxScorer()
    scorer.add([box(score=0.9), box(score=0.8), box(label="tree", score=0.7)], [box(), box(center=(4, 0, 0.5))])
    result = scorer.result()
    assert list(result["classes"]) == ["chair"]
    assert result["map_25"] == 0.5
    assert result["recall_50"] == 0.5
    assert BoxScorer().result() is None


def test_a_prediction_needs_a_score():
    with pytest.raises(ValueError, match="score"):
        BoxScorer().add([box()], [box()])
