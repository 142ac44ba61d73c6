"""Procedural kinds of objects: those without 3D models, and more variety where models are few.

A builder gets length, width, height (metres), main colour and a random source, and returns solids in the object's own
frame: x to the front, y left, z up, the origin in the middle of the underside.
"""

from __future__ import annotations

from random import Random
from typing import Final

from dollhouse.scenes.synthetic.furniture import Part, Rgb, builders
from dollhouse.scenes.synthetic.furniture.builders import METAL
from dollhouse.scenes.synthetic.furniture.primitives import darker, four_legs, lighter, slab, tube
from dollhouse.scenes.synthetic.homes import kitchen_kinds, small_kinds
from dollhouse.scenes.synthetic.homes.solids import BLACK, DARK, WHITE, Builder, Solid, block, fronts, solids_of


def cabinet(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a closed cabinet with doors or drawers, on a plinth, legs or the wall."""
    columns, z0 = max(1, round(w / 0.48)), rng.choice((0.0, 0.05, 0.12)) if h > 0.5 else 0.0
    rows = rng.choice((1, 1, 2)) if h < 1.2 else rng.choice((1, 2))
    body = [slab(-0.5 * d, 0.5 * d - 0.038, -0.5 * w, 0.5 * w, z0, h - 0.02, darker(rgb, 0.9))]
    body.append(block(d, w, h - 0.02, h, rgb))
    body += four_legs(d - 0.05, w, z0, 0.04, darker(rgb, 0.6)) if z0 > 0.1 else []
    body += [block(d - 0.1, w - 0.04, 0.0, z0, DARK)] if 0 < z0 < 0.1 else []
    return [*solids_of("wood", *body), *fronts(d, w, z0 + 0.01, h - 0.025, rgb, columns, rows, rng)]


def drawers(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a chest of drawers."""
    z0 = rng.choice((0.0, 0.06, 0.14)) if h > 0.4 else 0.0
    columns, rows = (2 if w > 1.0 else 1), max(1, round((h - z0) / 0.22))
    body = [slab(-0.5 * d, 0.5 * d - 0.038, -0.5 * w, 0.5 * w, z0, h - 0.025, darker(rgb, 0.9))]
    body += [block(d, w, h - 0.025, h, rgb), *four_legs(d - 0.04, w, z0, 0.04, darker(rgb, 0.6))]
    return [*solids_of("wood", *body), *fronts(d, w, z0 + 0.01, h - 0.03, rgb, columns, rows, rng)]


def mirror(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    rim, x = rng.choice((0.012, 0.03, 0.05)), 0.5 * d
    return [
        *solids_of("wood", slab(-x, x - 0.004, -0.5 * w, 0.5 * w, 0.0, h, rgb)),
        *solids_of("mirror", slab(x - 0.004, x, -0.5 * w + rim, 0.5 * w - rim, rim, h - rim, (0.75, 0.78, 0.8))),
    ]


def rug(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    border = lighter(rgb, 0.3) if sum(rgb) < 1.5 else darker(rgb, 0.7)
    if rng.random() < 0.5:
        return solids_of("fabric", block(d, w, 0.0, h, rgb))
    edge = rng.choice((0.08, 0.14))
    return solids_of("fabric", block(d, w, 0.0, 0.8 * h, border), block(d - 2 * edge, w - 2 * edge, 0.8 * h, h, rgb))


def round_rug(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    return solids_of("fabric", tube(0, 0, d, 0.0, h, rgb))


def curtain(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    return solids_of("fabric", Part("sheet", (0, 0, 0.5 * h), (d, w, h), rgb))


def roller_blind(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    return solids_of("fabric", block(0.01, w, 0.0, h - 0.03, rgb), block(d, w, h - 0.05, h, lighter(rgb, 0.2)))


def plank(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a wall shelf: a board."""
    return solids_of("wood", block(d, w, 0.0, h, rgb))


def radiator(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    ribs = max(4, round(w / 0.06))
    step = w / ribs
    parts = [block(d, 0.7 * step, 0.02, h - 0.02, rgb, 0.0, -0.5 * w + (k + 0.5) * step) for k in range(ribs)]
    return solids_of("metal", *parts, block(0.5 * d, w, 0.0, 0.05, rgb), block(0.5 * d, w, h - 0.05, h, rgb))


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
    return [
        *solids_of("ceramic", block(d, w, 0.0, 0.1, WHITE)),
        *solids_of("metal", *frame),
        *solids_of("glass", *glass),
    ]


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
        *solids_of("plastic", *frame, *reveal),
        *solids_of("pane", slab(back, back + 0.01, -y + rim, y - rim, rim, h - rim, (0.85, 0.92, 1.0))),
    ]


def door(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a closed door leaf in its casing."""
    x, y, rim = 0.5 * d, 0.5 * w, 0.06
    casing = [slab(-x, x, a, a + rim, 0.0, h, WHITE if rng.random() < 0.6 else rgb) for a in (-y, y - rim)]
    casing += [slab(-x, x, -y, y, h - rim, h, casing[0].rgb), slab(-x, x, -y, y, 0.0, 0.004, METAL)]
    leaf = slab(-x, 0.25 * d, -y + rim, y - rim, 0.0, h - rim, rgb)
    style, inner, parts = rng.random(), w - 2 * rim - 0.24, []
    panels = ((0.2, 0.9), (1.05, h - 0.22)) if style < 0.5 else ((0.25, h - 0.25),) if style < 0.65 else ()
    parts = [block(0.012, inner, a, b, darker(rgb, 0.88), 0.25 * d) for a, b in panels]
    side = rng.choice((-1, 1)) * (y - rim - 0.06)
    handle = [
        block(0.05, 0.02, 1.02, 1.05, METAL, 0.25 * d + 0.02, side),
        block(0.015, 0.12, 1.02, 1.04, METAL, 0.25 * d + 0.045, 0.88 * side),
    ]
    return [*solids_of("wood", *casing, leaf, *parts), *solids_of("metal", *handle)]


def floor_lamp(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    shade = h - 0.3
    poles = [tube(0, 0, 0.7 * d, 0.0, 0.025, DARK), tube(0, 0, 0.03, 0.02, shade + 0.1, rng.choice((METAL, DARK)))]
    return [*solids_of("metal", *poles), *solids_of("lamp", tube(0, 0, d, shade, h, rgb, 0.5 + 0.45 * rng.random()))]


def pendant(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    shade = min(0.6 * h, 0.8 * d)
    body = tube(0, 0, d, 0.0, shade, rgb, 0.35 + 0.6 * rng.random())
    if rng.random() < 0.4:
        body = Part("ball", (0, 0, 0.5 * d), (d, d, min(d, h)), rgb)
    return [
        *solids_of("lamp", body),
        *solids_of("metal", tube(0, 0, 0.01, shade, h, DARK), tube(0, 0, 0.1, h - 0.03, h, DARK)),
    ]


def ceiling_lamp(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    return [
        *solids_of("lamp", tube(0, 0, 0.9 * d, 0.0, h - 0.01, WHITE, 1.1)),
        *solids_of("metal", tube(0, 0, d, h - 0.015, h, METAL)),
    ]


def ceiling_fan(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    blades = [block(d, 0.12, 0.1, 0.115, rgb), block(0.12, d, 0.1, 0.115, rgb)]
    return [
        *solids_of("wood", *blades),
        *solids_of("metal", tube(0, 0, 0.2, 0.06, 0.2, METAL), tube(0, 0, 0.03, 0.2, h, METAL)),
        *solids_of("lamp", tube(0, 0, 0.16, 0.0, 0.06, WHITE)),
    ]


def bookshelf(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build an open case; ``boards`` gives the heights of its boards."""
    y, board = 0.5 * w, 0.03
    sides = [slab(-0.5 * d, 0.5 * d, a, a + board, 0.0, h, rgb) for a in (-y, y - board)]
    planks = [
        block(d - 0.004, w - 2 * board, z, z + board, rgb)
        for z in [0.04, *(b - board for b in boards(h)[1:]), h - board]
    ]
    return solids_of("wood", *sides, *planks, slab(-0.5 * d, -0.5 * d + 0.01, -y, y, 0.0, h, darker(rgb, 0.85)))


def boards(height: float) -> list[float]:
    """Return the heights of the upper faces of a bookshelf's inner boards."""
    count = max(2, round((height - 0.07) / 0.34))
    step = (height - 0.1) / count
    return [0.07 + k * step for k in range(count)]


def table(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    legs = rng.choice((rgb, rgb, BLACK, WHITE))
    thick = rng.choice((0.04, 0.06, 0.08))
    top, inset = rng.choice((0.025, 0.04)), rng.choice((0.0, 0.03, 0.08))
    return solids_of(
        "wood", block(d, w, h - top, h, rgb), *four_legs(d - 2 * inset, w - 2 * inset, h - top, thick, legs)
    )


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
    end = block(d - 0.02, 0.03, 0.0, h - 0.03, rgb, -0.01, -side * (0.5 * w - 0.015))
    return solids_of("wood", block(d, w, h - 0.03, h, rgb), case, end, *fronts)


def _borrowed(name: str, role: str) -> Builder:
    build = getattr(builders, name)
    return lambda d, w, h, rgb, rng: solids_of(role, *build(d, w, h, rgb, rng))


#: Kind -> its builder.
BUILDERS: Final[dict[str, Builder]] = {
    **kitchen_kinds.BUILDERS,
    **small_kinds.BUILDERS,
    "wardrobe": _borrowed("wardrobe", "wood"),
    "box": _borrowed("box", "paper"),
    "bin": _borrowed("bin", "plastic"),
    "ball": _borrowed("ball", "plastic"),
    "vase": _borrowed("vase", "ceramic"),
} | {
    function.__name__: function
    for function in (
        cabinet, drawers, mirror, rug, round_rug, curtain, roller_blind, plank, radiator, shower, window, door,
        floor_lamp, pendant, ceiling_lamp, ceiling_fan, bookshelf, table, desk,
    )
}  # fmt: skip
