"""Builders of the parts of furniture, by category.

Sizes d, w, h (length, width, height) are in metres, ``rgb`` is the main colour, ``rng`` samples details; the frame is
that of :mod:`dollhouse.scenes.synthetic.furniture.primitives`.
"""

from __future__ import annotations

from itertools import product
from math import cos, sin
from random import Random
from typing import Final

from dollhouse.scenes.synthetic.furniture.catalogue import Rgb
from dollhouse.scenes.synthetic.furniture.primitives import Part, contrast, darker, edge, four_legs, lighter, slab, tube

METAL: Final[Rgb] = (0.62, 0.62, 0.64)
SCREEN: Final[Rgb] = (0.05, 0.06, 0.09)
SOIL: Final[Rgb] = (0.16, 0.10, 0.06)
LINEN: Final[Rgb] = (0.93, 0.92, 0.88)
POTS: Final[tuple[Rgb, ...]] = ((0.66, 0.34, 0.20), (0.82, 0.80, 0.76), (0.30, 0.30, 0.32))
BOOKS: Final[tuple[Rgb, ...]] = (
    (0.62, 0.22, 0.18), (0.20, 0.34, 0.50), (0.75, 0.68, 0.50),
    (0.25, 0.42, 0.30), (0.55, 0.45, 0.35), (0.85, 0.82, 0.76),
)  # fmt: skip


