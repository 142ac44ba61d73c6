"""Builders of furniture with doors, drawers or tops: cabinets, wardrobes, bookshelves, fridges, tables, desks, pianos.

Sizes are (length, width, height) in metres, ``rgb`` is the main colour; the frame is that of
:mod:`dollhouse.scenes.synthetic.furniture.parts`.
"""

from __future__ import annotations

from random import Random
from typing import Final

from dollhouse.scenes.synthetic.furniture.catalogue import Rgb
from dollhouse.scenes.synthetic.furniture.parts import Part, Size, contrast, darker, edge, four_legs, lighter, slab

BOOKS: Final[tuple[Rgb, ...]] = (
    (0.62, 0.22, 0.18), (0.20, 0.34, 0.50), (0.75, 0.68, 0.50),
    (0.25, 0.42, 0.30), (0.55, 0.45, 0.35), (0.85, 0.82, 0.76),
)  # fmt: skip


def _doors(size: Size, rgb: Rgb, columns: int, rows: int, z0: float, z1: float, *, upright: bool) -> list[Part]:
    """Build door or drawer panels on the front face, each with a handle."""
    d, w, _ = size
    x, y, panel, handle = 0.5 * d, 0.5 * w, lighter(rgb, 0.12) if sum(rgb) < 0.5 else darker(rgb, 0.84), contrast(rgb)
    wide, high = w / columns, (z1 - z0) / rows
    parts = []
    for column in range(columns):
        for row in range(rows):
            y0, low = -y + column * wide, z0 + row * high
            parts.append(slab(x - 0.04, x - 0.02, y0 + 0.02, y0 + wide - 0.02, low + 0.015, low + high - 0.015, panel))
            z = low + 0.55 * high
            if upright:
                side, half = y0 + wide - 0.07 if column % 2 == 0 and columns > 1 else y0 + 0.07, 0.16 * high
                parts.append(slab(x - 0.02, x, side - 0.015, side + 0.015, z - half, z + half, handle))
            else:
                middle, half = y0 + 0.5 * wide, 0.16 * wide
                parts.append(slab(x - 0.02, x, middle - half, middle + half, z - 0.014, z + 0.014, handle))
    return parts


