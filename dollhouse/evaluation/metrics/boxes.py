"""How well predicted boxes fit the true ones: exact overlap of upright boxes, and mean average precision.

Knows nothing of models or images; which true boxes count is told by the caller. Average precision is that of
PASCAL VOC since 2010 and of the ScanNet detection benchmark: the area under the precision-recall curve after the
precision is made monotone, over all scenes at once, averaged over the classes that occur in the truth.

Two protocols differ in one point, what becomes of a prediction whose best object was found already.
:class:`BoxScorer` lets it have the next best that is free; :func:`score_boxes` counts it as wrong, as the published
figures on ScanNet do (the evaluation of VoteNet, Qi et al., ICCV 2019), and averages recall over classes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array
from dollhouse.scenes.scene import Box

VERSION = "boxes:2"  #: rises when any number may change
THRESHOLDS = (0.25, 0.5)
TOUCH = 1e-9  #: metres; a corner this close to an edge counts as inside, which makes shared edges harmless


def _plan_corners(boxes: Sequence[Box]) -> Array:
    """The four corners (N, 4, 2) of each box seen from above, counter-clockwise."""
    return np.array([box.corners[:4, :2] for box in boxes]).reshape(len(boxes), 4, 2)


def _cross(a: Array, b: Array) -> Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _inside(points: Array, polygons: Array) -> NDArray[np.bool_]:
    """Which points (K, P, 2) lie in the convex polygons (K, 4, 2); (K, P)."""
    edges = np.roll(polygons, -1, axis=1) - polygons
    lengths = np.maximum(np.linalg.norm(edges, axis=-1), TOUCH)
    offsets = points[:, :, None] - polygons[:, None]
    return (_cross(edges[:, None], offsets) >= -TOUCH * lengths[:, None]).all(-1)


def convex_overlap(a: Array, b: Array) -> Array:
    """Areas (K,) shared by pairs of convex quadrilaterals (K, 4, 2), each counter-clockwise.

    The shared region is convex too. Its corners are the corners of one that lie in the other and the places where
    edges cross; put in order around their mean, they give the area by the shoelace formula.
    """
    a_edges, b_edges = np.roll(a, -1, axis=1) - a, np.roll(b, -1, axis=1) - b
    turn = _cross(a_edges[:, :, None], b_edges[:, None])
    between = b[:, None] - a[:, :, None]
    parallel = np.abs(turn) < 1e-12
    safe = np.where(parallel, 1.0, turn)
    along_a, along_b = _cross(between, b_edges[:, None]) / safe, _cross(between, a_edges[:, :, None]) / safe
    crossing = ~parallel & (along_a >= 0) & (along_a <= 1) & (along_b >= 0) & (along_b <= 1)
    places = a[:, :, None] + along_a[..., None] * a_edges[:, :, None]

    points = np.concatenate([a, b, places.reshape(-1, 16, 2)], axis=1)
    used = np.concatenate([_inside(a, b), _inside(b, a), crossing.reshape(-1, 16)], axis=1)
    count = used.sum(1, keepdims=True)
    middle = np.where(used[..., None], points, 0.0).sum(1) / np.maximum(count, 1)
    points = np.where(used[..., None], points - middle[:, None], 0.0)
    angle = np.where(used, np.arctan2(points[..., 1], points[..., 0]), np.inf)
    order = np.argsort(angle, axis=1)
    points = np.take_along_axis(points, order[..., None], axis=1)
    # Unused slots come last; they repeat the first point, so the polygon closes and they add no area.
    last = np.arange(points.shape[1]) >= count
    points = np.where(last[..., None], points[:, :1], points)
    area = 0.5 * _cross(points, np.roll(points, -1, axis=1)).sum(1)
    return np.where(count[:, 0] >= 3, np.maximum(area, 0.0), 0.0)


def box_iou(a: Sequence[Box], b: Sequence[Box]) -> Array:
    """Intersection over union (len(a), len(b)) of the volumes of upright yawed boxes in one frame.

    Exact up to rounding. A box without volume overlaps nothing.
    """
    if not a or not b:
        return np.zeros((len(a), len(b)))
    top = np.minimum.outer([box.top for box in a], [box.top for box in b])
    bottom = np.maximum.outer([box.bottom for box in a], [box.bottom for box in b])
    a_plan, b_plan = _plan_corners(a), _plan_corners(b)
    a_reach, b_reach = (np.array([0.5 * np.hypot(*box.size[:2]) for box in boxes]) for boxes in (a, b))
    distance = np.linalg.norm(a_plan.mean(1)[:, None] - b_plan.mean(1)[None], axis=-1)
    rows, columns = np.nonzero((top > bottom) & (distance < np.add.outer(a_reach, b_reach)))
    shared = np.zeros(top.shape)
    shared[rows, columns] = convex_overlap(a_plan[rows], b_plan[columns]) * (top - bottom)[rows, columns]
    volumes = np.add.outer([np.prod(box.size) for box in a], [np.prod(box.size) for box in b])
    union = volumes - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1.0), 0.0)


def average_precision(hits: NDArray[np.bool_], truths: int) -> float:
    """Area under the precision-recall curve with the monotone envelope (VOC 2010 and later).

    ``hits`` (N,) says for each prediction, the surest first, whether it found an object; ``truths`` is the number
    of objects to find, at least 1.
    """
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / truths)


def match_boxes(iou: Array, order: Sequence[int], counted: int, threshold: float) -> NDArray[np.int8]:
    """Greedy matching of one class in one scene: 1 found an object, 0 found none, -1 is ignored; (N,).

    ``iou`` is (N, M): the first ``counted`` columns are the objects to find, the rest may be found without reward or
    punishment. ``order`` lists the predictions from the surest on. Each takes the free object that it overlaps most.
    """
    free = np.ones(counted, dtype=bool)
    verdict = np.zeros(len(iou), dtype=np.int8)
    for index in order:
        overlap = np.where(free, iou[index, :counted], -1.0)
        if counted and overlap.max() >= threshold:
            free[int(overlap.argmax())] = False
            verdict[index] = 1
        elif (iou[index, counted:] >= threshold).any():
            verdict[index] = -1
    return verdict


@dataclass
class _ClassTally:
    truths: int = 0
    scores: list[float] = field(default_factory=list)
    verdicts: dict[float, list[int]] = field(default_factory=lambda: {threshold: [] for threshold in THRESHOLDS})


class BoxScorer:
    """Gathers predicted and true boxes scene by scene; keeps a few numbers a prediction."""

    def __init__(self) -> None:
        self.scenes = 0
        self._classes: dict[str, _ClassTally] = {}
        self._center_errors: list[float] = []

    def add(self, predicted: Sequence[Box], truth: Sequence[Box], ignored: Sequence[Box] = ()) -> None:
        """Compare the boxes of one scene, all in one frame.

        ``truth`` must be found; ``ignored`` (objects hardly visible) need not be, and a prediction that fits one of
        them is left out. Raises ValueError for a prediction without a score.
        """
        if any(box.score is None for box in predicted):
            raise ValueError("a predicted box has no score")
        self.scenes += 1
        for label in sorted({box.label for box in (*predicted, *truth)}):
            self._add_class(
                label, *([box for box in boxes if box.label == label] for boxes in (predicted, truth, ignored))
            )

    def _add_class(self, label: str, predicted: list[Box], truth: list[Box], ignored: list[Box]) -> None:
        tally = self._classes.setdefault(label, _ClassTally())
        tally.truths += len(truth)
        if not predicted:
            return
        iou = box_iou(predicted, [*truth, *ignored])
        scores = [float(box.score or 0.0) for box in predicted]
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        tally.scores += [scores[index] for index in order]
        for threshold in THRESHOLDS:
            verdict = match_boxes(iou, order, len(truth), threshold)
            tally.verdicts[threshold] += [int(verdict[index]) for index in order]
        for box in truth:
            self._center_errors.append(min(math.dist(box.center, other.center) for other in predicted))

    def result(self) -> dict[str, object] | None:
        """mAP and recall at each threshold, as ``map_25``, ``recall_25`` and so on; None if there was no truth.

        Recall is over all objects at once. ``center_error`` is the median distance in metres from an object to the
        nearest prediction of its class, over objects whose class was predicted in their scene. ``n`` counts objects,
        ``predicted`` predictions, ``classes`` holds ``ap_25``, ``ap_50`` and ``n`` for each class.
        """
        classes: dict[str, dict[str, float | int]] = {}
        found = dict.fromkeys(THRESHOLDS, 0)
        for label, tally in sorted(self._classes.items()):
            if not tally.truths:
                continue
            row: dict[str, float | int] = {"n": tally.truths}
            sure_first = np.argsort(-np.array(tally.scores), kind="stable")
            for threshold in THRESHOLDS:
                verdict = np.array(tally.verdicts[threshold], dtype=np.int8)[sure_first]
                row[f"ap_{round(100 * threshold)}"] = average_precision(verdict[verdict >= 0] == 1, tally.truths)
                found[threshold] += int((verdict == 1).sum())
            classes[label] = row
        if not classes:
            return None
        n = sum(tally.truths for tally in self._classes.values())
        result: dict[str, object] = {}
        for threshold in THRESHOLDS:
            name = str(round(100 * threshold))
            result[f"map_{name}"] = float(np.mean([row[f"ap_{name}"] for row in classes.values()]))
            result[f"recall_{name}"] = found[threshold] / n
        predicted = sum(len(tally.scores) for tally in self._classes.values())
        center_error = float(np.median(self._center_errors)) if self._center_errors else None
        return result | {
            "center_error": center_error,
            "n": n,
            "predicted": predicted,
            "scenes": self.scenes,
            "classes": classes,
        }


def score_boxes(scenes: Iterable[tuple[Sequence[Box], Sequence[Box]]]) -> dict[str, object] | None:
    """mAP and recall of predicted and true boxes, scene after scene, as papers print them for ScanNet.

    ``map_25``, ``recall_25`` and so on are means over the classes that occur in the truth; ``classes`` holds both for
    each class, and ``n``, its true boxes. An overlap must exceed the threshold. None where there is no true box.
    Raises ValueError for a prediction without a score.
    """
    truths: dict[str, int] = defaultdict(int)
    candidates: dict[str, list[tuple[float, float, tuple[int, int] | None]]] = defaultdict(list)
    for number, (predicted, truth) in enumerate(scenes):
        labels = np.array([box.label for box in truth])
        overlaps = box_iou(predicted, truth)
        for box in truth:
            truths[box.label] += 1
        for box, overlap in zip(predicted, overlaps, strict=True):
            if box.score is None:
                raise ValueError("a predicted box has no score")
            same = np.flatnonzero(labels == box.label)
            best = int(same[overlap[same].argmax()]) if len(same) else None
            found = None if best is None else (number, best)
            candidates[box.label].append((box.score, 0.0 if best is None else float(overlap[best]), found))
    if not truths:
        return None
    classes: dict[str, dict[str, float | int]] = {}
    for label, count in sorted(truths.items()):
        row: dict[str, float | int] = {"n": count}
        surest_first = sorted(candidates[label], key=lambda candidate: -candidate[0])
        for threshold in THRESHOLDS:
            taken: set[tuple[int, int] | None] = set()
            hits = np.zeros(len(surest_first), dtype=bool)
            for place, (_, overlap, found) in enumerate(surest_first):
                if overlap > threshold and found not in taken:
                    taken.add(found)
                    hits[place] = True
            name = str(round(100 * threshold))
            row[f"ap_{name}"], row[f"recall_{name}"] = average_precision(hits, count), int(hits.sum()) / count
        classes[label] = row
    means: dict[str, object] = {}
    for name in (str(round(100 * threshold)) for threshold in THRESHOLDS):
        means[f"map_{name}"] = float(np.mean([row[f"ap_{name}"] for row in classes.values()]))
        means[f"recall_{name}"] = float(np.mean([row[f"recall_{name}"] for row in classes.values()]))
    return means | {"n": sum(truths.values()), "predicted": sum(map(len, candidates.values())), "classes": classes}
