"""Procedural kinds of objects: those without 3D models, and more variety where models are few.

A builder gets length, width, height (metres), main colour and a random source, and returns solids in the object's own
frame: x to the front, y left, z up, the origin in the middle of the underside.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from dollhouse.scenes.synthetic.furniture import Part, Rgb, builders
from dollhouse.scenes.synthetic.furniture.builders import BOOKS, METAL, SCREEN
from dollhouse.scenes.synthetic.furniture.primitives import darker, four_legs, lighter, slab, tube

WHITE: Final[Rgb] = (0.93, 0.93, 0.92)
BLACK: Final[Rgb] = (0.06, 0.06, 0.07)
DARK: Final[Rgb] = (0.16, 0.16, 0.17)
GLASS: Final[Rgb] = (0.10, 0.11, 0.13)


class Solid(NamedTuple):
    """A part and the role of its surface, see ``layout.Surface``; shapes also "pillow" and "sheet"."""

    part: Part
    role: str


def _of(role: str, *parts: Part) -> list[Solid]:
    return [Solid(part, role) for part in parts]


def _box(d: float, w: float, z0: float, z1: float, rgb: Rgb, x: float = 0.0, y: float = 0.0) -> Part:
    return slab(x - 0.5 * d, x + 0.5 * d, y - 0.5 * w, y + 0.5 * w, z0, z1, rgb)


def _pillow(d: float, w: float, h: float, rgb: Rgb) -> Part:
    return Part("pillow", (0, 0, 0.5 * h), (d, w, h), rgb)


def _fronts(d: float, w: float, z0: float, z1: float, rgb: Rgb, columns: int, rows: int, rng: Random) -> list[Solid]:
    """Build doors or drawers in a grid on the front at x = d / 2, with handles."""
    solids, x = [], 0.5 * d
    wide, high = w / columns, (z1 - z0) / rows
    metal, below, knob = rng.choice((METAL, DARK, lighter(rgb, 0.5))), rng.random() < 0.5, rng.random() < 0.4
    for column in range(columns):
        for row in range(rows):
            y, z = -0.5 * w + (column + 0.5) * wide, z0 + row * high
            solids += _of("wood", _box(0.018, wide - 0.008, z + 0.004, z + high - 0.004, rgb, x - 0.029, y))
            if high > 0.9 * wide:  # a door: the handle beside its opening edge
                side = y + (1 if column % 2 == 0 else -1) * (0.5 * wide - 0.05)
                top = z + high - 0.06 if below else z + 0.55 * high
                size = (0.02, 0.02, 0.02) if knob else (0.02, 0.015, min(0.16, 0.4 * high))
                solids += _of("metal", _box(*size[:2], top - size[2], top, metal, x - 0.01, side))
            else:
                size = (0.02, 0.03, 0.03) if knob else (0.02, min(0.2, 0.5 * wide), 0.015)
                solids += _of("metal", _box(*size[:2], z + 0.6 * high - size[2], z + 0.6 * high, metal, x - 0.01, y))
    return solids


def base_cabinet(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build kitchen base units without a top, which a counter covers."""
    columns = max(1, round(w / 0.5))
    back = 0.5 * d - 0.04
    body = [
        slab(-0.5 * d, back, -0.5 * w, -0.5 * w + 0.02, 0.0, h, rgb),
        slab(-0.5 * d, back, 0.5 * w - 0.02, 0.5 * w, 0.0, h, rgb),
        slab(-0.5 * d, -0.5 * d + 0.02, -0.5 * w, 0.5 * w, 0.0, h, rgb),
        slab(back - 0.02, back, -0.5 * w, 0.5 * w, 0.1, h, darker(rgb, 0.7)),
        slab(back - 0.06, back - 0.04, -0.5 * w, 0.5 * w, 0.0, 0.1, DARK),
    ]
    drawers = rng.random()
    if drawers < 0.25:
        return [*_of("wood", *body), *_fronts(d, w, 0.1, h, rgb, columns, 3, rng)]
    split = h if drawers < 0.6 else h - 0.17
    solids = [*_of("wood", *body), *_fronts(d, w, 0.1, split, rgb, columns, 1, rng)]
    return solids if split == h else [*solids, *_fronts(d, w, split, h, rgb, columns, 1, rng)]


