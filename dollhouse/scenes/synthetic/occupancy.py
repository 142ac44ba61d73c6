"""Occupied space of a room while it is being furnished: collision checks, and the items placed so far.

Two items of one level (the floor, a table's top, the space under it) either touch on purpose, with a gap under a
centimetre, or are at least :data:`APART` from each other, so that "is A touching B" always has a clear answer.
"""

from __future__ import annotations

from random import Random
from typing import Final

from dollhouse.scenes.synthetic.furniture import COLOURS
from dollhouse.scenes.synthetic.furniture.catalogue import Size
from dollhouse.scenes.synthetic.layout import Footprint, Item, footprint, gap

APART: Final = 0.15  #: least distance of items that do not touch, metres
WALL_GAP: Final = 0.004  #: distance from the walls, metres
FLOOR_LEVEL: Final = -1


class Occupancy:
    """Items of a room with their footprints and levels."""

    def __init__(
        self,
        rng: Random,
        low: tuple[float, float],
        high: tuple[float, float],
        notch: tuple[float, float, float, float] | None,
    ) -> None:
        self.rng, self.low, self.high = rng, low, high
        self.notch = None
        if notch is not None:
            u0, v0, u1, v1 = notch
            self.notch = footprint(0.5 * (u0 + u1), 0.5 * (v0 + v1), 0.0, u1 - u0, v1 - v0)
        self.items: list[Item] = []
        self.footprints: list[Footprint] = []
        self.levels: list[int] = []  #: FLOOR_LEVEL, k on top of item k, or -2 - k under item k

    @property
    def on_floor(self) -> list[int]:
        """Return the indices of the items on the floor."""
        return [index for index, level in enumerate(self.levels) if level == FLOOR_LEVEL]

    def add(
        self, label: str, size: Size, x: float, y: float, yaw: float, level: int = FLOOR_LEVEL, partner: int = -1
    ) -> bool:
        """Place an item if there is space; returns whether there is. It may touch the item ``partner``."""
        place = footprint(x, y, yaw, size[0], size[1])
        if not self._fits(place, level, partner):
            return False
        support = level if level >= 0 else -1
        bottom = self.items[support].centre[2] + 0.5 * self.items[support].size[2] if support >= 0 else 0.0
        variant = int(self.rng.random() * 2**31)
        centre = (x, y, bottom + 0.5 * size[2])
        self.items.append(Item(label, self._sample_colour(label), size, centre, yaw, variant, support))
        self.footprints.append(place)
        self.levels.append(level)
        return True

    def _fits(self, place: Footprint, level: int, partner: int) -> bool:
        if level == FLOOR_LEVEL:
            ex, ey = place.reach(1.0, 0.0) + WALL_GAP, place.reach(0.0, 1.0) + WALL_GAP
            (x0, y0), (x1, y1) = self.low, self.high
            if not (x0 + ex <= place.x <= x1 - ex and y0 + ey <= place.y <= y1 - ey):
                return False
            if self.notch is not None and gap(self.notch, place) < WALL_GAP:
                return False
        return not any(
            other_level == level and gap(other, place) < (0.0015 if index == partner else APART)
            for index, (other, other_level) in enumerate(zip(self.footprints, self.levels, strict=True))
        )

    def _sample_colour(self, label: str) -> str:
        """Sample any colour, seldom that of another item of the category."""
        names = list(COLOURS)
        taken = {item.colour for item in self.items if item.label == label}
        if taken and self.rng.random() < 0.8:
            names = [name for name in names if name not in taken]
        return names[int(self.rng.random() * len(names))]
