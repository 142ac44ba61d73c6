"""Builders of small items: lamps, plants, vases, boxes, bins, balls, televisions.

Sizes are (length, width, height) in metres, ``rgb`` is the main colour; the frame is that of
:mod:`dollhouse.scenes.synthetic.furniture.parts`.
"""

from __future__ import annotations

from math import cos, sin
from random import Random
from typing import Final

from dollhouse.scenes.synthetic.furniture.catalogue import Rgb
from dollhouse.scenes.synthetic.furniture.parts import Part, Size, edge, lighter, slab, tube

METAL: Final[Rgb] = (0.62, 0.62, 0.64)
SCREEN: Final[Rgb] = (0.05, 0.06, 0.09)
SOIL: Final[Rgb] = (0.16, 0.10, 0.06)
POTS: Final[tuple[Rgb, ...]] = ((0.66, 0.34, 0.20), (0.82, 0.80, 0.76), (0.30, 0.30, 0.32))


def lamp(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, _, h = size
    shade = h - min(0.4 * h, 0.36)
    taper = 0.55 + 0.4 * rng.random()
    return [
        tube(0, 0, 0.62 * d, 0.0, 0.035, (0.2, 0.2, 0.21)),
        tube(0, 0, 0.05, 0.03, shade + 0.02, METAL),
        tube(0, 0, d, shade, h, lighter(rgb, 0.08), taper),
    ]


def plant(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, _, h = size
    pot = min(0.3 * h, 0.36)
    pot_rgb = POTS[int(rng.random() * len(POTS))]
    wide = min(0.62 * d, 1.2 * pot)
    parts = [tube(0, 0, 0.72 * wide, 0.0, pot, pot_rgb, 1.38), tube(0, 0, 0.9 * wide, pot - 0.01, pot + 0.006, SOIL)]
    crown = pot + (0.05 if h < 0.8 else 0.22 * (h - pot))
    parts.append(tube(0, 0, 0.045, pot, 0.5 * (crown + h), (0.32, 0.24, 0.13)))
    shades = (rgb, edge(rgb), lighter(rgb, 0.15))
    leaves = 7
    for k in range(leaves):
        rise = crown + (h - crown) * (0.28 + 0.5 * k / (leaves - 1))
        reach, side = (0.26 * d, (k * 2.4 + rng.random()) % 6.2832)
        x, y = reach * cos(side), reach * sin(side)
        parts.append(Part("ball", (x, y, rise), (0.5 * d, 0.5 * d, 0.44 * (h - crown)), shades[k % 3]))
    return parts


def vase(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, _, h = size
    belly = 0.35 + 0.25 * rng.random()
    return [
        tube(0, 0, 0.55 * d, 0.0, belly * h, rgb, 1 / 0.55),
        tube(0, 0, d, belly * h, 0.82 * h, rgb, 0.42),
        tube(0, 0, 0.42 * d, 0.82 * h, h - 0.003, lighter(rgb, 0.15), 1.45),
        tube(0, 0, 0.50 * d, h - 0.004, h, SOIL),
    ]


def box(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, w, h = size
    x, y, inset = 0.5 * d, 0.5 * w, 0.01
    tape = (0.83, 0.74, 0.55) if sum(rgb) < 1.9 else (0.55, 0.42, 0.26)
    return [
        slab(-x, x, -y, y, 0.0, h - 0.003, rgb),
        slab(-0.505 * d, 0.505 * d, -0.06, 0.06, 0.72 * h, h, tape),
        slab(inset - x, x - inset, inset - y, y - inset, h - 0.003, h - 0.001, lighter(rgb, 0.12)),
    ]


def bin(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, _, h = size
    return [
        tube(0, 0, 0.72 * d, 0.0, 0.93 * h, rgb, 1.32),
        tube(0, 0, d, 0.93 * h, h - 0.004, edge(rgb)),
        tube(0, 0, 0.86 * d, h - 0.004, h, (0.06, 0.06, 0.06)),
        tube(0, 0, 0.82 * d, 0.5 * h, 0.54 * h, edge(rgb), 1.01),
    ]


def ball(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, _, h = size
    return [Part("ball", (0, 0, 0.5 * h), size, rgb), tube(0, 0, 1.012 * d, 0.46 * h, 0.54 * h, lighter(rgb, 0.55))]


def television(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, w, h = size
    y, rim, low = 0.5 * w, 0.045, 0.14 * h
    return [
        slab(-0.5 * d, 0.5 * d, -0.28 * w, 0.28 * w, 0.0, 0.03, edge(rgb)),
        slab(-0.03, 0.03, -0.09 * w, 0.09 * w, 0.03, 0.3 * h, edge(rgb)),
        slab(-0.04, 0.035, -y, y, low, h, rgb),
        slab(0.035, 0.042, -y + rim, y - rim, low + rim, h - rim, SCREEN),
        slab(0.042, 0.043, -y + 0.2 * w, -0.05 * w, 0.62 * h, h - 2.2 * rim, (0.16, 0.19, 0.25)),
    ]
