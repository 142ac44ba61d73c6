"""Left or right, above or below: how the boxes of a scene stand to each other, seen from the first camera.

Relations are chances, so that they can be learned softly: each box is taken for a cloud of points, normally
distributed with the box's own mean and spread, and the chance is that a random point of the second box lies to the
right of (above) a random point of the first. Clearly apart: near 0 or 1; side by side in depth: near one half.
Knows nothing of models, words or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from dollhouse.geometry import Array, level_from_world
from dollhouse.scenes.scene import Box, Scene

MOST_BOXES = 64  #: beyond these the pairs would outgrow all else; the surest (or first) boxes are kept


@dataclass(frozen=True)
class Relation:
    """One pair of boxes, by their ids."""

    first: int
    second: int
    right: float  #: chance that the second is right of the first, in the first camera's level frame
    above: float  #: chance that the second is above the first


def pairwise_relations(boxes: Sequence[Box], scene: Scene) -> tuple[Relation, ...]:
    """Every pair of ``boxes`` once, in their order; boxes are in the frame that ``scene``'s poses are in.

    Where the scene has no poses, boxes are in the first view's level frame already.
    """
    kept = sorted(boxes, key=lambda box: -(box.score if box.score is not None else 1.0))[:MOST_BOXES]
    pose = scene.views[0].world_from_camera if scene.posed else None
    level = np.eye(4) if pose is None else level_from_world(np.asarray(pose, dtype=np.float64))
    moved = [box.transformed(level) for box in kept]
    right, above = ordering_probabilities(moved, axis=0), ordering_probabilities(moved, axis=2)
    return tuple(
        Relation(kept[a].id, kept[b].id, float(right[a, b]), float(above[a, b]))
        for a in range(len(kept))
        for b in range(a + 1, len(kept))
    )


def ordering_probabilities(boxes: Sequence[Box], axis: int) -> Array:
    """(n, n): how likely a point of the column's box lies further along ``axis`` than one of the row's box."""
    means = np.array([box.center[axis] for box in boxes], dtype=np.float64)
    spreads = np.array([_variance(box)[axis] for box in boxes], dtype=np.float64)
    spread = np.sqrt(spreads[:, None] + spreads[None])
    return ndtr((means[None] - means[:, None]) / np.maximum(spread, 1e-9))


def _variance(box: Box) -> Array:
    """Variance (3,) of a uniform distribution over the box, along the axes of the frame that it is in."""
    length, width, height = np.asarray(box.size, dtype=np.float64) ** 2 / 12
    cos, sin = np.cos(box.yaw) ** 2, np.sin(box.yaw) ** 2
    return np.array([length * cos + width * sin, length * sin + width * cos, height])
