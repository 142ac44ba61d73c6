"""What a model saw of each scene beside what is there: the lines of ``perception.jsonl``, and scores of depth and boxes.

The lines hold all that depth and box scores are made of (errors of every view, every box), so that a report can be
scored again without pictures or model. Knows nothing of answers.
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
    """What a line holds about depth; both maps (V, H, W), the prediction not yet aligned."""
    return {
        "alignment": alignment,
        "views": scene_errors(predicted, truth, alignment),
        "by_distance": errors_by_distance(align_depth(predicted, truth, alignment), truth),
    }


def box_record(predicted: Sequence[Box], truth: Sequence[Box], ignored: Sequence[Box]) -> dict[str, Any]:
    """What a line holds about boxes, all in one frame; those hardly seen neither help nor hurt."""
    groups = {"predicted": predicted, "truth": truth, "ignored": ignored}
    return {name: [_row_of(box) for box in boxes] for name, boxes in groups.items()}


class PerceptionScorer:
    """Gathers the lines of scenes."""

    def __init__(self) -> None:
        self._boxes = BoxScorer()
        self._depths: dict[str, DepthScorer] = {"none": DepthScorer("none"), "median": DepthScorer("median")}
        self._by_distance = [[0, 0.0] for _ in DISTANCES[1:]]

    def add(self, line: Mapping[str, Any]) -> None:
        """Count a line ``{scene, depth, boxes}``, either None where the scene has none to compare with.

        Raises KeyError, TypeError or ValueError for a line that is none.
        """
        depth, boxes = line["depth"], line["boxes"]
        if depth is not None:
            self._depths[depth["alignment"]].add_views(depth["views"])
            if depth["alignment"] == "none":
                for total, (count, error) in zip(self._by_distance, depth["by_distance"], strict=True):
                    total[0] += count
                    total[1] += error
        if boxes is not None:
            self._boxes.add(*(list(map(_box_of, boxes[name])) for name in ("predicted", "truth", "ignored")))

    def result(self) -> dict[str, Any]:
        """``depth`` (in metres where any scene is), ``depth_aligned`` (of the others) and ``boxes``; None without any.

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


def _row_of(box: Box) -> dict[str, Any]:
    return {
        "id": box.id,
        "label": box.label,
        "center": [float(value) for value in box.center],
        "size": [float(value) for value in box.size],
        "yaw": float(box.yaw),
        "score": None if box.score is None else float(box.score),
    }


def _box_of(row: Mapping[str, Any]) -> Box:
    center, size = (np.array(row[name], dtype=np.float64) for name in ("center", "size"))
    if center.shape != (3,) or size.shape != (3,):
        raise ValueError(f"box {row['id']} has no centre or size of three numbers")
    return Box(row["id"], row["label"], center, size, row["yaw"], score=row["score"])
