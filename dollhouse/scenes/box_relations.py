"""Pairwise geometry of the boxes of a scene: gaps, overlaps, supports and facing angles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dollhouse.geometry import Array
from dollhouse.scenes.scene import Box

FLOOR = -1  #: value of ``BoxRelations.supports``: stands on the floor
UNSUPPORTED = -2  #: value of ``BoxRelations.supports``: hangs, or cannot be derived from the boxes

FLOOR_TOLERANCE = 0.04  #: a box whose bottom is within this of the floor stands on it (metres)
REST_TOLERANCE = 0.03  #: a box may float this far above its support (metres)
RAISED = 0.08  #: a box is supported by another from this height above the floor (metres)
#: An object on a seat or mattress lies below the top of its support's box, which ends at the back rest; at least this
#: fraction of the support's height above the support's bottom.
LOWEST_SEAT = 0.3


@dataclass(frozen=True, eq=False)
class BoxRelations:
    """Relations of n boxes, computed once on first access.

    In every (n, n) matrix the row is the first box and the column the second.
    """

    centers: Array  #: (n, 3) metres, world
    sizes: Array  #: (n, 3) metres: length, width, height
    yaws: Array  #: (n,) radians
    floor: float  #: height of the floor, metres

    @classmethod
    def from_boxes(cls, boxes: Sequence[Box], floor: float | None = None) -> BoxRelations:
        """Build the relations of ``boxes``; ``floor`` defaults to the lowest bottom of a box."""
        centers = np.array([box.center for box in boxes], dtype=np.float64).reshape(-1, 3)
        sizes = np.array([box.size for box in boxes], dtype=np.float64).reshape(-1, 3)
        if floor is None:
            floor = float((centers[:, 2] - 0.5 * sizes[:, 2]).min(initial=np.inf)) if len(centers) else 0.0
        return cls(centers, sizes, np.array([box.yaw for box in boxes], dtype=np.float64), floor)

    @cached_property
    def bottoms(self) -> Array:
        return self.centers[:, 2] - 0.5 * self.sizes[:, 2]

    @cached_property
    def tops(self) -> Array:
        return self.centers[:, 2] + 0.5 * self.sizes[:, 2]

    @cached_property
    def distances(self) -> Array:
        """Compute the distances (n, n) between box centres, metres."""
        return np.linalg.norm(self.centers[:, None] - self.centers[None], axis=-1)

    @cached_property
    def _plan_corners(self) -> Array:
        """Compute the plan corners (n, n, 4, 2) of the first box in the second box's own axes, metres."""
        cos, sin = np.cos(self.yaws), np.sin(self.yaws)
        world_from_own = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
        plan = 0.5 * self.sizes[:, None, :2] * [[1, 1], [-1, 1], [-1, -1], [1, -1]]
        corners = plan @ world_from_own.transpose(0, 2, 1) + self.centers[:, None, :2]
        return (corners[:, None] - self.centers[None, :, None, :2]) @ world_from_own[None]

    @cached_property
    def _plan_separations(self) -> Array:
        """Compute the plan separation (n, n) along the best separating axis; negative: overlap."""
        corners = self._plan_corners
        half = 0.5 * self.sizes[None, :, :2]
        apart = np.maximum(corners.min(2) - half, -half - corners.max(2)).max(-1)
        return np.maximum(apart, apart.T)

    @cached_property
    def plan_gaps(self) -> Array:
        """Compute the gaps (n, n) between plan outlines, 0 where one is over the other, metres."""
        # Two disjoint convex outlines are nearest at a corner of one of them.
        outside = np.maximum(np.abs(self._plan_corners) - 0.5 * self.sizes[None, :, None, :2], 0.0)
        nearest = np.sqrt((outside**2).sum(-1)).min(-1)
        return np.where(self._plan_separations > 0, np.minimum(nearest, nearest.T), 0.0)

    @cached_property
    def separations(self) -> tuple[Array, Array]:
        """Compute gaps (n, n) between solid boxes and penetration depths (n, n), metres; one of the two is 0.

        The penetration depth is the shortest translation that separates the boxes (separating axis theorem).
        """
        rise = self.bottoms[:, None] - self.tops[None]
        rise = np.maximum(rise, rise.T)
        depths = np.maximum(-np.maximum(self._plan_separations, rise), 0.0)
        return np.hypot(self.plan_gaps, np.maximum(rise, 0.0)), depths

    @cached_property
    def supports(self) -> list[int]:
        """Find for each box the index of its supporting box, FLOOR or UNSUPPORTED.

        The support is the box under its centre whose top is nearest to its bottom, at the top or at seat height.
        """
        own = self._plan_corners.mean(2)
        above = (np.abs(own) <= 0.5 * self.sizes[None, :, :2]).all(-1)
        bottoms = self.bottoms[:, None]
        lowest = self.bottoms + LOWEST_SEAT * self.sizes[:, 2]
        rests = above & (bottoms <= self.tops + REST_TOLERANCE) & (bottoms >= lowest)
        np.fill_diagonal(rests, False)
        # Of two boxes that would support each other (overlapping ones) neither does.
        rests &= ~rests.T
        height = self.bottoms - self.floor
        best = np.where(rests, -np.abs(bottoms - self.tops), -np.inf)
        supporting = best.argmax(1) if len(best) else np.zeros(0, dtype=int)
        supported = rests.any(1) & (height >= RAISED)
        return np.where(supported, supporting, np.where(np.abs(height) <= FLOOR_TOLERANCE, FLOOR, UNSUPPORTED)).tolist()

    def front_angles(self, targets: Array) -> Array:
        """Compute plan angles (n, m) in [0, pi] from each box's x axis to the targets (m, 2 or 3), radians."""
        direction = np.asarray(targets)[None, :, :2] - self.centers[:, None, :2]
        turn = np.arctan2(direction[..., 1], direction[..., 0]) - self.yaws[:, None]
        return np.abs((turn + np.pi) % (2 * np.pi) - np.pi)

    @cached_property
    def volumes(self) -> Array:
        return self.sizes.prod(-1)

    @cached_property
    def longest_sides(self) -> Array:
        """Compute the longest horizontal sides (n,), metres."""
        return self.sizes[:, :2].max(-1, initial=0.0)
