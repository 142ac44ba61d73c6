"""Procedural small objects and devices; builders as in :mod:`~dollhouse.scenes.synthetic.homes.procedural`."""

from __future__ import annotations

from random import Random
from typing import Final

from dollhouse.scenes.synthetic.furniture import Part, Rgb
from dollhouse.scenes.synthetic.furniture.builders import BOOKS, METAL, SCREEN
from dollhouse.scenes.synthetic.furniture.primitives import darker, lighter, slab, tube
from dollhouse.scenes.synthetic.homes.solids import BLACK, DARK, WHITE, Builder, Solid, block, solids_of


def monitor(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    y, low = 0.5 * w, min(0.13, 0.3 * h)
    x = 0.02
    return [
        *solids_of("plastic", block(d, 0.38 * w, 0.0, 0.012, rgb), block(0.03, 0.06, 0.012, h - 0.15, rgb, x - 0.04)),
        *solids_of("plastic", slab(x - 0.03, x + 0.01, -y, y, low, h, rgb)),
        *solids_of("screen", slab(x + 0.01, x + 0.013, -y + 0.012, y - 0.012, low + 0.02, h - 0.012, SCREEN)),
    ]


def television(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    y, low = 0.5 * w, 0.06
    feet = [block(d, 0.03, 0.0, low, rgb, 0.0, a * w) for a in (-0.32, 0.32)]
    panel = slab(-0.03, 0.02, -y, y, low, h, rgb)
    return [
        *solids_of("plastic", *feet, panel),
        *solids_of("screen", slab(0.02, 0.024, -y + 0.012, y - 0.012, low + 0.02, h - 0.012, SCREEN)),
    ]


def wall_television(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    x = 0.5 * d
    return [
        *solids_of("plastic", slab(-x, x - 0.004, -0.5 * w, 0.5 * w, 0.0, h, rgb)),
        *solids_of("screen", slab(x - 0.004, x, -0.5 * w + 0.012, 0.5 * w - 0.012, 0.015, h - 0.012, SCREEN)),
    ]


def keyboard(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    key, keys = lighter(rgb, 0.25) if sum(rgb) < 1.5 else darker(rgb, 0.75), []
    for row in range(5):
        keys.append(block(0.13 * d, 0.66 * w, 0.7 * h, h, key, (row - 2) * 0.18 * d, 0.14 * w))
        keys.append(block(0.13 * d, 0.22 * w, 0.7 * h, h, key, (row - 2) * 0.18 * d, -0.36 * w))
    return solids_of("plastic", block(d, w, 0.0, 0.7 * h, rgb), *keys)


def computer(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    x = 0.5 * d
    return solids_of(
        "plastic",
        slab(-x, x - 0.01, -0.5 * w, 0.5 * w, 0.0, h, rgb),
        slab(x - 0.01, x, -0.46 * w, 0.46 * w, 0.01, 0.99 * h, lighter(rgb, 0.12)),
        slab(x - 0.003, x, -0.3 * w, 0.3 * w, 0.8 * h, 0.88 * h, METAL),
    )


def printer(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    return [
        *solids_of("plastic", block(0.85 * d, w, 0.0, 0.6 * h, rgb, -0.07 * d)),
        *solids_of("plastic", block(0.8 * d, 0.96 * w, 0.6 * h, h, darker(rgb, 0.8), -0.1 * d)),
        *solids_of("paper", block(0.35 * d, 0.5 * w, 0.2 * h, 0.23 * h, WHITE, 0.32 * d)),
        *solids_of("plastic", block(0.02, 0.6 * w, 0.25 * h, 0.45 * h, BLACK, 0.35 * d)),
    ]  # fmt: skip


def speaker(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    x = 0.5 * d
    cones = [block(0.01, s, z - 0.5 * s, z + 0.5 * s, DARK if sum(rgb) > 0.8 else (0.3, 0.3, 0.3), x - 0.005)
             for s, z in ((0.6 * w, 0.32 * h), (0.35 * w, 0.72 * h))]  # fmt: skip
    return [*solids_of("wood", slab(-x, x - 0.01, -0.5 * w, 0.5 * w, 0.0, h, rgb)), *solids_of("plastic", *cones)]


def picture(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    rim, x = rng.choice((0.0, 0.015, 0.03, 0.05)), 0.5 * d
    inner = slab(x - 0.004, x, -0.5 * w + rim, 0.5 * w - rim, rim, h - rim, rgb)
    frame = rng.choice((BLACK, WHITE, (0.4, 0.26, 0.14), (0.65, 0.5, 0.25)))
    return [*solids_of("wood", slab(-x, x - 0.004, -0.5 * w, 0.5 * w, 0.0, h, frame)), *solids_of("picture", inner)]


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
    return solids_of("plastic", *rim, *hands)


def towel(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a towel over a rail, back against the wall."""
    rail = tube(0, 0, 0.02, 0.0, 0.0, METAL)._replace(shape="slab", centre=(0, 0, h - 0.012), size=(0.02, w, 0.02))
    across = 0.8 * w
    sheet = [block(0.012, across, 0.0, h - 0.002, rgb, 0.014), block(0.012, across, 0.25 * h, h - 0.002, rgb, -0.014)]
    ends = [block(d, 0.02, h - 0.03, h, METAL, 0, side * w) for side in (-0.49, 0.49)]
    return [*solids_of("metal", rail, *ends),
            *solids_of("fabric", *sheet, block(0.04, across, h - 0.004, h, rgb))]  # fmt: skip


def folded_towels(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    count = max(1, round(h / 0.06))
    step = h / count
    shades = [rgb if k % 2 == 0 else lighter(rgb, 0.25) for k in range(count)]
    return solids_of(
        "fabric", *(Part("pillow", (0, 0, (k + 0.5) * step), (d, w, 1.1 * step), shades[k]) for k in range(count))
    )


def pillow(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    return solids_of("fabric", _pillow(d, w, h, rgb))


def books(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    """Build a row of standing books along y, spines to the front."""
    solids, at = [], -0.5 * w
    while at < 0.5 * w - 0.012:
        thick = min(0.018 + 0.03 * rng.random(), 0.5 * w - at)
        tall, deep = h * (0.75 + 0.25 * rng.random()), d * (0.75 + 0.25 * rng.random())
        cover = rgb if rng.random() < 0.45 else rng.choice(BOOKS)
        solids += solids_of("paper", slab(-0.5 * d, -0.5 * d + deep, at, at + thick - 0.001, 0.0, tall, cover))
        at += thick
    return solids


def book_stack(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    count = max(1, round(h / 0.03))
    step, solids = h / count, []
    for k in range(count):
        a, b = d * (0.8 + 0.2 * rng.random()), w * (0.8 + 0.2 * rng.random())
        cover = rgb if k == count - 1 else rng.choice(BOOKS)
        solids += solids_of("paper", block(a, b, k * step, (k + 1) * step - 0.001, cover))
        solids += solids_of("paper", block(a - 0.01, b - 0.002, k * step + 0.004, (k + 1) * step - 0.005, WHITE, 0.006))
    return solids


def cup(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    body = tube(0, 0, 0.8 * d, 0.0, h - 0.001, rgb, 1.1)
    inside = tube(0, 0, 0.78 * d, h - 0.002, h, (0.25, 0.15, 0.08) if rng.random() < 0.5 else darker(rgb, 0.6))
    handle = block(0.25 * d, 0.015, 0.25 * h, 0.8 * h, rgb, -0.4 * d)
    return solids_of("ceramic", body, inside, handle)


def bottle(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    shoulder = (0.5 + 0.2 * rng.random()) * h
    label = tube(
        0, 0, 1.01 * d, 0.3 * shoulder, 0.75 * shoulder, rng.choice((WHITE, (0.8, 0.75, 0.5), (0.7, 0.2, 0.15)))
    )
    body = [tube(0, 0, d, 0.0, shoulder, rgb), tube(0, 0, d, shoulder, 0.5 * (shoulder + h), rgb, 0.4)]
    neck = tube(0, 0, 0.4 * d, 0.5 * (shoulder + h), h - 0.02, rgb, 0.9)
    return [
        *solids_of(
            "plastic", *body, neck, tube(0, 0, 0.42 * d, h - 0.025, h, rng.choice((WHITE, DARK, (0.7, 0.1, 0.1))))
        ),
        *solids_of("paper", label),
    ]


def bowl(d: float, w: float, h: float, rgb: Rgb, rng: Random) -> list[Solid]:
    return solids_of(
        "ceramic",
        tube(0, 0, 0.45 * d, 0.0, h - 0.001, rgb, 1 / 0.45),
        tube(0, 0, 0.92 * d, h - 0.003, h, darker(rgb, 0.7)),
    )


def _pillow(d: float, w: float, h: float, rgb: Rgb) -> Part:
    return Part("pillow", (0, 0, 0.5 * h), (d, w, h), rgb)


BUILDERS: Final[dict[str, Builder]] = {
    function.__name__: function
    for function in (
        monitor, television, wall_television, keyboard, computer, printer, speaker, picture, clock, towel,
        folded_towels, pillow, books, book_stack, cup, bottle, bowl,
    )
}  # fmt: skip
