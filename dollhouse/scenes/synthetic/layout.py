"""A furnished room before anybody looks at it: its outline, its materials and light, and the items in it.

Knows nothing of how items came to stand where they stand, or of cameras and pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin
from typing import NamedTuple

from dollhouse.scenes.synthetic.materials import Finish, Lighting


class Footprint(NamedTuple):
    """A rectangle seen from above: centre, direction of its length, half length and half width."""

    x: float
    y: float
    cos: float
    sin: float
    half_length: float
    half_width: float

    def reach(self, dx: float, dy: float) -> float:
        """Half its extent along the unit direction (dx, dy)."""
        along, across = abs(dx * self.cos + dy * self.sin), abs(dy * self.cos - dx * self.sin)
        return self.half_length * along + self.half_width * across


def footprint(x: float, y: float, yaw: float, length: float, width: float) -> Footprint:
    return Footprint(x, y, cos(yaw), sin(yaw), 0.5 * length, 0.5 * width)


def gap(a: Footprint, b: Footprint) -> float:
    """The widest gap between two rectangles along one of their axes: at most their distance, negative on overlap."""
    dx, dy = b.x - a.x, b.y - a.y
    best = -1e9
    for c, s in ((a.cos, a.sin), (-a.sin, a.cos), (b.cos, b.sin), (-b.sin, b.cos)):
        best = max(best, abs(dx * c + dy * s) - a.reach(c, s) - b.reach(c, s))
    return best


@dataclass(frozen=True)
class Item:
    """One thing in a room. ``support`` is the index of the item it stands on, or -1 for the floor."""

    label: str
    colour: str
    size: tuple[float, float, float]
    centre: tuple[float, float, float]
    yaw: float
    variant: int
    support: int = -1


@dataclass(frozen=True)
class RoomLayout:
    """A furnished room before anybody looks at it. The floor is z = 0; ``low`` and ``high`` bound it in x and y."""

    low: tuple[float, float]
    high: tuple[float, float]
    height: float
    notch: (
        tuple[float, float, float, float] | None
    )  #: x0, y0, x1, y1 of the corner missing from an L, beyond the walls too
    outline: tuple[tuple[float, float], ...]  #: the floor's corners, counter-clockwise
    items: tuple[Item, ...]
    floor: Finish
    walls: Finish
    lighting: Lighting
