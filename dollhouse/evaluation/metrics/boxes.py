"""Overlap of upright boxes, and mean average precision.

Average precision is that of PASCAL VOC since 2010 and of the ScanNet detection benchmark: the area under the
precision-recall curve after the precision is made monotone, over all scenes at once, averaged over the classes that
occur in the truth. With ``best_only`` it is that of published figures on ScanNet (VoteNet, Qi et al., ICCV 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array
from dollhouse.scenes.scene import Box

VERSION = "boxes:2"  #: rises when any number may change
THRESHOLDS = (0.25, 0.5)
TOUCH = 1e-9  #: metres; a corner this close to an edge counts as inside, which makes shared edges harmless


def _plan_corners(boxes: Sequence[Box]) -> Array:
    """Return the four corners (N, 4, 2) of each box in the ground plane, counter-clockwise."""
    return np.array([box.corners[:4, :2] for box in boxes]).reshape(len(boxes), 4, 2)


def _cross(a: Array, b: Array) -> Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _inside(points: Array, polygons: Array) -> NDArray[np.bool_]:
    """Test which points (K, P, 2) lie in the convex polygons (K, 4, 2); (K, P)."""
    edges = np.roll(polygons, -1, axis=1) - polygons
    lengths = np.maximum(np.linalg.norm(edges, axis=-1), TOUCH)
    offsets = points[:, :, None] - polygons[:, None]
    return (_cross(edges[:, None], offsets) >= -TOUCH * lengths[:, None]).all(-1)


def convex_overlap(a: Array, b: Array) -> Array:
    """Compute the areas (K,) shared by pairs of convex quadrilaterals (K, 4, 2), counter-clockwise.

    The corners of the shared region are the corners of each that lie in the other and the places where edges cross;
    sorted around their mean, they give the area by the shoelace formula.
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
    """Compute the IoU (len(a), len(b)) of the volumes of upright, yawed boxes in one frame.

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
    """Compute the area under the monotone precision-recall curve (VOC 2010 and later).

    Args:
        hits: (N,), whether each prediction matched an object, the highest score first.
        truths: number of true objects, at least 1.
    """
    matched = np.cumsum(hits)
    precision = matched / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / truths)


def match_boxes(
    iou: Array, order: Sequence[int], counted: int, threshold: float, best_only: bool = False
) -> NDArray[np.int8]:
    """Match predictions of one class in one scene greedily to true boxes.

    Args:
        iou: (N, M); the first ``counted`` columns are true boxes, the others are ignored ones.
        order: predictions, the highest score first; each takes the free box that it overlaps most.
        best_only: a prediction whose best box is taken matches no other, and the overlap must exceed the threshold.

    Returns:
        (N,): 1 matched, 0 not matched, -1 ignored.
    """
    free = np.ones(counted, dtype=bool)
    matches = np.zeros(len(iou), dtype=np.int8)
    for index in order:
        overlap = iou[index, :counted] if best_only else np.where(free, iou[index, :counted], -1.0)
        best = int(overlap.argmax()) if counted else -1
        if best >= 0 and free[best] and (overlap[best] > threshold if best_only else overlap[best] >= threshold):
            free[best] = False
            matches[index] = 1
        elif (iou[index, counted:] >= threshold).any():
            matches[index] = -1
    return matches


@dataclass
class _ClassCounts:
    truths: int = 0
    scores: list[float] = field(default_factory=list)
    matches: dict[float, list[int]] = field(default_factory=lambda: {threshold: [] for threshold in THRESHOLDS})


class BoxScorer:
    """Aggregates predicted and true boxes scene by scene; stores a few numbers a prediction.

    Args:
        best_only: match as :func:`match_boxes` does with it, and average recall over classes.
    """

    def __init__(self, best_only: bool = False) -> None:
        self.best_only = best_only
        self.scenes = 0
        self._classes: dict[str, _ClassCounts] = {}
        self._center_errors: list[float] = []

    def add(
        self,
        predicted: Sequence[Box],
        truth: Sequence[Box],
        ignored: Sequence[Box] = (),
        unlabelled: Sequence[Box] = (),
    ) -> None:
        """Add the boxes of one scene, all in one frame.

        Args:
            predicted: boxes with scores.
            truth: boxes to detect.
            ignored: true boxes that are hardly visible; predictions that match them are left out.
            unlabelled: true boxes of objects that the model has no label for; predictions of any label that match
                them are left out.

        Raises:
            ValueError: a prediction has no score.
        """
        if any(box.score is None for box in predicted):
            raise ValueError("a predicted box has no score")
        self.scenes += 1
        for label in sorted({box.label for box in (*predicted, *truth)}):
            of_label = [[box for box in boxes if box.label == label] for boxes in (predicted, truth, ignored)]
            self._add_class(label, of_label[0], of_label[1], [*of_label[2], *unlabelled])

    def _add_class(self, label: str, predicted: list[Box], truth: list[Box], ignored: list[Box]) -> None:
        counts = self._classes.setdefault(label, _ClassCounts())
        counts.truths += len(truth)
        if not predicted:
            return
        iou = box_iou(predicted, [*truth, *ignored])
        scores = [float(box.score or 0.0) for box in predicted]
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        counts.scores += [scores[index] for index in order]
        for threshold in THRESHOLDS:
            matches = match_boxes(iou, order, len(truth), threshold, self.best_only)
            counts.matches[threshold] += [int(matches[index]) for index in order]
        for box in truth:
            self._center_errors.append(min(math.dist(box.center, other.center) for other in predicted))

    def result(self) -> dict[str, object] | None:
        """Compute mAP and recall at each threshold; None where there was no true box.

        Returns:
            ``map_25``, ``recall_25`` (over all objects, or the mean over classes with ``best_only``) and so on;
            ``center_error``, the median distance in metres from an object to the nearest prediction of its class, over
            objects whose class was predicted in their scene; ``n`` objects, ``predicted`` boxes, ``scenes``, and
            ``classes`` with ``n``, ``ap_25`` and ``ap_50`` of each.
        """
        present = {label: counts for label, counts in sorted(self._classes.items()) if counts.truths}
        if not present:
            return None
        classes: dict[str, dict[str, float | int]] = {label: {"n": counts.truths} for label, counts in present.items()}
        n = sum(counts.truths for counts in present.values())
        result: dict[str, object] = {}
        for threshold in THRESHOLDS:
            name, matched = str(round(100 * threshold)), []
            for label, counts in present.items():
                by_score = np.argsort(-np.array(counts.scores), kind="stable")
                matches = np.array(counts.matches[threshold], dtype=np.int8)[by_score]
                matched.append(int((matches == 1).sum()))
                classes[label][f"ap_{name}"] = average_precision(matches[matches >= 0] == 1, counts.truths)
            result[f"map_{name}"] = float(np.mean([row[f"ap_{name}"] for row in classes.values()]))
            recalls = [hits / counts.truths for hits, counts in zip(matched, present.values(), strict=True)]
            result[f"recall_{name}"] = float(np.mean(recalls)) if self.best_only else sum(matched) / n
        return result | {
            "center_error": float(np.median(self._center_errors)) if self._center_errors else None,
            "n": n,
            "predicted": sum(len(counts.scores) for counts in self._classes.values()),
            "scenes": self.scenes,
            "classes": classes,
        }