def lamp(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    shade, taper = h - min(0.4 * h, 0.36), 0.55 + 0.4 * rng.random()
    return [
        tube(0, 0, 0.62 * d, 0.0, 0.035, (0.2, 0.2, 0.21)),
        tube(0, 0, 0.05, 0.03, shade + 0.02, METAL),
        tube(0, 0, d, shade, h, lighter(rgb, 0.08), taper),
    ]


def plant(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    pot, pot_rgb = min(0.3 * h, 0.36), POTS[int(rng.random() * len(POTS))]
    wide = min(0.62 * d, 1.2 * pot)
    parts = [tube(0, 0, 0.72 * wide, 0.0, pot, pot_rgb, 1.38), tube(0, 0, 0.9 * wide, pot - 0.01, pot + 0.006, SOIL)]
    crown = pot + (0.05 if h < 0.8 else 0.22 * (h - pot))
    parts.append(tube(0, 0, 0.045, pot, 0.5 * (crown + h), (0.32, 0.24, 0.13)))
    for k in range(7):
        rise, side = crown + (h - crown) * (0.28 + 0.5 * k / 6), (k * 2.4 + rng.random()) % 6.2832
        shade = (rgb, edge(rgb), lighter(rgb, 0.15))[k % 3]
        place = (0.26 * d * cos(side), 0.26 * d * sin(side), rise)
        parts.append(Part("ball", place, (0.5 * d, 0.5 * d, 0.44 * (h - crown)), shade))
    return parts


def vase(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    belly = 0.35 + 0.25 * rng.random()
    return [
        tube(0, 0, 0.55 * d, 0.0, belly * h, rgb, 1 / 0.55),
        tube(0, 0, d, belly * h, 0.82 * h, rgb, 0.42),
        tube(0, 0, 0.42 * d, 0.82 * h, h - 0.003, lighter(rgb, 0.15), 1.45),
        tube(0, 0, 0.50 * d, h - 0.004, h, SOIL),
    ]


def box(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    x, y, inset = 0.5 * d, 0.5 * w, 0.01
    tape = (0.83, 0.74, 0.55) if sum(rgb) < 1.9 else (0.55, 0.42, 0.26)
    return [
        slab(-x, x, -y, y, 0.0, h - 0.003, rgb),
        slab(-0.505 * d, 0.505 * d, -0.06, 0.06, 0.72 * h, h, tape),
        slab(inset - x, x - inset, inset - y, y - inset, h - 0.003, h - 0.001, lighter(rgb, 0.12)),
    ]


def bin(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    return [
        tube(0, 0, 0.72 * d, 0.0, 0.93 * h, rgb, 1.32),
        tube(0, 0, d, 0.93 * h, h - 0.004, edge(rgb)),
        tube(0, 0, 0.86 * d, h - 0.004, h, (0.06, 0.06, 0.06)),
        tube(0, 0, 0.82 * d, 0.5 * h, 0.54 * h, edge(rgb), 1.01),
    ]


def ball(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    return [
        Part("ball", (0, 0, 0.5 * h), (d, w, h), rgb),
        tube(0, 0, 1.012 * d, 0.46 * h, 0.54 * h, lighter(rgb, 0.55)),
    ]


def television(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    y, rim, low = 0.5 * w, 0.045, 0.14 * h
    return [
        slab(-0.5 * d, 0.5 * d, -0.28 * w, 0.28 * w, 0.0, 0.03, edge(rgb)),
        slab(-0.03, 0.03, -0.09 * w, 0.09 * w, 0.03, 0.3 * h, edge(rgb)),
        slab(-0.04, 0.035, -y, y, low, h, rgb),
        slab(0.035, 0.042, -y + rim, y - rim, low + rim, h - rim, SCREEN),
        slab(0.042, 0.043, -y + 0.2 * w, -0.05 * w, 0.62 * h, h - 2.2 * rim, (0.16, 0.19, 0.25)),
    ]


def _case(
    d: float, w: float, h: float, rgb: Rgb, bottom: float, lid: float, columns: int, drawers: int = 0
) -> list[Part]:
    """Build a body above ``bottom``, its lid, and ``columns`` of doors or ``drawers``, each with a handle."""
    x, y, top, rows = 0.5 * d, 0.5 * w, h - lid, drawers or 1
    panel, handle = lighter(rgb, 0.12) if sum(rgb) < 0.5 else darker(rgb, 0.84), contrast(rgb)
    wide, high = w / columns, (top - bottom) / rows
    parts = [slab(-x, x - 0.04, -y, y, bottom, top, rgb), slab(-x, x, -y, y, top, h, edge(rgb))]
    for column, row in product(range(columns), range(rows)):
        y0, low = -y + column * wide, bottom + row * high
        parts.append(slab(x - 0.04, x - 0.02, y0 + 0.02, y0 + wide - 0.02, low + 0.015, low + high - 0.015, panel))
        if drawers:
            at, across, up = y0 + 0.5 * wide, 0.16 * wide, 0.014
        else:
            at, across, up = y0 + wide - 0.07 if column % 2 == 0 and columns > 1 else y0 + 0.07, 0.015, 0.16 * high
        z = low + 0.55 * high
        parts.append(slab(x - 0.02, x, at - across, at + across, z - up, z + up, handle))
    return parts


def cabinet(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    base = slab(-0.5 * d + 0.02, 0.5 * d - 0.06, -0.5 * w + 0.02, 0.5 * w - 0.02, 0.0, 0.07, (0.14, 0.12, 0.11))
    if rng.random() < 0.5:
        return [base, *_case(d, w, h, rgb, 0.07, 0.03, max(1, round(w / 0.5)))]
    return [base, *_case(d, w, h, rgb, 0.07, 0.03, 1 if w < 0.9 else 2, max(2, round(h / 0.28)))]


def wardrobe(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    base = slab(-0.5 * d, 0.5 * d - 0.05, -0.5 * w, 0.5 * w, 0.0, 0.09, edge(rgb))
    return [base, *_case(d, w, h, rgb, 0.09, 0.05, 2 if w < 1.25 else 3)]


def bookshelf(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    x, y, board = 0.5 * d, 0.5 * w, 0.035
    parts = [
        slab(-x + 0.005, -x + 0.02, -y + 0.005, y - 0.005, 0.0, h - 0.005, darker(rgb, 0.55)),
        slab(-x, x, -y, -y + board, 0.0, h, rgb),
        slab(-x, x, y - board, y, 0.0, h, rgb),
    ]
    shelves = max(2, round(h / 0.36))
    step = (h - board) / shelves
    parts += [slab(-x, x, -y, y, k * step, k * step + board, rgb) for k in range(shelves + 1)]
    for k in range(shelves):
        at = -y + board + 0.02
        while at < y - 0.25:
            run = 0.08 + 0.16 * rng.random()
            if rng.random() < 0.7:
                top = k * step + board + (0.55 + 0.3 * rng.random()) * step
                book = BOOKS[int(rng.random() * len(BOOKS))]
                parts.append(slab(-x + 0.02, x - 0.05, at, at + run - 0.01, k * step + board, top, book))
            at += run
    return parts


def fridge(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    x, y, split = 0.5 * d, 0.5 * w, (0.35 + 0.3 * rng.random()) * h
    door, handle, side = lighter(rgb, 0.15) if sum(rgb) < 2.2 else rgb, contrast(rgb), y - 0.09
    return [
        slab(-x, x - 0.09, -y, y, 0.03, h, rgb),
        slab(-x + 0.03, x - 0.1, -y + 0.03, y - 0.03, 0.0, 0.03, (0.1, 0.1, 0.1)),
        slab(x - 0.09, x - 0.08, -y + 0.01, y - 0.01, 0.04, h - 0.01, (0.1, 0.1, 0.1)),
        slab(x - 0.08, x - 0.035, -y, y, 0.05, split - 0.01, door),
        slab(x - 0.08, x - 0.035, -y, y, split + 0.01, h, door),
        slab(x - 0.035, x, side - 0.02, side + 0.02, 0.55 * split, split - 0.06, handle),
        slab(x - 0.035, x, side - 0.02, side + 0.02, split + 0.06, split + 0.45 * (h - split), handle),
    ]


def table(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    return [*four_legs(d, w, h - 0.045, 0.06, edge(rgb)), slab(-0.5 * d, 0.5 * d, -0.5 * w, 0.5 * w, h - 0.045, h, rgb)]


def desk(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    # The front, where the user sits, is open below and has a drawer under the top.
    x, y = 0.5 * d, 0.5 * w
    side = -1 if rng.random() < 0.5 else 1
    left, right = sorted((side * 0.06 * w, side * (y - 0.03)))
    middle = 0.5 * (left + right)
    return [
        slab(-x, x, -y, y, h - 0.04, h, rgb),
        slab(-x, x - 0.02, -y, -y + 0.04, 0.0, h - 0.04, edge(rgb)),
        slab(-x, x - 0.02, y - 0.04, y, 0.0, h - 0.04, edge(rgb)),
        slab(-x, -x + 0.03, -y, y, 0.35 * h, h - 0.04, edge(rgb)),
        slab(-x, x - 0.03, left, right, h - 0.16, h - 0.04, lighter(rgb, 0.15)),
        slab(x - 0.03, x, middle - 0.07, middle + 0.07, h - 0.11, h - 0.085, contrast(rgb)),
    ]


def piano(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    x, y, keys = 0.5 * d, 0.5 * w, min(0.74, 0.66 * h)
    deep = -x + 0.5 * d
    parts = [
        slab(-x, deep, -y, y, 0.0, h - 0.03, rgb),
        slab(-x, deep + 0.03, -y, y, h - 0.03, h, edge(rgb)),
        slab(-x + 0.01, x, -y + 0.008, y - 0.008, keys - 0.12, keys - 0.03, edge(rgb)),
        slab(deep, x - 0.03, -y + 0.06, y - 0.06, keys - 0.03, keys, (0.96, 0.95, 0.90)),
        slab(deep, deep + 0.02, -y + 0.05, y - 0.05, keys + 0.08, h - 0.1, edge(edge(rgb))),
        slab(x - 0.1, x - 0.03, -y + 0.02, -y + 0.08, 0.0, keys - 0.1, edge(rgb)),
        slab(x - 0.1, x - 0.03, y - 0.08, y - 0.02, 0.0, keys - 0.1, edge(rgb)),
    ]
    step, end = (w - 0.12) / 9, deep + 0.55 * (x - 0.03 - deep)
    for k in range(9):
        at = -y + 0.06 + (k + 0.3) * step
        parts.append(slab(deep, end, at, at + 0.4 * step, keys, keys + 0.012, (0.04, 0.04, 0.04)))
    return parts


def chair(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    x, y, seat, frame = 0.5 * d, 0.5 * w, min(0.48, 0.54 * h), edge(rgb)
    parts = [*four_legs(d, w, seat - 0.06, 0.045, frame), slab(-x, x, -y, y, seat - 0.06, seat, rgb)]
    if rng.random() < 0.5:
        return [*parts, slab(-x, -x + 0.05, -y, y, seat, h, rgb)]
    parts += [slab(-x, -x + 0.045, b, b + 0.05, seat, h, frame) for b in (-y, y - 0.05)]
    step = (h - seat) / 3
    return [*parts, *(slab(-x, -x + 0.04, -y, y, h - (k + 0.62) * step, h - k * step, rgb) for k in range(3))]


def sofa(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    seats = 1 if w < 1.1 else 2 if w < 1.75 else 3
    x, y, seat, cushion = 0.5 * d, 0.5 * w, 0.46 * h, lighter(rgb, 0.1)
    arm, back, arm_top = min(0.2, 0.17 * w), 0.26 * d, 0.68 * h
    parts = [
        slab(-x + 0.02, x - 0.02, -y + 0.02, y - 0.02, 0.0, 0.07, (0.15, 0.12, 0.10)),
        slab(-x + 0.02, x - 0.02, -y + 0.02, y - 0.02, 0.07, seat - 0.12, rgb),
        slab(-x, -x + back, -y + 0.01, y - 0.01, 0.07, h, rgb),
        slab(-x + 0.01, x, -y, -y + arm, 0.06, arm_top, edge(rgb)),
        slab(-x + 0.01, x, y - arm, y, 0.06, arm_top, edge(rgb)),
    ]
    span = (w - 2 * arm) / seats
    for k in range(seats):
        y0 = -y + arm + k * span
        parts.append(slab(-x + back, x - 0.01, y0 + 0.012, y0 + span - 0.012, seat - 0.12, seat, cushion))
        parts.append(slab(-x + back, -x + back + 0.1, y0 + 0.02, y0 + span - 0.02, seat, 0.94 * h, cushion, -0.04))
    return parts


armchair = sofa


def bench(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    x, y = 0.5 * d, 0.5 * w
    step = d / 3
    boards = [slab(-x + k * step + 0.008, -x + (k + 1) * step - 0.008, -y, y, h - 0.04, h, rgb) for k in range(3)]
    ends = [slab(-x + 0.02, x - 0.02, b - 0.03, b + 0.03, 0.0, h - 0.04, edge(rgb)) for b in (0.16 - y, y - 0.16)]
    return [*boards, *ends, slab(-0.025, 0.025, -y + 0.16, y - 0.16, 0.1, 0.16, edge(rgb))]


def stool(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    reach = 0.30 * d
    legs = [tube(a * reach, b * reach, 0.04, 0.0, h - 0.06, edge(rgb)) for a in (-1, 1) for b in (-1, 1)]
    return [*legs, tube(0, 0, d, h - 0.07, h, rgb), tube(0, 0, 0.8 * d, 0.32 * h, 0.32 * h + 0.025, edge(rgb))]


def bed(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    # The headboard ends level with the mattress, so that items on the bed stand on the top of its box.
    x, y, base = 0.5 * d, 0.5 * w, 0.45 * h
    wood = (0.45, 0.30, 0.17) if rng.random() < 0.5 else (0.25, 0.22, 0.20)
    sheet = -x + 0.06 + 0.26 * d
    return [
        *four_legs(d - 0.03, w - 0.03, base, 0.08, wood),
        slab(-x, x - 0.02, -y + 0.015, y - 0.015, 0.12, base, wood),
        slab(-x, -x + 0.06, -y, y, 0.0, h, wood),
        slab(-x + 0.06, sheet, -y + 0.02, y - 0.02, base, h - 0.004, LINEN),
        slab(sheet, x, -y, y, 0.35 * base, h, rgb),
        slab(sheet - 0.12, sheet + 0.02, -y + 0.003, y - 0.003, base, h - 0.002, lighter(rgb, 0.45)),
    ]


def pillow(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Part]:
    lower = Part("slab", (0, 0, 0.25 * h), (0.72 * d, 0.72 * w, 0.5 * h), edge(rgb), 1 / 0.72)
    return [lower, Part("slab", (0, 0, 0.75 * h), (d, w, 0.5 * h), rgb, 0.62)]
