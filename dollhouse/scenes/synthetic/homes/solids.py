"""Solids that procedural objects consist of, and the fronts of cabinets."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from dollhouse.scenes.synthetic.furniture import Part, Rgb
from dollhouse.scenes.synthetic.furniture.builders import METAL
from dollhouse.scenes.synthetic.furniture.primitives import lighter, slab

WHITE: Final[Rgb] = (0.93, 0.93, 0.92)
BLACK: Final[Rgb] = (0.06, 0.06, 0.07)
DARK: Final[Rgb] = (0.16, 0.16, 0.17)
GLASS: Final[Rgb] = (0.10, 0.11, 0.13)


class Solid(NamedTuple):
    """A part and the role of its surface, see ``layout.Surface``; shapes also "pillow" and "sheet"."""

    part: Part
    role: str


Builder = Callable[[float, float, float, Rgb, Random], list[Solid]]


def solids_of(role: str, *parts: Part) -> list[Solid]:
    return [Solid(part, role) for part in parts]


def block(d: float, w: float, z0: float, z1: float, rgb: Rgb, x: float = 0.0, y: float = 0.0) -> Part:
    return slab(x - 0.5 * d, x + 0.5 * d, y - 0.5 * w, y + 0.5 * w, z0, z1, rgb)


def fronts(d: float, w: float, z0: float, z1: float, rgb: Rgb, columns: int, rows: int, rng: Random) -> list[Solid]:
    """Build doors or drawers in a grid on the front at x = d / 2, with handles."""
    solids, x = [], 0.5 * d
    wide, high = w / columns, (z1 - z0) / rows
    metal, below, knob = rng.choice((METAL, DARK, lighter(rgb, 0.5))), rng.random() < 0.5, rng.random() < 0.4
    for column in range(columns):
        for row in range(rows):
            y, z = -0.5 * w + (column + 0.5) * wide, z0 + row * high
            solids += solids_of("wood", block(0.018, wide - 0.008, z + 0.004, z + high - 0.004, rgb, x - 0.029, y))
            if high > 0.9 * wide:  # a door: the handle beside its opening edge
                side = y + (1 if column % 2 == 0 else -1) * (0.5 * wide - 0.05)
                top = z + high - 0.06 if below else z + 0.55 * high
                size = (0.02, 0.02, 0.02) if knob else (0.02, 0.015, min(0.16, 0.4 * high))
                solids += solids_of("metal", block(*size[:2], top - size[2], top, metal, x - 0.01, side))
            else:
                size = (0.02, 0.03, 0.03) if knob else (0.02, min(0.2, 0.5 * wide), 0.015)
                solids += solids_of(
                    "metal", block(*size[:2], z + 0.6 * high - size[2], z + 0.6 * high, metal, x - 0.01, y)
                )
    return solids
