"""Intervals of one figure, of paired differences and of mAP, against plain references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import t

from dollhouse.evaluation.metrics.bootstrap import accuracy_interval
from dollhouse.evaluation.metrics.boxes import BoxScorer
from dollhouse.evaluation.metrics.text import score_texts
from dollhouse.evaluation.tables.statistics import (
    difference,
    estimate,
    mean_average_precision,
    rate,
    ratio,
    shortened,
    text_figures,
)
from dollhouse.scenes.scene import Box
from experiments.paper.measure import detections

RIGHT, ASKED = np.array([3.0, 5, 1, 4, 2, 6]), np.array([6.0, 6, 4, 5, 4, 6])


def test_accuracy_equals_evaluation() -> None:
    found = estimate([rate(RIGHT, ASKED)], rooms=6, n=31)
    assert found is not None
    assert found.value == pytest.approx(RIGHT.sum() / ASKED.sum())
    assert found.ci95 == pytest.approx(accuracy_interval(RIGHT, ASKED))


def test_paired_bootstrap_equals_a_plain_loop() -> None:
    """Rooms drawn with replacement, both models and all seeds on the same ones; the seeds' variance is added."""
    generator = np.random.default_rng(5)
    asked = generator.integers(3, 9, 10).astype(float)
    seeds = [(generator.integers(0, 3, 10).astype(float), generator.integers(0, 4, 10).astype(float)) for _ in range(3)]
    found = estimate([difference(rate(a, asked), rate(b, asked)) for a, b in seeds], 10, 50)

    draws = np.random.default_rng(0)
    drawn = np.concatenate([draws.integers(0, 10, (100, 10)) for _ in range(20)])
    changes = [np.mean([(a[rooms].sum() - b[rooms].sum()) / asked[rooms].sum() for a, b in seeds]) for rooms in drawn]
    by_seed = [(a.sum() - b.sum()) / asked.sum() for a, b in seeds]
    of_rooms, of_seeds = np.var(changes), np.var(by_seed, ddof=1) / 3
    degrees = (of_rooms + of_seeds) ** 2 / (of_rooms**2 / 9 + of_seeds**2 / 2)
    half = t.ppf(0.975, degrees) * np.sqrt(of_rooms + of_seeds)
    assert found is not None
    assert found.value == pytest.approx(np.mean(by_seed))
    assert found.ci95 == pytest.approx((found.value - half, found.value + half))
    assert (found.n, found.rooms, found.seeds) == (50, 10, 3)


@pytest.mark.parametrize("room_noise", [0.0, 0.5, 2.0])
def test_intervals_of_three_seeds_seldom_exclude_the_truth(room_noise: float) -> None:
    """Without an effect at most about one interval in twenty excludes 0, whatever varies more, seeds or rooms."""
    generator, asked, excluded = np.random.default_rng(3), np.ones(12), 0
    for _ in range(200):
        rooms, seeds = generator.normal(0, room_noise, 12), generator.normal(0, 0.4, 3)
        found = estimate([rate(rooms + seed + generator.normal(0, 0.1, 12), asked) for seed in seeds], 12, 12)
        assert found is not None
        excluded += found.excludes_zero
    assert excluded <= 18


def test_a_figure_differs_from_itself_by_nothing() -> None:
    accuracy = rate(RIGHT, ASKED)
    found, same = estimate([difference(accuracy, accuracy)], 6, 31), estimate([ratio(accuracy, accuracy)], 6, 31)
    assert found is not None
    assert same is not None
    assert (found.value, found.ci95, found.excludes_zero) == (0.0, (0.0, 0.0), False)
    assert (same.value, same.ci95) == (1.0, (1.0, 1.0))


def test_paired_rooms_show_what_unpaired_ones_hide() -> None:
    """One question more in every room: the rooms differ far more than that, the difference does not."""
    ten, few = np.full(40, 10.0), np.arange(40) % 8
    found = estimate([difference(rate(few + 1.0, ten), rate(few, ten))], 40, 400)
    assert found is not None
    assert found.excludes_zero
    assert found.ci95 == pytest.approx((0.1, 0.1))


