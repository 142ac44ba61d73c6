"""Data types of furnished rooms, and rectangles in plan view."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin
from typing import Literal, NamedTuple

from dollhouse.geometry import Array
from dollhouse.scenes.synthetic.materials import Lighting, Material


class Footprint(NamedTuple):
    """A rectangle in plan view: centre, direction of its length, half length and half width."""

    x: float
    y: float
    cos: float
    sin: float
    half_length: float
    half_width: float

    def reach(self, dx: float, dy: float) -> float:
        """Compute half its extent along the unit direction (dx, dy)."""
        along, across = abs(dx * self.cos + dy * self.sin), abs(dy * self.cos - dx * self.sin)
        return self.half_length * along + self.half_width * across


def footprint(x: float, y: float, yaw: float, length: float, width: float) -> Footprint:
    return Footprint(x, y, cos(yaw), sin(yaw), 0.5 * length, 0.5 * width)


def gap(a: Footprint, b: Footprint) -> float:
    """Compute the largest separation along an axis of either rectangle: a lower bound of their distance.

    It is negative where they overlap.
    """
    dx, dy = b.x - a.x, b.y - a.y
    best = -1e9
    for c, s in ((a.cos, a.sin), (-a.sin, a.cos), (b.cos, b.sin), (-b.sin, b.cos)):
        best = max(best, abs(dx * c + dy * s) - a.reach(c, s) - b.reach(c, s))
    return best


@dataclass(frozen=True)
class Item:
    """One object of a room. ``support`` is the index of the item it stands on, or -1 for the floor."""

    label: str
    colour: str
    size: tuple[float, float, float]
    centre: tuple[float, float, float]
    yaw: float
    variant: int
    support: int = -1

    @property
    def footprint(self) -> Footprint:
        return footprint(self.centre[0], self.centre[1], self.yaw, self.size[0], self.size[1])


@dataclass(frozen=True)
class RoomLayout:
    """A furnished room. The floor is z = 0; ``low`` and ``high`` bound it in x and y."""

    low: tuple[float, float]
    high: tuple[float, float]
    height: float
    #: x0, y0, x1, y1 of the corner missing from an L-shaped room, extended beyond the walls; None for a rectangle
    notch: tuple[float, float, float, float] | None
    outline: tuple[tuple[float, float], ...]  #: corners of the floor, counter-clockwise
    items: tuple[Item, ...]
    floor: Material
    walls: Material
    lighting: Lighting


@dataclass(frozen=True, eq=False)
class MeshPart:
    """Triangles of one object, or of a part of a room's shell, in a world with z up, metres."""

    triangles: Array  #: (T, 3, 3)
    rgb: Array  #: (T, 3) in [0, 1]
    label: str | None = None  #: category of an object; None for the shell and for what gets no box
    yaw: float = 0.0  #: of the object's length, towards its front
    has_front: bool = False
    material: Literal["floor", "walls"] | None = None  #: the room's sampled material, in place of ``rgb``
