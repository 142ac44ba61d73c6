"""Left/right and above/below relations between boxes, as probabilities.

Each box is taken for a normal distribution of points with the box's mean and variance. A relation is the probability
that a random point of the second box lies to the right of (above) a random point of the first: near 0 or 1 where the
boxes are apart, near 1/2 where they are level. So relations can be learnt with soft targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from dollhouse.geometry import Array, level_from_world
from dollhouse.scenes.scene import Box, Scene

MAX_BOXES = 64  #: beyond these only the boxes with the highest scores are related


@dataclass(frozen=True)
class Relation:
    """The relation of one pair of boxes, given by their ids."""

    first: int
    second: int
    right: float  #: probability that the second is right of the first, in the first camera's level frame
    above: float  #: probability that the second is above the first


def pairwise_relations(boxes: Sequence[Box], scene: Scene) -> tuple[Relation, ...]:
    """Relate every pair of boxes once, in the first camera's level frame.

    Args:
        boxes: in the frame of the scene's poses; without poses, in the first view's level frame.
        scene: gives the first camera's pose.
    """
    chosen = sorted(boxes, key=lambda box: -(box.score if box.score is not None else 1.0))[:MAX_BOXES]
    pose = scene.views[0].world_from_camera if scene.posed else None
    level = np.eye(4) if pose is None else level_from_world(np.asarray(pose, dtype=np.float64))
    levelled = [box.transformed(level) for box in chosen]
    right, above = ordering_probabilities(levelled, axis=0), ordering_probabilities(levelled, axis=2)
    return tuple(
        Relation(chosen[a].id, chosen[b].id, float(right[a, b]), float(above[a, b]))
        for a in range(len(chosen))
        for b in range(a + 1, len(chosen))
    )


def ordering_probabilities(boxes: Sequence[Box], axis: int) -> Array:
    """Return (n, n): the probability that the column's box lies further along ``axis`` than the row's box."""
    means = np.array([box.center[axis] for box in boxes], dtype=np.float64)
    variances = np.array([_variance(box)[axis] for box in boxes], dtype=np.float64)
    deviation = np.sqrt(variances[:, None] + variances[None])
    return ndtr((means[None] - means[:, None]) / np.maximum(deviation, 1e-9))


def _variance(box: Box) -> Array:
    """Return the variance (3,) of a uniform distribution over the box, along the axes of its frame."""
    length, width, height = np.asarray(box.size, dtype=np.float64) ** 2 / 12
    cos, sin = np.cos(box.yaw) ** 2, np.sin(box.yaw) ** 2
    return np.array([length * cos + width * sin, length * sin + width * cos, height])