def test_seeds_widen_the_interval() -> None:
    low, middle, high = (rate(ASKED * share, ASKED) for share in (0.2, 0.5, 0.8))
    single, three = estimate([middle], 6, 31), estimate([low, middle, high], 6, 31)
    assert single is not None
    assert three is not None
    assert (three.seeds, three.value) == (3, pytest.approx(0.5))
    assert single.ci95 == pytest.approx((0.5, 0.5))
    assert three.ci95 == pytest.approx((0.5 - 4.3027 * 0.3 / 3**0.5, 0.5 + 4.3027 * 0.3 / 3**0.5), rel=1e-4)


def test_without_questions_there_is_no_figure() -> None:
    assert estimate([rate(np.zeros(3), np.zeros(3))], 3, 0) is None
    alone = estimate([rate([1.0], [2.0])], 1, 2)
    assert alone is not None
    assert (alone.ci95, alone.excludes_zero) == (None, False)


def random_boxes(generator: np.random.Generator, count: int, scored: bool) -> list[Box]:
    return [
        Box(
            id=number + 1,
            label=str(generator.choice(["bed", "chair", "lamp"])),
            center=np.array([*generator.integers(0, 3, 2), 0.5]) + generator.uniform(-0.2, 0.2, 3),
            size=np.array([1.0, 1.0, 1.0]),
            yaw=0.0,
            has_front=False,
            score=round(float(generator.uniform()), 1) if scored else None,
        )
        for number in range(count)
    ]


def test_mean_average_precision_equals_evaluation() -> None:
    """Over the rooms as they are, and over rooms drawn several times, which evaluation gets as often."""
    generator = np.random.default_rng(3)
    scenes = [tuple(random_boxes(generator, count, count == 8) for count in (8, 5, 2)) for _ in range(6)]
    rooms: list[dict[str, Any]] = [detections(*scene) for scene in scenes]
    for times in ([1, 1, 1, 1, 1, 1], [2, 0, 1, 3, 0, 0]):
        scorer = BoxScorer()
        for scene, count in zip(scenes, times, strict=True):
            for _ in range(count):
                scorer.add(*scene)
        expected = scorer.result()
        assert expected is not None
        # equal scores of different rooms are ordered otherwise when rooms repeat, so only nearly the same
        exact = 1e-9 if max(times) == 1 else 0.03
        drawn = mean_average_precision(rooms)(np.array([times], dtype=np.float64))[0]
        assert drawn == pytest.approx(expected["map_25"], abs=exact)


def test_no_detection_at_all_is_zero() -> None:
    rooms = [{"truths": {"bed": 1}, "found": []}] * 3
    assert mean_average_precision(rooms)(np.ones((1, 3)))[0] == 0.0


TEXTS = ["a room with a bed and a chair.", "a room.", "a big room with two lamps, a sofa and a bed."]
REFERENCES = ["a room with a bed and a lamp.", "a room with a sofa and a plant.", "a room with two lamps and a sofa."]


def test_bleu_over_rooms_is_that_of_the_corpus() -> None:
    expected = score_texts(TEXTS, [[text] for text in REFERENCES])
    found = text_figures(TEXTS, REFERENCES, ["a", "b", "c"])
    for order in range(1, 5):
        bleu = found[f"BLEU-{order}"].estimate()
        assert bleu is not None
        assert bleu.value == pytest.approx(expected[f"coco_bleu_{order}"].value, abs=1e-12)


def test_length_normalised_scores_do_not_punish_brevity() -> None:
    texts, references = shortened(TEXTS, REFERENCES)
    assert [len(a.split()) for a in texts] == [len(b.split()) for b in references] == [8, 2, 8]
    pair = (["a room with"], ["a room with a sofa and a plant."])
    values = [text_figures(*texts, ["r"]) for texts in (pair, shortened(*pair))]
    found = {
        name: [score.value for scores in values if (score := scores[name].estimate())]
        for name in ("ROUGE-1 recall", "ROUGE-1")
    }
    assert found["ROUGE-1 recall"] == pytest.approx([3 / 8, 1.0])
    assert found["ROUGE-1"][1] == 1.0