def cabinet(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a closed cabinet with doors or drawers, on a plinth, legs or the wall."""
    columns, z0 = max(1, round(w / 0.48)), rng.choice((0.0, 0.05, 0.12)) if h > 0.5 else 0.0
    rows = rng.choice((1, 1, 2)) if h < 1.2 else rng.choice((1, 2))
    body = [slab(-0.5 * d, 0.5 * d - 0.038, -0.5 * w, 0.5 * w, z0, h - 0.02, darker(rgb, 0.9))]
    body.append(_box(d, w, h - 0.02, h, rgb))
    body += four_legs(d - 0.05, w, z0, 0.04, darker(rgb, 0.6)) if z0 > 0.1 else []
    body += [_box(d - 0.1, w - 0.04, 0.0, z0, DARK)] if 0 < z0 < 0.1 else []
    return [*_of("wood", *body), *_fronts(d, w, z0 + 0.01, h - 0.025, rgb, columns, rows, rng)]


def drawers(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a chest of drawers."""
    z0 = rng.choice((0.0, 0.06, 0.14)) if h > 0.4 else 0.0
    columns, rows = (2 if w > 1.0 else 1), max(1, round((h - z0) / 0.22))
    body = [slab(-0.5 * d, 0.5 * d - 0.038, -0.5 * w, 0.5 * w, z0, h - 0.025, darker(rgb, 0.9))]
    body += [_box(d, w, h - 0.025, h, rgb), *four_legs(d - 0.04, w, z0, 0.04, darker(rgb, 0.6))]
    return [*_of("wood", *body), *_fronts(d, w, z0 + 0.01, h - 0.03, rgb, columns, rows, rng)]


def counter(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a worktop; ``meshes`` cuts the sinks out of it."""
    return _of(rng.choice(("stone", "stone", "wood")), _box(d, w, 0.0, h, rgb))


def island(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    top = rng.choice((WHITE, DARK, (0.62, 0.45, 0.28)))
    body = [slab(-0.5 * d + 0.25, 0.5 * d - 0.06, -0.5 * w + 0.03, 0.5 * w - 0.03, 0.0, h - 0.04, rgb)]
    fronts = _fronts(d - 0.04, w - 0.08, 0.1, h - 0.05, rgb, max(2, round(w / 0.55)), 1, rng)
    return [*_of("wood", *body), *_of("stone", _box(d, w, h - 0.04, h, top)), *fronts]


def kitchen_sink(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a basin of depth 0.17 m with its rim at the counter's level and a tap above."""
    rim, x, y = 0.17, 0.5 * d, 0.5 * w
    steel, wall = rng.choice((METAL, METAL, WHITE, DARK)), 0.02
    basin = [
        _box(d, w, 0.0, 0.01, steel),
        slab(-x, -x + 0.07, -y, y, 0.0, rim + 0.006, steel),
        slab(x - wall, x, -y, y, 0.0, rim + 0.006, steel),
        slab(-x, x, -y, -y + wall, 0.0, rim + 0.006, steel),
        slab(-x, x, y - wall, y, 0.0, rim + 0.006, steel),
        tube(0.03, 0, 0.05, 0.01, 0.014, DARK),
    ]
    at = -x + 0.035
    basin += [tube(at, 0, 0.035, rim, h - 0.02, METAL), slab(at - 0.015, at + 0.2, -0.015, 0.015, h - 0.03, h, METAL)]
    return _of("metal", *basin, slab(at + 0.175, at + 0.2, -0.012, 0.012, h - 0.08, h - 0.02, METAL))


def _appliance(d: float, w: float, h: float, rgb: Rgb) -> list[Solid]:
    return _of("metal", slab(-0.5 * d, 0.5 * d - 0.04, -0.5 * w, 0.5 * w, 0.0, h, rgb))


def dishwasher(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    x, panel = 0.5 * d, rng.choice((DARK, METAL, rgb))
    return [
        *_appliance(d, w, h, rgb),
        *_of("metal", slab(x - 0.04, x - 0.02, -0.5 * w + 0.003, 0.5 * w - 0.003, 0.1, h - 0.115, rgb)),
        *_of("plastic", slab(x - 0.04, x - 0.018, -0.5 * w + 0.003, 0.5 * w - 0.003, h - 0.11, h - 0.003, panel)),
        *_of("metal", slab(x - 0.02, x, -0.35 * w, 0.35 * w, h - 0.16, h - 0.14, METAL)),
    ]


def oven(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    x, knobs = 0.5 * d, [-0.36, -0.22, 0.22, 0.36]
    window = slab(x - 0.02, x - 0.016, -0.38 * w, 0.38 * w, 0.14 * h, h - 0.27, GLASS)
    return [
        *_appliance(d, w, h, rgb),
        *_of("metal", slab(x - 0.04, x - 0.02, -0.49 * w, 0.49 * w, 0.02, h - 0.15, rgb)),
        *_of("ceramic", window),
        *_of("metal", slab(x - 0.02, x, -0.4 * w, 0.4 * w, h - 0.21, h - 0.19, METAL)),
        *_of("plastic", slab(x - 0.04, x - 0.02, -0.49 * w, 0.49 * w, h - 0.145, h - 0.005, DARK)),
        *_of("metal", *(_box(0.03, 0.04, h - 0.1, h - 0.06, METAL, x - 0.012, k * w) for k in knobs)),
    ]


def stove(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a free-standing cooker: an oven below four rings."""
    rings = [
        (a * d, b * w, s) for a, b, s in ((-0.2, -0.24, 0.2), (-0.2, 0.24, 0.16), (0.2, -0.24, 0.16), (0.2, 0.24, 0.2))
    ]
    plates = [tube(x, y, size, h - 0.02, h - 0.006, DARK) for x, y, size in rings]
    return [*oven(d, w, h - 0.03, rgb, rng), *_of("metal", _box(d, w, h - 0.03, h - 0.015, BLACK), *plates),
            *_of("metal", _box(0.02, w, h - 0.03, h, rgb, -0.5 * d + 0.01))]  # fmt: skip


def cooktop(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    rings = [
        (a * d, b * w, s) for a, b, s in ((-0.2, -0.24, 0.2), (-0.2, 0.24, 0.16), (0.2, -0.24, 0.16), (0.2, 0.24, 0.2))
    ]
    plates = [tube(x, y, size, 0.0, h, (0.22, 0.22, 0.23)) for x, y, size in rings]
    return _of("ceramic", _box(d, w, 0.0, 0.7 * h, BLACK), *plates)


def fridge(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    x, y, split = 0.5 * d, 0.5 * w, rng.choice((0.36, 0.42, 0.62)) * h
    side = rng.choice((-1, 1)) * (y - 0.06)
    doors = [
        slab(x - 0.09, x - 0.03, -y + 0.003, y - 0.003, a, b, rgb)
        for a, b in ((0.06, split - 0.004), (split + 0.004, h))
    ]
    bars = [
        _box(0.03, 0.02, a, b, METAL, x - 0.015, side)
        for a, b in ((split - 0.4, split - 0.06), (split + 0.06, split + 0.4))
    ]
    return _of("metal", slab(-x, x - 0.1, -y, y, 0.02, h, darker(rgb, 0.92)), *doors, *bars)


def microwave(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    x = 0.5 * d
    return [
        *_of("metal", slab(-x, x - 0.02, -0.5 * w, 0.5 * w, 0.0, h, rgb)),
        *_of("ceramic", slab(x - 0.02, x - 0.005, -0.24 * w, 0.48 * w, 0.05 * h, 0.95 * h, GLASS)),
        *_of("plastic", slab(x - 0.02, x - 0.008, -0.49 * w, -0.25 * w, 0.03 * h, 0.97 * h, darker(rgb, 0.7))),
        *_of("metal", slab(x - 0.01, x, -0.24 * w, -0.2 * w, 0.15 * h, 0.85 * h, METAL)),
    ]


def toaster(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    slots = [_box(0.03, 0.7 * w, h - 0.004, h, BLACK, a * d) for a in (-0.18, 0.18)]
    return [
        *_of("metal", _box(d, w - 0.02, 0.015, h - 0.003, rgb), *slots),
        *_of(
            "plastic",
            _box(0.9 * d, w, 0.0, 0.03, DARK),
            _box(0.05, 0.02, 0.55 * h, 0.65 * h, DARK, 0.0, 0.5 * w - 0.01),
        ),
    ]


def kettle(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    body, across = 0.86 * h, 0.76 * d
    handle = slab(-0.5 * d, -0.5 * d + 0.025, -0.015, 0.015, 0.2 * h, 0.85 * h, DARK)
    return [
        *_of("metal", tube(0.02, 0, across, 0.02, body, rgb, 0.75)),
        *_of("metal", Part("ball", (0.02, 0, body), (0.6 * across, 0.6 * across, 0.1 * h), rgb)),
        *_of("plastic", tube(0, 0, across, 0.0, 0.02, DARK), handle),
        *_of("plastic", slab(-0.5 * d, 0.0, -0.015, 0.015, 0.8 * h, 0.87 * h, DARK)),
        *_of("metal", Part("slab", (0.36 * d, 0, 0.72 * h), (0.28 * d, 0.04, 0.1 * h), rgb)),
        *_of("plastic", tube(0.02, 0, 0.03, body, h, DARK)),
    ]  # fmt: skip


def range_hood(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    low = Part("slab", (0, 0, 0.16), (d, w, 0.2), rgb, 0.5)
    return _of("metal", _box(d, w, 0.0, 0.06, rgb), low, _box(0.3, 0.3, 0.25, h, rgb, -0.5 * d + 0.2))


def monitor(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    y, low = 0.5 * w, min(0.13, 0.3 * h)
    x = 0.02
    return [
        *_of("plastic", _box(d, 0.38 * w, 0.0, 0.012, rgb), _box(0.03, 0.06, 0.012, h - 0.15, rgb, x - 0.04)),
        *_of("plastic", slab(x - 0.03, x + 0.01, -y, y, low, h, rgb)),
        *_of("screen", slab(x + 0.01, x + 0.013, -y + 0.012, y - 0.012, low + 0.02, h - 0.012, SCREEN)),
    ]


def television(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    y, low = 0.5 * w, 0.06
    feet = [_box(d, 0.03, 0.0, low, rgb, 0.0, a * w) for a in (-0.32, 0.32)]
    panel = slab(-0.03, 0.02, -y, y, low, h, rgb)
    return [
        *_of("plastic", *feet, panel),
        *_of("screen", slab(0.02, 0.024, -y + 0.012, y - 0.012, low + 0.02, h - 0.012, SCREEN)),
    ]


def wall_television(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    x = 0.5 * d
    return [
        *_of("plastic", slab(-x, x - 0.004, -0.5 * w, 0.5 * w, 0.0, h, rgb)),
        *_of("screen", slab(x - 0.004, x, -0.5 * w + 0.012, 0.5 * w - 0.012, 0.015, h - 0.012, SCREEN)),
    ]


def keyboard(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    key, keys = lighter(rgb, 0.25) if sum(rgb) < 1.5 else darker(rgb, 0.75), []
    for row in range(5):
        keys.append(_box(0.13 * d, 0.66 * w, 0.7 * h, h, key, (row - 2) * 0.18 * d, 0.14 * w))
        keys.append(_box(0.13 * d, 0.22 * w, 0.7 * h, h, key, (row - 2) * 0.18 * d, -0.36 * w))
    return _of("plastic", _box(d, w, 0.0, 0.7 * h, rgb), *keys)


def computer(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    x = 0.5 * d
    return _of(
        "plastic",
        slab(-x, x - 0.01, -0.5 * w, 0.5 * w, 0.0, h, rgb),
        slab(x - 0.01, x, -0.46 * w, 0.46 * w, 0.01, 0.99 * h, lighter(rgb, 0.12)),
        slab(x - 0.003, x, -0.3 * w, 0.3 * w, 0.8 * h, 0.88 * h, METAL),
    )


def printer(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    return [
        *_of("plastic", _box(0.85 * d, w, 0.0, 0.6 * h, rgb, -0.07 * d)),
        *_of("plastic", _box(0.8 * d, 0.96 * w, 0.6 * h, h, darker(rgb, 0.8), -0.1 * d)),
        *_of("paper", _box(0.35 * d, 0.5 * w, 0.2 * h, 0.23 * h, WHITE, 0.32 * d)),
        *_of("plastic", _box(0.02, 0.6 * w, 0.25 * h, 0.45 * h, BLACK, 0.35 * d)),
    ]  # fmt: skip


def speaker(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    x = 0.5 * d
    cones = [_box(0.01, s, z - 0.5 * s, z + 0.5 * s, DARK if sum(rgb) > 0.8 else (0.3, 0.3, 0.3), x - 0.005)
             for s, z in ((0.6 * w, 0.32 * h), (0.35 * w, 0.72 * h))]  # fmt: skip
    return [*_of("wood", slab(-x, x - 0.01, -0.5 * w, 0.5 * w, 0.0, h, rgb)), *_of("plastic", *cones)]


def mirror(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    rim, x = rng.choice((0.012, 0.03, 0.05)), 0.5 * d
    return [
        *_of("wood", slab(-x, x - 0.004, -0.5 * w, 0.5 * w, 0.0, h, rgb)),
        *_of("mirror", slab(x - 0.004, x, -0.5 * w + rim, 0.5 * w - rim, rim, h - rim, (0.75, 0.78, 0.8))),
    ]


def picture(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    rim, x = rng.choice((0.0, 0.015, 0.03, 0.05)), 0.5 * d
    inner = slab(x - 0.004, x, -0.5 * w + rim, 0.5 * w - rim, rim, h - rim, rgb)
    frame = rng.choice((BLACK, WHITE, (0.4, 0.26, 0.14), (0.65, 0.5, 0.25)))
    return [*_of("wood", slab(-x, x - 0.004, -0.5 * w, 0.5 * w, 0.0, h, frame)), *_of("picture", inner)]


def clock(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a square or octagonal wall clock: rim, face and hands."""
    x, face = 0.5 * d, WHITE if sum(rgb) < 2.2 else DARK
    rim = [
        slab(-x, x - 0.006, -0.5 * w, 0.5 * w, 0.2 * h, 0.8 * h, rgb),
        slab(-x, x - 0.006, -0.3 * w, 0.3 * w, 0.0, h, rgb),
    ]
    rim += [slab(x - 0.006, x - 0.004, -0.44 * w, 0.44 * w, 0.24 * h, 0.76 * h, face)]
    rim += [slab(x - 0.006, x - 0.004, -0.27 * w, 0.27 * w, 0.06 * h, 0.94 * h, face)]
    hands = [
        slab(x - 0.004, x, -0.012, 0.012, 0.48 * h, 0.85 * h, rgb),
        slab(x - 0.004, x, -0.02, 0.28 * w, 0.48 * h, 0.53 * h, rgb),
    ]
    return _of("plastic", *rim, *hands)


def rug(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    border = lighter(rgb, 0.3) if sum(rgb) < 1.5 else darker(rgb, 0.7)
    if rng.random() < 0.5:
        return _of("fabric", _box(d, w, 0.0, h, rgb))
    edge = rng.choice((0.08, 0.14))
    return _of("fabric", _box(d, w, 0.0, 0.8 * h, border), _box(d - 2 * edge, w - 2 * edge, 0.8 * h, h, rgb))


def round_rug(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    return _of("fabric", tube(0, 0, d, 0.0, h, rgb))


def curtain(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    return _of("fabric", Part("sheet", (0, 0, 0.5 * h), (d, w, h), rgb))


def roller_blind(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    return _of("fabric", _box(0.01, w, 0.0, h - 0.03, rgb), _box(d, w, h - 0.05, h, lighter(rgb, 0.2)))


def towel(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a towel over a rail, back against the wall."""
    rail = tube(0, 0, 0.02, 0.0, 0.0, METAL)._replace(shape="slab", centre=(0, 0, h - 0.012), size=(0.02, w, 0.02))
    across = 0.8 * w
    sheet = [_box(0.012, across, 0.0, h - 0.002, rgb, 0.014), _box(0.012, across, 0.25 * h, h - 0.002, rgb, -0.014)]
    ends = [_box(d, 0.02, h - 0.03, h, METAL, 0, side * w) for side in (-0.49, 0.49)]
    return [*_of("metal", rail, *ends),
            *_of("fabric", *sheet, _box(0.04, across, h - 0.004, h, rgb))]  # fmt: skip


def folded_towels(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    count = max(1, round(h / 0.06))
    step = h / count
    shades = [rgb if k % 2 == 0 else lighter(rgb, 0.25) for k in range(count)]
    return _of(
        "fabric", *(Part("pillow", (0, 0, (k + 0.5) * step), (d, w, 1.1 * step), shades[k]) for k in range(count))
    )


def pillow(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    return _of("fabric", _pillow(d, w, h, rgb))


def books(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a row of standing books along y, spines to the front."""
    solids, at = [], -0.5 * w
    while at < 0.5 * w - 0.012:
        thick = min(0.018 + 0.03 * rng.random(), 0.5 * w - at)
        tall, deep = h * (0.75 + 0.25 * rng.random()), d * (0.75 + 0.25 * rng.random())
        cover = rgb if rng.random() < 0.45 else rng.choice(BOOKS)
        solids += _of("paper", slab(-0.5 * d, -0.5 * d + deep, at, at + thick - 0.001, 0.0, tall, cover))
        at += thick
    return solids


def book_stack(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    count = max(1, round(h / 0.03))
    step, solids = h / count, []
    for k in range(count):
        a, b = d * (0.8 + 0.2 * rng.random()), w * (0.8 + 0.2 * rng.random())
        cover = rgb if k == count - 1 else rng.choice(BOOKS)
        solids += _of("paper", _box(a, b, k * step, (k + 1) * step - 0.001, cover))
        solids += _of("paper", _box(a - 0.01, b - 0.002, k * step + 0.004, (k + 1) * step - 0.005, WHITE, 0.006))
    return solids


def cup(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    body = tube(0, 0, 0.8 * d, 0.0, h - 0.001, rgb, 1.1)
    inside = tube(0, 0, 0.78 * d, h - 0.002, h, (0.25, 0.15, 0.08) if rng.random() < 0.5 else darker(rgb, 0.6))
    handle = _box(0.25 * d, 0.015, 0.25 * h, 0.8 * h, rgb, -0.4 * d)
    return _of("ceramic", body, inside, handle)


def bottle(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    shoulder = (0.5 + 0.2 * rng.random()) * h
    label = tube(
        0, 0, 1.01 * d, 0.3 * shoulder, 0.75 * shoulder, rng.choice((WHITE, (0.8, 0.75, 0.5), (0.7, 0.2, 0.15)))
    )
    body = [tube(0, 0, d, 0.0, shoulder, rgb), tube(0, 0, d, shoulder, 0.5 * (shoulder + h), rgb, 0.4)]
    neck = tube(0, 0, 0.4 * d, 0.5 * (shoulder + h), h - 0.02, rgb, 0.9)
    return [
        *_of("plastic", *body, neck, tube(0, 0, 0.42 * d, h - 0.025, h, rng.choice((WHITE, DARK, (0.7, 0.1, 0.1))))),
        *_of("paper", label),
    ]


def bowl(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    return _of(
        "ceramic",
        tube(0, 0, 0.45 * d, 0.0, h - 0.001, rgb, 1 / 0.45),
        tube(0, 0, 0.92 * d, h - 0.003, h, darker(rgb, 0.7)),
    )


def plank(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a wall shelf: a board."""
    return _of("wood", _box(d, w, 0.0, h, rgb))


def radiator(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    ribs = max(4, round(w / 0.06))
    step = w / ribs
    parts = [_box(d, 0.7 * step, 0.02, h - 0.02, rgb, 0.0, -0.5 * w + (k + 0.5) * step) for k in range(ribs)]
    return _of("metal", *parts, _box(0.5 * d, w, 0.0, 0.05, rgb), _box(0.5 * d, w, h - 0.05, h, rgb))


def shower(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a corner shower: a tray, metal posts and frames, the head on the back wall."""
    x, y = 0.5 * d, 0.5 * w
    frame = [slab(x - 0.03, x, a, a + 0.03, 0.1, h, METAL) for a in (-y, y - 0.03)]
    frame += [slab(x - 0.03, x, -y, y, a, a + 0.03, METAL) for a in (0.1, h - 0.03)]
    frame += [slab(-x, x, y - 0.03, y, a, a + 0.03, METAL) for a in (0.1, h - 0.03)]
    frame += [slab(x - 0.025, x - 0.005, -0.015, 0.015, 0.1, h, METAL), tube(-x + 0.04, 0, 0.025, 0.9, 2.0, METAL)]
    frame += [tube(-x + 0.16, 0, 0.18, 1.96, 1.99, METAL), slab(-x + 0.03, -x + 0.17, -0.012, 0.012, 1.98, 2.0, METAL)]
    glass = [
        slab(x - 0.018, x - 0.012, -y, y, 0.1, h, (0.75, 0.83, 0.84)),
        slab(-x, x, y - 0.018, y - 0.012, 0.1, h, (0.75, 0.83, 0.84)),
    ]
    return [*_of("ceramic", _box(d, w, 0.0, 0.1, WHITE)), *_of("metal", *frame), *_of("glass", *glass)]


def window(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build frame, sill and panes; the pane lies at the back of the reveal."""
    x, y, rim = 0.5 * d, 0.5 * w, 0.05
    columns, rows = max(1, round(w / 0.75)), rng.choice((1, 1, 1, 2))
    back = -x
    frame = [slab(back, back + 0.05, a, a + rim, 0.0, h, rgb) for a in (-y, y - rim)]
    frame += [slab(back, back + 0.05, -y, y, a, a + rim, rgb) for a in (0.0, h - rim)]
    frame += [
        slab(back, back + 0.045, -y + k * w / columns - 0.025, -y + k * w / columns + 0.025, 0.0, h, rgb)
        for k in range(1, columns)
    ]
    frame += [slab(back, back + 0.045, -y, y, 0.62 * h - 0.02, 0.62 * h + 0.02, rgb)] if rows == 2 else []
    reveal = [slab(back, x - 0.018, a, b, 0.0, h, WHITE) for a, b in ((-y, -y + 0.005), (y - 0.005, y))]
    reveal += [slab(back, x - 0.018, -y, y, h - 0.005, h, WHITE), slab(back, x, -y, y, -0.0, 0.025, WHITE)]
    return [
        *_of("plastic", *frame, *reveal),
        *_of("pane", slab(back, back + 0.01, -y + rim, y - rim, rim, h - rim, (0.85, 0.92, 1.0))),
    ]


def door(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a closed door leaf in its casing."""
    x, y, rim = 0.5 * d, 0.5 * w, 0.06
    casing = [slab(-x, x, a, a + rim, 0.0, h, WHITE if rng.random() < 0.6 else rgb) for a in (-y, y - rim)]
    casing += [slab(-x, x, -y, y, h - rim, h, casing[0].rgb), slab(-x, x, -y, y, 0.0, 0.004, METAL)]
    leaf = slab(-x, 0.25 * d, -y + rim, y - rim, 0.0, h - rim, rgb)
    style, inner, parts = rng.random(), w - 2 * rim - 0.24, []
    panels = ((0.2, 0.9), (1.05, h - 0.22)) if style < 0.5 else ((0.25, h - 0.25),) if style < 0.65 else ()
    parts = [_box(0.012, inner, a, b, darker(rgb, 0.88), 0.25 * d) for a, b in panels]
    side = rng.choice((-1, 1)) * (y - rim - 0.06)
    handle = [
        _box(0.05, 0.02, 1.02, 1.05, METAL, 0.25 * d + 0.02, side),
        _box(0.015, 0.12, 1.02, 1.04, METAL, 0.25 * d + 0.045, 0.88 * side),
    ]
    return [*_of("wood", *casing, leaf, *parts), *_of("metal", *handle)]


def floor_lamp(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    shade = h - 0.3
    poles = [tube(0, 0, 0.7 * d, 0.0, 0.025, DARK), tube(0, 0, 0.03, 0.02, shade + 0.1, rng.choice((METAL, DARK)))]
    return [*_of("metal", *poles), *_of("lamp", tube(0, 0, d, shade, h, rgb, 0.5 + 0.45 * rng.random()))]


def pendant(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    shade = min(0.6 * h, 0.8 * d)
    body = tube(0, 0, d, 0.0, shade, rgb, 0.35 + 0.6 * rng.random())
    if rng.random() < 0.4:
        body = Part("ball", (0, 0, 0.5 * d), (d, d, min(d, h)), rgb)
    return [*_of("lamp", body), *_of("metal", tube(0, 0, 0.01, shade, h, DARK), tube(0, 0, 0.1, h - 0.03, h, DARK))]


def ceiling_lamp(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    return [
        *_of("lamp", tube(0, 0, 0.9 * d, 0.0, h - 0.01, WHITE, 1.1)),
        *_of("metal", tube(0, 0, d, h - 0.015, h, METAL)),
    ]


def ceiling_fan(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    blades = [_box(d, 0.12, 0.1, 0.115, rgb), _box(0.12, d, 0.1, 0.115, rgb)]
    return [
        *_of("wood", *blades),
        *_of("metal", tube(0, 0, 0.2, 0.06, 0.2, METAL), tube(0, 0, 0.03, 0.2, h, METAL)),
        *_of("lamp", tube(0, 0, 0.16, 0.0, 0.06, WHITE)),
    ]


def bookshelf(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build an open case; ``boards`` gives the heights of its boards."""
    y, board = 0.5 * w, 0.03
    sides = [slab(-0.5 * d, 0.5 * d, a, a + board, 0.0, h, rgb) for a in (-y, y - board)]
    planks = [
        _box(d - 0.004, w - 2 * board, z, z + board, rgb)
        for z in [0.04, *(b - board for b in boards(h)[1:]), h - board]
    ]
    return _of("wood", *sides, *planks, slab(-0.5 * d, -0.5 * d + 0.01, -y, y, 0.0, h, darker(rgb, 0.85)))


def boards(height: float) -> list[float]:
    """Return the heights of the upper faces of a bookshelf's inner boards."""
    count = max(2, round((height - 0.07) / 0.34))
    step = (height - 0.1) / count
    return [0.07 + k * step for k in range(count)]


def table(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    legs = rng.choice((rgb, rgb, BLACK, WHITE))
    thick = rng.choice((0.04, 0.06, 0.08))
    top, inset = rng.choice((0.025, 0.04)), rng.choice((0.0, 0.03, 0.08))
    return _of("wood", _box(d, w, h - top, h, rgb), *four_legs(d - 2 * inset, w - 2 * inset, h - top, thick, legs))


def desk(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    if rng.random() < 0.5:
        return table(d, w, h, rgb, rng)
    side = rng.choice((-1, 1))
    y0, y1 = sorted((side * 0.5 * w, side * (0.5 * w - 0.4)))
    case = slab(-0.5 * d, 0.5 * d - 0.04, y0, y1, 0.0, h - 0.03, darker(rgb, 0.92))
    drawer = (h - 0.06) / 3
    fronts = [
        slab(0.5 * d - 0.04, 0.5 * d - 0.02, y0 + 0.01, y1 - 0.01, 0.02 + k * drawer, 0.01 + (k + 1) * drawer, rgb)
        for k in range(3)
    ]
    end = _box(d - 0.02, 0.03, 0.0, h - 0.03, rgb, -0.01, -side * (0.5 * w - 0.015))
    return _of("wood", _box(d, w, h - 0.03, h, rgb), case, end, *fronts)


def _borrowed(name: str, role: str) -> Callable[[float, float, float, Rgb, Random], list[Solid]]:
    build = getattr(builders, name)
    return lambda d, w, h, rgb, rng: _of(role, *build(d, w, h, rgb, rng))


#: Kind -> its builder.
BUILDERS: Final[dict[str, Callable[[float, float, float, Rgb, Random], list[Solid]]]] = {
    function.__name__: function
    for function in (
        base_cabinet, cabinet, drawers, counter, island, kitchen_sink, dishwasher, oven, stove, cooktop, fridge,
        microwave, toaster, kettle, range_hood, monitor, television, wall_television, keyboard, computer, printer,
        speaker, mirror, picture, clock, rug, round_rug, curtain, roller_blind, towel, folded_towels, pillow, books,
        book_stack, cup, bottle, bowl, plank, radiator, shower, window, door, floor_lamp, pendant,
        ceiling_lamp, ceiling_fan, bookshelf, table, desk,
    )
} | {
    "wardrobe": _borrowed("wardrobe", "wood"),
    "box": _borrowed("box", "paper"),
    "bin": _borrowed("bin", "plastic"),
    "ball": _borrowed("ball", "plastic"),
    "vase": _borrowed("vase", "ceramic"),
}  # fmt: skip
