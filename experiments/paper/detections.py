"""Mean average precision as a statistic over rooms, so that it has an interval and can be compared room by room.

The same figure as :class:`dollhouse.evaluation.metrics.boxes.BoxScorer` gives, of rooms drawn any number of times. Knows what
was found in each room, nothing of boxes.

Axes: D draws, S rooms, N predictions of one class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dollhouse.evaluation.metrics.boxes import box_iou, match_boxes
from dollhouse.geometry import Array
from dollhouse.scenes.scene import Box
from experiments.paper.paired import Statistic

THRESHOLD = 0.25  #: of the overlap


def room_detections(predicted: Sequence[Box], truth: Sequence[Box], ignored: Sequence[Box]) -> dict[str, Any]:
    """One room, JSON-able: ``truths`` {label: count}, ``found`` [[label, score, verdict]], surest first in a class.

    A verdict is 1 where an object was found, 0 where none; predictions that fit an ``ignored`` object are left out.
    """
    truths: dict[str, int] = {}
    found: list[list[Any]] = []
    for label in sorted({box.label for box in (*predicted, *truth)}):
        mine, theirs, hardly = ([box for box in boxes if box.label == label] for boxes in (predicted, truth, ignored))
        if theirs:
            truths[label] = len(theirs)
        scores = [float(box.score or 0.0) for box in mine]
        order = sorted(range(len(mine)), key=lambda index: -scores[index])
        verdicts = match_boxes(box_iou(mine, [*theirs, *hardly]), order, len(theirs), THRESHOLD)
        found += [[label, scores[index], int(verdicts[index])] for index in order if verdicts[index] >= 0]
    return {"truths": truths, "found": found}


def mean_average_precision(rooms: Sequence[Mapping[str, Any]]) -> Statistic:
    """The statistic over rooms of :func:`room_detections`: mean over the classes that occur in the draw."""
    labels = sorted({label for room in rooms for label in room["truths"]})
    truths = np.array([[room["truths"].get(label, 0) for label in labels] for room in rooms], dtype=np.float64)
    ranked = []
    for label in labels:
        of_class = [
            (score, verdict, number)
            for number, room in enumerate(rooms)
            for name, score, verdict in room["found"]
            if name == label
        ]
        of_class.sort(key=lambda entry: -entry[0])
        hits = np.array([verdict for _, verdict, _ in of_class], dtype=np.float64)
        ranked.append((hits, np.array([number for _, _, number in of_class], dtype=np.int64)))

    def statistic(times: Array) -> Array:
        wanted = times @ truths  # (D, L)
        precisions = [_average_precision(times[:, room], hits) for hits, room in ranked]
        with np.errstate(invalid="ignore", divide="ignore"):
            each = np.stack(precisions, -1) / wanted if labels else np.full((len(times), 1), np.nan)
        counted = np.isfinite(each)
        return np.where(counted, each, 0.0).sum(-1) / np.maximum(counted.sum(-1), 1)

    return statistic


def objects_in(rooms: Sequence[Mapping[str, Any]]) -> int:
    """Objects to find."""
    return sum(count for room in rooms for count in room["truths"].values())


def _average_precision(times: Array, hits: Array) -> Array:
    """Area under the monotone precision-recall curve times the number of objects: ``times`` (D, N) and ``hits`` (N,).

    A prediction drawn t times stands there t times in a row; of its t precisions each is taken at the last, which is
    the same wherever drawn scores tie.
    """
    if not len(hits):
        return np.zeros(len(times))
    found, made = np.cumsum(times * hits, axis=1), np.cumsum(times, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(made > 0, found / made, 0.0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return (times * hits * envelope).sum(1)
