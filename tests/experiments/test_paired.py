"""Intervals: of one figure as evaluation has them, of differences on the same rooms, of mAP over drawn rooms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dollhouse.evaluation.metrics.bootstrap import accuracy_interval
from dollhouse.evaluation.metrics.boxes import BoxScorer
from dollhouse.scenes.scene import Box
from experiments.paper.detections import mean_average_precision, objects_in, room_detections
from experiments.paper.paired import difference, estimate, rate, ratio

RIGHT, ASKED = np.array([3.0, 5, 1, 4, 2, 6]), np.array([6.0, 6, 4, 5, 4, 6])


def test_an_accuracy_is_what_evaluation_says() -> None:
    found = estimate([rate(RIGHT, ASKED)], rooms=6, n=31)
    assert found is not None
    assert found.value == pytest.approx(RIGHT.sum() / ASKED.sum())
    assert found.ci95 == pytest.approx(accuracy_interval(RIGHT, ASKED))


def test_a_thing_differs_from_itself_by_nothing() -> None:
    one = rate(RIGHT, ASKED)
    found = estimate([difference(one, one)], 6, 31)
    same = estimate([ratio(one, one)], 6, 31)
    assert found is not None
    assert same is not None
    assert (found.value, found.ci95, found.certain) == (0.0, (0.0, 0.0), False)
    assert (same.value, same.ci95) == (1.0, (1.0, 1.0))


def test_paired_rooms_show_what_unpaired_ones_hide() -> None:
    """One question more in every room: the rooms differ far more than that, the difference does not."""
    ten = np.full(40, 10.0)
    few = np.arange(40) % 8
    more = difference(rate(few + 1.0, ten), rate(few, ten))
    found = estimate([more], 40, 400)
    assert found is not None
    assert found.certain
    assert found.ci95 == pytest.approx((0.1, 0.1))


def test_seeds_widen_the_interval() -> None:
    low, middle, high = (rate(ASKED * share, ASKED) for share in (0.2, 0.5, 0.8))
    one, three = estimate([middle], 6, 31), estimate([low, middle, high], 6, 31)
    assert one is not None
    assert three is not None
    assert three.seeds == 3
    assert three.value == pytest.approx(0.5)
    assert one.ci95 == pytest.approx((0.5, 0.5))
    assert three.ci95 is not None
    assert three.ci95[0] == pytest.approx(0.2)
    assert three.ci95[1] == pytest.approx(0.8)


def test_what_was_never_asked_has_no_figure() -> None:
    assert estimate([rate(np.zeros(3), np.zeros(3))], 3, 0) is None
    alone = estimate([rate([1.0], [2.0])], 1, 2)
    assert alone is not None
    assert alone.ci95 is None
    assert not alone.certain


def made_boxes(draw: np.random.Generator, count: int, scored: bool) -> list[Box]:
    return [
        Box(
            id=number + 1,
            label=str(draw.choice(["bed", "chair", "lamp"])),
            center=np.array([*draw.integers(0, 3, 2), 0.5]) + draw.uniform(-0.2, 0.2, 3),
            size=np.array([1.0, 1.0, 1.0]),
            yaw=0.0,
            has_front=False,
            score=round(float(draw.uniform()), 1) if scored else None,
        )
        for number in range(count)
    ]


def test_mean_average_precision_is_what_evaluation_says() -> None:
    """Over the rooms as they are, and over rooms drawn several times (which evaluation would be shown as often)."""
    draw = np.random.default_rng(3)
    scenes = [(made_boxes(draw, 8, True), made_boxes(draw, 5, False), made_boxes(draw, 2, False)) for _ in range(6)]
    rooms: list[dict[str, Any]] = [room_detections(*scene) for scene in scenes]
    statistic = mean_average_precision(rooms)
    for times in ([1, 1, 1, 1, 1, 1], [2, 0, 1, 3, 0, 0]):
        scorer = BoxScorer()
        for scene, count in zip(scenes, times, strict=True):
            for _ in range(count):
                scorer.add(*scene)
        expected = scorer.result()
        assert expected is not None
        # equal scores of different rooms stand in another order when rooms repeat, so only nearly the same
        exact = 1e-9 if max(times) == 1 else 0.03
        assert statistic(np.array([times], dtype=np.float64))[0] == pytest.approx(expected["map_25"], abs=exact)
    assert objects_in(rooms) == 30


def test_no_detection_at_all_is_zero() -> None:
    rooms = [{"truths": {"bed": 1}, "found": []}] * 3
    assert mean_average_precision(rooms)(np.ones((1, 3)))[0] == 0.0
