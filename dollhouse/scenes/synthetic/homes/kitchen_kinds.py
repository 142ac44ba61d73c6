"""Procedural kitchen units and appliances; builders as in :mod:`~dollhouse.scenes.synthetic.homes.procedural`."""

from __future__ import annotations

from random import Random
from typing import Final

from dollhouse.scenes.synthetic.furniture import Part, Rgb
from dollhouse.scenes.synthetic.furniture.builders import METAL
from dollhouse.scenes.synthetic.furniture.primitives import darker, slab, tube
from dollhouse.scenes.synthetic.homes.solids import BLACK, DARK, GLASS, WHITE, Builder, Solid, block, fronts, solids_of

_RINGS: Final = ((-0.2, -0.24, 0.2), (-0.2, 0.24, 0.16), (0.2, -0.24, 0.16), (0.2, 0.24, 0.2))  #: x, y, diameter


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
        return [*solids_of("wood", *body), *fronts(d, w, 0.1, h, rgb, columns, 3, rng)]
    split = h if drawers < 0.6 else h - 0.17
    solids = [*solids_of("wood", *body), *fronts(d, w, 0.1, split, rgb, columns, 1, rng)]
    return solids if split == h else [*solids, *fronts(d, w, split, h, rgb, columns, 1, rng)]


