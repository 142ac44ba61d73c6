"""Geometry between the boxes of one scene: gaps, what stands on what, who faces whom.

Pure functions on boxes, whole matrices at a time. Knows nothing of images, words or questions.
In every (n, n) matrix the row is the first box and the column the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dollhouse.geometry import Array
from dollhouse.scenes.scene import Box

FLOOR = -1  #: value of ``BoxRelations.supports``: stands on the floor
UNSUPPORTED = -2  #: value of ``BoxRelations.supports``: hangs, or the boxes do not tell

#: A box whose bottom is within this of the floor stands on it (metres).
FLOOR_TOLERANCE = 0.04
#: A box may float this far above what carries it (metres).
REST_TOLERANCE = 0.03
#: A box counts as carried only from this height above the floor; between the two tolerances nothing is said (metres).
RAISED = 0.08
#: What rests on a seat or a mattress lies below the top of the box, which ends at the back rest; never below
#: this part of the carrier's height.
LOWEST_SEAT = 0.3


@dataclass(frozen=True, eq=False)
class BoxRelations:
    """The boxes of a scene as arrays; relations are computed once, when first asked for."""

    centers: Array  #: (n, 3) metres, world
    sizes: Array  #: (n, 3) metres: length, width, height
    yaws: Array  #: (n,) radians
    floor: float  #: height of the floor, metres

    @classmethod
    def from_boxes(cls, boxes: Sequence[Box], floor: float | None = None) -> BoxRelations:
        """The layout of ``boxes``; without ``floor`` the lowest bottom is taken for the floor's height."""
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
        """Distances (n, n) between the boxes' centres, metres."""
        return np.linalg.norm(self.centers[:, None] - self.centers[None], axis=-1)

    @cached_property
    def _corners_in_plan_of(self) -> Array:
        """Plan corners (n, n, 4, 2) of the first box in the second box's own axes, metres."""
        cos, sin = np.cos(self.yaws), np.sin(self.yaws)
        world_from_own = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
        plan = 0.5 * self.sizes[:, None, :2] * [[1, 1], [-1, 1], [-1, -1], [1, -1]]
        corners = plan @ world_from_own.transpose(0, 2, 1) + self.centers[:, None, :2]
        return (corners[:, None] - self.centers[None, :, None, :2]) @ world_from_own[None]

    @cached_property
    def _plan_separations(self) -> Array:
        """Largest distance (n, n) between the plan outlines along any of their sides' directions; negative: overlap."""
        corners = self._corners_in_plan_of
        half = 0.5 * self.sizes[None, :, :2]
        apart = np.maximum(corners.min(2) - half, -half - corners.max(2)).max(-1)
        return np.maximum(apart, apart.T)

    @cached_property
    def plan_gaps(self) -> Array:
        """Gaps (n, n) between the outlines seen from above, 0 where one is over the other, metres."""
        # Two convex outlines that do not meet are nearest at a corner of one of them.
        outside = np.maximum(np.abs(self._corners_in_plan_of) - 0.5 * self.sizes[None, :, None, :2], 0.0)
        nearest = np.sqrt((outside**2).sum(-1)).min(-1)
        return np.where(self._plan_separations > 0, np.minimum(nearest, nearest.T), 0.0)

    @cached_property
    def separations(self) -> tuple[Array, Array]:
        """Gaps (n, n) between the solid boxes, 0 where they meet, and depths (n, n) to which they overlap, metres.

        The depth is the shortest push that parts two boxes (separating axes); 0 where they are apart.
        """
        rise = self.bottoms[:, None] - self.tops[None]
        rise = np.maximum(rise, rise.T)
        depths = np.maximum(-np.maximum(self._plan_separations, rise), 0.0)
        return np.hypot(self.plan_gaps, np.maximum(rise, 0.0)), depths

    @cached_property
    def supports(self) -> list[int]:
        """For each box the index of the box that carries it, FLOOR or UNSUPPORTED.

        A box is carried by the highest box under its centre on whose top, or on whose seat, its bottom can rest.
        """
        own = self._corners_in_plan_of.mean(2)
        above = (np.abs(own) <= 0.5 * self.sizes[None, :, :2]).all(-1)
        bottoms = self.bottoms[:, None]
        lowest = self.bottoms + LOWEST_SEAT * self.sizes[:, 2]
        rests = above & (bottoms <= self.tops + REST_TOLERANCE) & (bottoms >= lowest)
        np.fill_diagonal(rests, False)
        # Of two things that would carry each other (side by side in one place) neither does.
        rests &= ~rests.T
        height = self.bottoms - self.floor
        best = np.where(rests, -np.abs(bottoms - self.tops), -np.inf)
        carriers = best.argmax(1) if len(best) else np.zeros(0, dtype=int)
        carried = rests.any(1) & (height >= RAISED)
        return np.where(carried, carriers, np.where(np.abs(height) <= FLOOR_TOLERANCE, FLOOR, UNSUPPORTED)).tolist()

    def front_angles(self, targets: Array) -> Array:
        """Angles (n, m) in [0, pi], in plan, between each box's own x axis and the way to each target (m, 2 or 3)."""
        way = np.asarray(targets)[None, :, :2] - self.centers[:, None, :2]
        turn = np.arctan2(way[..., 1], way[..., 0]) - self.yaws[:, None]
        return np.abs((turn + np.pi) % (2 * np.pi) - np.pi)

    @cached_property
    def volumes(self) -> Array:
        return self.sizes.prod(-1)

    @cached_property
    def longest_sides(self) -> Array:
        """Longest horizontal sides (n,), metres."""
        return self.sizes[:, :2].max(-1, initial=0.0)
