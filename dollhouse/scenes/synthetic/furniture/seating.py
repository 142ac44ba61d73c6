"""Builders of furniture to sit and lie on: chairs, armchairs, sofas, benches, stools, beds, pillows.

Sizes are (length, width, height) in metres, ``rgb`` is the main colour; the frame is that of
:mod:`dollhouse.scenes.synthetic.furniture.parts`.
"""

from __future__ import annotations

from random import Random
from typing import Final

from dollhouse.scenes.synthetic.furniture.catalogue import Rgb
from dollhouse.scenes.synthetic.furniture.parts import Part, Size, edge, four_legs, lighter, slab, tube

LINEN: Final[Rgb] = (0.93, 0.92, 0.88)


def chair(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, w, h = size
    x, y, seat, frame = 0.5 * d, 0.5 * w, min(0.48, 0.54 * h), edge(rgb)
    parts = [*four_legs(d, w, seat - 0.06, 0.045, frame), slab(-x, x, -y, y, seat - 0.06, seat, rgb)]
    if rng.random() < 0.5:
        return [*parts, slab(-x, -x + 0.05, -y, y, seat, h, rgb)]
    parts += [slab(-x, -x + 0.045, b, b + 0.05, seat, h, frame) for b in (-y, y - 0.05)]
    rails = 3
    step = (h - seat) / rails
    for k in range(rails):
        parts.append(slab(-x, -x + 0.04, -y, y, h - (k + 0.62) * step, h - k * step, rgb))
    return parts


def _padded_seat(size: Size, rgb: Rgb, seats: int) -> list[Part]:
    d, w, h = size
    x, y, seat = 0.5 * d, 0.5 * w, 0.46 * h
    arm, back, arm_top = min(0.2, 0.17 * w), 0.26 * d, 0.68 * h
    cushion = lighter(rgb, 0.1)
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


def armchair(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    return _padded_seat(size, rgb, 1)


def sofa(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    return _padded_seat(size, rgb, 2 if size[1] < 1.75 else 3)


def bench(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, w, h = size
    x, y = 0.5 * d, 0.5 * w
    step = d / 3
    boards = [slab(-x + k * step + 0.008, -x + (k + 1) * step - 0.008, -y, y, h - 0.04, h, rgb) for k in range(3)]
    ends = [slab(-x + 0.02, x - 0.02, b - 0.03, b + 0.03, 0.0, h - 0.04, edge(rgb)) for b in (0.16 - y, y - 0.16)]
    return [*boards, *ends, slab(-0.025, 0.025, -y + 0.16, y - 0.16, 0.1, 0.16, edge(rgb))]


def stool(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, _, h = size
    reach = 0.30 * d
    legs = [tube(a * reach, b * reach, 0.04, 0.0, h - 0.06, edge(rgb)) for a in (-1, 1) for b in (-1, 1)]
    return [*legs, tube(0, 0, d, h - 0.07, h, rgb), tube(0, 0, 0.8 * d, 0.32 * h, 0.32 * h + 0.025, edge(rgb))]


def bed(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    # The headboard ends level with the mattress, so that items on the bed stand on the top of its box.
    d, w, h = size
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


def pillow(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, w, h = size
    lower = Part("slab", (0, 0, 0.25 * h), (0.72 * d, 0.72 * w, 0.5 * h), edge(rgb), 1 / 0.72)
    return [lower, Part("slab", (0, 0, 0.75 * h), (d, w, 0.5 * h), rgb, 0.62)]