def counter(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a worktop; ``meshes`` cuts the sinks out of it."""
    return solids_of(rng.choice(("stone", "stone", "wood")), block(d, w, 0.0, h, rgb))


def island(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    top = rng.choice((WHITE, DARK, (0.62, 0.45, 0.28)))
    body = [slab(-0.5 * d + 0.25, 0.5 * d - 0.06, -0.5 * w + 0.03, 0.5 * w - 0.03, 0.0, h - 0.04, rgb)]
    doors = fronts(d - 0.04, w - 0.08, 0.1, h - 0.05, rgb, max(2, round(w / 0.55)), 1, rng)
    return [*solids_of("wood", *body), *solids_of("stone", block(d, w, h - 0.04, h, top)), *doors]


def kitchen_sink(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a basin of depth 0.17 m with its rim at the counter's level and a tap above."""
    rim, x, y = 0.17, 0.5 * d, 0.5 * w
    steel, wall = rng.choice((METAL, METAL, WHITE, DARK)), 0.02
    basin = [
        block(d, w, 0.0, 0.01, steel),
        slab(-x, -x + 0.07, -y, y, 0.0, rim + 0.006, steel),
        slab(x - wall, x, -y, y, 0.0, rim + 0.006, steel),
        slab(-x, x, -y, -y + wall, 0.0, rim + 0.006, steel),
        slab(-x, x, y - wall, y, 0.0, rim + 0.006, steel),
        tube(0.03, 0, 0.05, 0.01, 0.014, DARK),
    ]
    at = -x + 0.035
    basin += [tube(at, 0, 0.035, rim, h - 0.02, METAL), slab(at - 0.015, at + 0.2, -0.015, 0.015, h - 0.03, h, METAL)]
    return solids_of("metal", *basin, slab(at + 0.175, at + 0.2, -0.012, 0.012, h - 0.08, h - 0.02, METAL))


def _appliance(d: float, w: float, h: float, rgb: Rgb) -> list[Solid]:
    return solids_of("metal", slab(-0.5 * d, 0.5 * d - 0.04, -0.5 * w, 0.5 * w, 0.0, h, rgb))


def dishwasher(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    x, panel = 0.5 * d, rng.choice((DARK, METAL, rgb))
    return [
        *_appliance(d, w, h, rgb),
        *solids_of("metal", slab(x - 0.04, x - 0.02, -0.5 * w + 0.003, 0.5 * w - 0.003, 0.1, h - 0.115, rgb)),
        *solids_of("plastic", slab(x - 0.04, x - 0.018, -0.5 * w + 0.003, 0.5 * w - 0.003, h - 0.11, h - 0.003, panel)),
        *solids_of("metal", slab(x - 0.02, x, -0.35 * w, 0.35 * w, h - 0.16, h - 0.14, METAL)),
    ]


def oven(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    x, knobs = 0.5 * d, [-0.36, -0.22, 0.22, 0.36]
    window = slab(x - 0.02, x - 0.016, -0.38 * w, 0.38 * w, 0.14 * h, h - 0.27, GLASS)
    return [
        *_appliance(d, w, h, rgb),
        *solids_of("metal", slab(x - 0.04, x - 0.02, -0.49 * w, 0.49 * w, 0.02, h - 0.15, rgb)),
        *solids_of("ceramic", window),
        *solids_of("metal", slab(x - 0.02, x, -0.4 * w, 0.4 * w, h - 0.21, h - 0.19, METAL)),
        *solids_of("plastic", slab(x - 0.04, x - 0.02, -0.49 * w, 0.49 * w, h - 0.145, h - 0.005, DARK)),
        *solids_of("metal", *(block(0.03, 0.04, h - 0.1, h - 0.06, METAL, x - 0.012, k * w) for k in knobs)),
    ]


def stove(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a free-standing cooker: an oven below four rings."""
    plates = [tube(a * d, b * w, size, h - 0.02, h - 0.006, DARK) for a, b, size in _RINGS]
    return [*oven(d, w, h - 0.03, rgb, rng), *solids_of("metal", block(d, w, h - 0.03, h - 0.015, BLACK), *plates),
            *solids_of("metal", block(0.02, w, h - 0.03, h, rgb, -0.5 * d + 0.01))]  # fmt: skip


def cooktop(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    plates = [tube(a * d, b * w, size, 0.0, h, (0.22, 0.22, 0.23)) for a, b, size in _RINGS]
    return solids_of("ceramic", block(d, w, 0.0, 0.7 * h, BLACK), *plates)


def fridge(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    x, y, split = 0.5 * d, 0.5 * w, rng.choice((0.36, 0.42, 0.62)) * h
    side = rng.choice((-1, 1)) * (y - 0.06)
    doors = [
        slab(x - 0.09, x - 0.03, -y + 0.003, y - 0.003, a, b, rgb)
        for a, b in ((0.06, split - 0.004), (split + 0.004, h))
    ]
    bars = [
        block(0.03, 0.02, a, b, METAL, x - 0.015, side)
        for a, b in ((split - 0.4, split - 0.06), (split + 0.06, split + 0.4))
    ]
    return solids_of("metal", slab(-x, x - 0.1, -y, y, 0.02, h, darker(rgb, 0.92)), *doors, *bars)


def microwave(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    x = 0.5 * d
    return [
        *solids_of("metal", slab(-x, x - 0.02, -0.5 * w, 0.5 * w, 0.0, h, rgb)),
        *solids_of("ceramic", slab(x - 0.02, x - 0.005, -0.24 * w, 0.48 * w, 0.05 * h, 0.95 * h, GLASS)),
        *solids_of("plastic", slab(x - 0.02, x - 0.008, -0.49 * w, -0.25 * w, 0.03 * h, 0.97 * h, darker(rgb, 0.7))),
        *solids_of("metal", slab(x - 0.01, x, -0.24 * w, -0.2 * w, 0.15 * h, 0.85 * h, METAL)),
    ]


def toaster(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    slots = [block(0.03, 0.7 * w, h - 0.004, h, BLACK, a * d) for a in (-0.18, 0.18)]
    return [
        *solids_of("metal", block(d, w - 0.02, 0.015, h - 0.003, rgb), *slots),
        *solids_of(
            "plastic",
            block(0.9 * d, w, 0.0, 0.03, DARK),
            block(0.05, 0.02, 0.55 * h, 0.65 * h, DARK, 0.0, 0.5 * w - 0.01),
        ),
    ]


def kettle(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    body, across = 0.86 * h, 0.76 * d
    handle = slab(-0.5 * d, -0.5 * d + 0.025, -0.015, 0.015, 0.2 * h, 0.85 * h, DARK)
    return [
        *solids_of("metal", tube(0.02, 0, across, 0.02, body, rgb, 0.75)),
        *solids_of("metal", Part("ball", (0.02, 0, body), (0.6 * across, 0.6 * across, 0.1 * h), rgb)),
        *solids_of("plastic", tube(0, 0, across, 0.0, 0.02, DARK), handle),
        *solids_of("plastic", slab(-0.5 * d, 0.0, -0.015, 0.015, 0.8 * h, 0.87 * h, DARK)),
        *solids_of("metal", Part("slab", (0.36 * d, 0, 0.72 * h), (0.28 * d, 0.04, 0.1 * h), rgb)),
        *solids_of("plastic", tube(0.02, 0, 0.03, body, h, DARK)),
    ]  # fmt: skip


def range_hood(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    low = Part("slab", (0, 0, 0.16), (d, w, 0.2), rgb, 0.5)
    return solids_of("metal", block(d, w, 0.0, 0.06, rgb), low, block(0.3, 0.3, 0.25, h, rgb, -0.5 * d + 0.2))


BUILDERS: Final[dict[str, Builder]] = {
    function.__name__: function
    for function in (
        base_cabinet, counter, island, kitchen_sink, dishwasher, oven, stove, cooktop, fridge, microwave,
        toaster, kettle, range_hood,
    )
}  # fmt: skip
