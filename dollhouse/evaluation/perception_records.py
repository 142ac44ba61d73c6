"""Rows of ``perception.jsonl``, predicted and true depth and boxes of each scene, and their scores.

The rows hold the errors of every view and every box, so that a report is scored again without images or model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dollhouse.evaluation.metrics.boxes import BoxScorer
from dollhouse.evaluation.metrics.depth import (
    DISTANCES,
    Alignment,
    DepthScorer,
    align_depth,
    errors_by_distance,
    scene_errors,
)
from dollhouse.geometry import Array
from dollhouse.scenes.scene import Box


def depth_record(predicted: Array, truth: Array, alignment: Alignment) -> dict[str, Any]:
    """Build the ``depth`` of a row; both maps are (V, H, W), the prediction not yet aligned."""
    return {
        "alignment": alignment,
        "views": scene_errors(predicted, truth, alignment),
        "by_distance": errors_by_distance(align_depth(predicted, truth, alignment), truth),
    }


def box_record(
    predicted: Sequence[Box], truth: Sequence[Box], ignored: Sequence[Box], unlabelled: Sequence[Box] = ()
) -> dict[str, Any]:
    """Build the ``boxes`` of a row, all in one frame; arguments as of :meth:`BoxScorer.add`."""
    groups = {"predicted": predicted, "truth": truth, "ignored": ignored}
    groups |= {"unlabelled": unlabelled} if unlabelled else {}
    return {name: [_row_from_box(box) for box in boxes] for name, boxes in groups.items()}


class PerceptionScorer:
    """Aggregates the rows of scenes."""

    def __init__(self) -> None:
        self._boxes = BoxScorer()
        self._depths: dict[str, DepthScorer] = {"none": DepthScorer("none"), "median": DepthScorer("median")}
        self._by_distance = [[0, 0.0] for _ in DISTANCES[1:]]

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row ``{scene, depth, boxes}``, either None where the scene has no truth.

        Raises KeyError, TypeError or ValueError where the row is damaged.
        """
        depth, boxes = row["depth"], row["boxes"]
        if depth is not None:
            self._depths[depth["alignment"]].add_views(depth["views"])
            if depth["alignment"] == "none":
                for total, (count, error) in zip(self._by_distance, depth["by_distance"], strict=True):
                    total[0] += count
                    total[1] += error
        if boxes is not None:
            groups = [boxes[name] for name in ("predicted", "truth", "ignored")] + [boxes.get("unlabelled", ())]
            self._boxes.add(*(list(map(_box_from_row, group)) for group in groups))

    def result(self) -> dict[str, Any]:
        """Compute ``depth`` (in metres where any scene is), ``depth_aligned`` (of the others) and ``boxes``.

        ``depth_by_distance`` lists ``{from, to, abs_rel, n}``, metres and pixels, over scenes in metres.
        """
        metric, scaled = self._depths["none"].result(), self._depths["median"].result()
        return {
            "depth": metric or scaled,
            "depth_aligned": scaled if metric else None,
            "boxes": self._boxes.result(),
            "depth_by_distance": [
                {"from": near, "to": far, "abs_rel": total / count, "n": count}
                for near, far, (count, total) in zip(DISTANCES, DISTANCES[1:], self._by_distance, strict=False)
                if count
            ],
        }


def _row_from_box(box: Box) -> dict[str, Any]:
    score = None if box.score is None else float(box.score)
    place = {"center": list(map(float, box.center)), "size": list(map(float, box.size)), "yaw": float(box.yaw)}
    return {"id": box.id, "label": box.label, **place, "score": score}


def _box_from_row(row: Mapping[str, Any]) -> Box:
    center, size = (np.array(row[name], dtype=np.float64) for name in ("center", "size"))
    if center.shape != (3,) or size.shape != (3,):
        raise ValueError(f"box {row['id']} has no centre or size of three numbers")
    return Box(row["id"], row["label"], center, size, row["yaw"], score=row["score"])