def cabinet(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, w, h = size
    x, y = 0.5 * d, 0.5 * w
    body = [
        slab(-x + 0.02, x - 0.06, -y + 0.02, y - 0.02, 0.0, 0.07, (0.14, 0.12, 0.11)),
        slab(-x, x - 0.04, -y, y, 0.07, h - 0.03, rgb),
        slab(-x, x, -y, y, h - 0.03, h, edge(rgb)),
    ]
    columns = max(1, round(w / 0.5))
    if rng.random() < 0.5:
        return body + _doors(size, rgb, columns, 1, 0.07, h - 0.03, upright=True)
    return body + _doors(size, rgb, 1 if w < 0.9 else 2, max(2, round(h / 0.28)), 0.07, h - 0.03, upright=False)


def wardrobe(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, w, h = size
    x, y = 0.5 * d, 0.5 * w
    body = [
        slab(-x, x - 0.05, -y, y, 0.0, 0.09, edge(rgb)),
        slab(-x, x - 0.04, -y, y, 0.09, h - 0.05, rgb),
        slab(-x, x, -y, y, h - 0.05, h, edge(rgb)),
    ]
    return body + _doors(size, rgb, 2 if w < 1.25 else 3, 1, 0.09, h - 0.05, upright=True)


def bookshelf(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, w, h = size
    x, y, board = 0.5 * d, 0.5 * w, 0.035
    parts = [
        slab(-x + 0.005, -x + 0.02, -y + 0.005, y - 0.005, 0.0, h - 0.005, darker(rgb, 0.55)),
        slab(-x, x, -y, -y + board, 0.0, h, rgb),
        slab(-x, x, y - board, y, 0.0, h, rgb),
    ]
    shelves = max(2, round(h / 0.36))
    step = (h - board) / shelves
    for k in range(shelves + 1):
        parts.append(slab(-x, x, -y, y, k * step, k * step + board, rgb))
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


def fridge(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, w, h = size
    x, y, split = 0.5 * d, 0.5 * w, (0.35 + 0.3 * rng.random()) * h
    door, handle = lighter(rgb, 0.15) if sum(rgb) < 2.2 else rgb, contrast(rgb)
    side = y - 0.09
    return [
        slab(-x, x - 0.09, -y, y, 0.03, h, rgb),
        slab(-x + 0.03, x - 0.1, -y + 0.03, y - 0.03, 0.0, 0.03, (0.1, 0.1, 0.1)),
        slab(x - 0.09, x - 0.08, -y + 0.01, y - 0.01, 0.04, h - 0.01, (0.1, 0.1, 0.1)),
        slab(x - 0.08, x - 0.035, -y, y, 0.05, split - 0.01, door),
        slab(x - 0.08, x - 0.035, -y, y, split + 0.01, h, door),
        slab(x - 0.035, x, side - 0.02, side + 0.02, 0.55 * split, split - 0.06, handle),
        slab(x - 0.035, x, side - 0.02, side + 0.02, split + 0.06, split + 0.45 * (h - split), handle),
    ]


def table(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, w, h = size
    return [*four_legs(d, w, h - 0.045, 0.06, edge(rgb)), slab(-0.5 * d, 0.5 * d, -0.5 * w, 0.5 * w, h - 0.045, h, rgb)]


def desk(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    # The front, where the user sits, is open below and has a drawer under the top.
    d, w, h = size
    x, y = 0.5 * d, 0.5 * w
    side = -1 if rng.random() < 0.5 else 1
    drawer = sorted((side * 0.06 * w, side * (y - 0.03)))
    middle = 0.5 * (drawer[0] + drawer[1])
    return [
        slab(-x, x, -y, y, h - 0.04, h, rgb),
        slab(-x, x - 0.02, -y, -y + 0.04, 0.0, h - 0.04, edge(rgb)),
        slab(-x, x - 0.02, y - 0.04, y, 0.0, h - 0.04, edge(rgb)),
        slab(-x, -x + 0.03, -y, y, 0.35 * h, h - 0.04, edge(rgb)),
        slab(-x, x - 0.03, drawer[0], drawer[1], h - 0.16, h - 0.04, lighter(rgb, 0.15)),
        slab(x - 0.03, x, middle - 0.07, middle + 0.07, h - 0.11, h - 0.085, contrast(rgb)),
    ]


def piano(size: Size, rgb: Rgb, rng: Random) -> list[Part]:
    d, w, h = size
    x, y, keys = 0.5 * d, 0.5 * w, min(0.74, 0.66 * h)
    deep = -x + 0.5 * d
    ivory = (0.96, 0.95, 0.90)
    parts = [
        slab(-x, deep, -y, y, 0.0, h - 0.03, rgb),
        slab(-x, deep + 0.03, -y, y, h - 0.03, h, edge(rgb)),
        slab(-x + 0.01, x, -y + 0.008, y - 0.008, keys - 0.12, keys - 0.03, edge(rgb)),
        slab(deep, x - 0.03, -y + 0.06, y - 0.06, keys - 0.03, keys, ivory),
        slab(deep, deep + 0.02, -y + 0.05, y - 0.05, keys + 0.08, h - 0.1, edge(edge(rgb))),
        slab(x - 0.1, x - 0.03, -y + 0.02, -y + 0.08, 0.0, keys - 0.1, edge(rgb)),
        slab(x - 0.1, x - 0.03, y - 0.08, y - 0.02, 0.0, keys - 0.1, edge(rgb)),
    ]
    step = (w - 0.12) / 9
    for k in range(9):
        at = -y + 0.06 + (k + 0.3) * step
        end = deep + 0.55 * (x - 0.03 - deep)
        parts.append(slab(deep, end, at, at + 0.4 * step, keys, keys + 0.012, (0.04, 0.04, 0.04)))
    return parts
