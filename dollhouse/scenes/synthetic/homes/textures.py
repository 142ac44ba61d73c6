"""Procedural textures, periodic in both directions: each a pure function of its generator, as sRGB values."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dollhouse.scenes.synthetic.furniture import Rgb

Floats = NDArray[np.float32]
Texture = NDArray[np.uint8]
Generator = np.random.Generator

WOODS: Final[tuple[Rgb, ...]] = (
    (0.68, 0.50, 0.32), (0.52, 0.35, 0.21), (0.79, 0.66, 0.49), (0.56, 0.48, 0.41), (0.36, 0.24, 0.16),
    (0.60, 0.34, 0.20), (0.72, 0.58, 0.40), (0.45, 0.38, 0.33), (0.83, 0.74, 0.62), (0.55, 0.30, 0.16),
)  # fmt: skip
STONES: Final[tuple[Rgb, ...]] = (
    (0.82, 0.79, 0.74), (0.62, 0.62, 0.62), (0.72, 0.58, 0.46), (0.42, 0.43, 0.45), (0.90, 0.88, 0.85),
    (0.62, 0.42, 0.32), (0.75, 0.70, 0.62), (0.30, 0.30, 0.31),
)  # fmt: skip
CARPETS: Final[tuple[Rgb, ...]] = (
    (0.64, 0.59, 0.52), (0.42, 0.45, 0.52), (0.52, 0.42, 0.38), (0.44, 0.48, 0.42), (0.74, 0.69, 0.60),
    (0.36, 0.34, 0.34), (0.55, 0.25, 0.24), (0.80, 0.77, 0.72),
)  # fmt: skip
PAINTS: Final[tuple[Rgb, ...]] = (
    (0.93, 0.91, 0.86), (0.90, 0.91, 0.92), (0.95, 0.94, 0.92), (0.96, 0.95, 0.94), (0.88, 0.84, 0.76),
    (0.80, 0.85, 0.80), (0.92, 0.84, 0.70), (0.72, 0.80, 0.87), (0.88, 0.76, 0.72), (0.78, 0.76, 0.72),
    (0.86, 0.82, 0.60), (0.70, 0.72, 0.74), (0.45, 0.55, 0.62), (0.62, 0.66, 0.50), (0.80, 0.55, 0.38),
    (0.50, 0.48, 0.46), (0.68, 0.30, 0.26), (0.32, 0.38, 0.46), (0.93, 0.89, 0.80), (0.86, 0.80, 0.84),
)  # fmt: skip


def choose(rng: Generator, colours: tuple[Rgb, ...], spread: float = 0.05) -> Floats:
    """Choose a colour (3,) and vary its lightness and tint."""
    colour = np.asarray(colours[rng.integers(len(colours))], np.float32)
    return np.clip(colour + spread * (2 * rng.random() - 1) + 0.4 * spread * rng.standard_normal(3), 0.02, 0.98).astype(
        np.float32
    )


def noise(rng: Generator, side: int, rows: int, columns: int) -> Floats:
    """Sample smooth periodic noise (side, side) of unit variance with ``rows`` x ``columns`` cells."""
    cells = rng.standard_normal((rows, columns), dtype=np.float32)
    if rows == columns == side:
        return cells
    padded = np.pad(cells, 2, mode="wrap")
    step_y, step_x = side / rows, side / columns
    scale = (round(padded.shape[1] * step_x), round(padded.shape[0] * step_y))
    grown = np.asarray(Image.fromarray(padded).resize(scale, Image.Resampling.BICUBIC), np.float32)
    top, left = round(2 * step_y), round(2 * step_x)
    return np.float32(1.25) * grown[top : top + side, left : left + side]


def _rough(rng: Generator, side: int, cells: int, octaves: int = 4) -> Floats:
    layers = [noise(rng, side, min(side, cells << k), min(side, cells << k)) * 0.6**k for k in range(octaves)]
    return sum(layers[1:], layers[0]) / np.float32(1.4)


def _grain(rng: Generator, side: int) -> Floats:
    """Sample the grain of wood that runs along the columns."""
    wide = noise(rng, side, 12, 2) + 0.7 * noise(rng, side, 40, 3)
    fine = noise(rng, side, min(side, 160), 6)
    rings = np.sin(6.0 * (noise(rng, side, 6, 2) + 0.15 * wide) + np.linspace(0, 12 * np.pi, side)[:, None])
    return (0.5 * wide + 0.4 * fine + 0.5 * rings).astype(np.float32) / np.float32(1.1)


def _texture(colour: Floats, shade: Floats, tint: Floats | None = None) -> Texture:
    """Multiply a colour by ``1 + shade`` (h, w), and shift it towards ``tint`` (h, w, 3)."""
    rgb = colour * (1 + shade[..., None])
    if tint is not None:
        rgb = rgb + tint
    return (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8)


def planks(rng: Generator, colour: Floats, rows: int = 8, side: int = 512) -> Texture:
    """Draw ``rows`` boards with staggered ends, their grain along the columns."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    row = np.floor(y * rows).astype(int)
    boards = int(rng.integers(1, 4))
    along = (x * boards + rng.random(rows, dtype=np.float32)[row]) % boards
    board = np.floor(along).astype(int)
    number = (row * boards + board).astype(int)
    count = rows * boards
    shift = rng.integers(0, side, (count, 2))
    grain = _grain(rng, side)
    yy, xx = (y * side).astype(int), (x * side).astype(int)
    own = grain[(yy + shift[number, 0]) % side, (xx + shift[number, 1]) % side]
    shade = rng.uniform(0.03, 0.13) * rng.standard_normal(count).astype(np.float32)[number]
    shade = shade + rng.uniform(0.04, 0.13) * own
    gap = rng.uniform(0.25, 0.6)
    seam = (y * rows - row < 0.035) | ((along - board) < 0.006 * boards)
    warm = rng.standard_normal(count).astype(np.float32)[number][..., None] * np.array([0.02, 0.0, -0.02], np.float32)
    return _texture(colour, np.where(seam, -gap, shade), warm)


def tiles(
    rng: Generator, colour: Floats, rows: int = 4, columns: int = 4, bond: bool = False, side: int = 512
) -> Texture:
    """Draw tiles with grout between them; ``bond`` shifts every other row by half a tile."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    row = np.floor(y * rows).astype(int)
    along = (x * columns + (0.5 * (row % 2) if bond else 0)) % columns
    column = np.floor(along).astype(int)
    number = row * columns + column
    shade = rng.uniform(0.0, 0.06) * rng.standard_normal(rows * columns).astype(np.float32)[number]
    shade = shade + rng.uniform(0.01, 0.07) * _rough(rng, side, 6)
    if not bond and rows == columns and rows % 2 == 0 and rng.random() < 0.2:
        shade = np.where((row + column) % 2 == 1, -rng.uniform(0.3, 0.8), shade)
    width = rng.uniform(0.012, 0.04)
    grout = ((y * rows - row) * columns < width * columns) | ((along - column) * rows < width * rows)
    light = rng.uniform(0.45, 0.85) if rng.random() < 0.6 else rng.uniform(0.2, 0.4)
    texture = _texture(colour, shade)
    texture[grout] = (255 * light * np.array([1.0, 0.98, 0.94])).astype(np.uint8)
    return texture


def plaster(rng: Generator, colour: Floats, strength: float = 0.02, side: int = 256) -> Texture:
    shade = 0.5 * _rough(rng, side, 3) + 0.5 * noise(rng, side, side // 2, side // 2)
    return _texture(colour, np.float32(strength) * shade)


def carpet(rng: Generator, colour: Floats, side: int = 256) -> Texture:
    shade = 0.10 * noise(rng, side, side, side) + 0.05 * _rough(rng, side, 8)
    return _texture(colour, shade.astype(np.float32))


def fabric(rng: Generator, colour: Floats, side: int = 128) -> Texture:
    """Draw woven cloth: plain, or with stripes, checks or a printed pattern of about the same mean colour."""
    shade = 0.06 * noise(rng, side, side, side) + 0.03 * _rough(rng, side, 4)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    kind, other = rng.random(), rng.uniform(-0.35, 0.35)
    if kind < 0.12:
        shade = shade + other * np.sign(np.sin(2 * np.pi * x * rng.integers(2, 9)))
    elif kind < 0.2:
        count = rng.integers(2, 6)
        shade = shade + 0.5 * other * (np.sign(np.sin(2 * np.pi * x * count)) + np.sign(np.sin(2 * np.pi * y * count)))
    elif kind < 0.32:
        shade = shade + other * np.sign(_rough(rng, side, int(rng.integers(3, 9)), 2))
    return _texture(colour, shade.astype(np.float32))


def wood(rng: Generator, colour: Floats, side: int = 256) -> Texture:
    return _texture(colour, rng.uniform(0.04, 0.12) * _grain(rng, side))


def stone(rng: Generator, colour: Floats, side: int = 256) -> Texture:
    """Draw granite or veined marble."""
    if rng.random() < 0.5:
        return _texture(colour, 0.12 * noise(rng, side, side // 2, side // 2) + 0.08 * _rough(rng, side, 8))
    veins = np.exp(-12 * np.abs(_rough(rng, side, 3)))
    return _texture(colour, -rng.uniform(0.1, 0.4) * veins + 0.03 * _rough(rng, side, 4))


def wallpaper(rng: Generator, colour: Floats, side: int = 256) -> Texture:
    """Draw stripes or a mirrored motif."""
    x = np.arange(side, dtype=np.float32)[None] / side
    strength = rng.uniform(-0.15, 0.1)
    if rng.random() < 0.4:
        mask = np.repeat(np.sin(2 * np.pi * x * rng.integers(2, 8)) > rng.uniform(-0.6, 0.6), side, 0)
    else:
        quarter = noise(rng, side // 2, 6, 6) > 0.25
        half = np.concatenate([quarter, quarter[:, ::-1]], 1)
        mask = np.concatenate([half, np.roll(half, side // 2, 1)], 0)
    tint = np.where(mask[..., None], 0.04 * rng.standard_normal(3), 0.0).astype(np.float32)
    return _texture(colour, (strength * mask + 0.01 * noise(rng, side, side, side)).astype(np.float32), tint)


def picture(rng: Generator, side: int = 128) -> Texture:
    """Draw a framed picture's content: a landscape, an abstract composition or a bleak poster."""
    kind = rng.random()
    y = np.mgrid[0:side, 0:side][0].astype(np.float32) / side
    if kind < 0.4:
        horizon = 0.3 + 0.4 * rng.random() + 0.05 * noise(rng, side, 1, 5)[:1]
        sky, land = (
            choose(rng, ((0.6, 0.75, 0.9), (0.9, 0.75, 0.55), (0.8, 0.85, 0.88)), 0.1),
            choose(rng, CARPETS, 0.2),
        )
        land = land * np.array([0.8, 1.1, 0.7], np.float32)
        rgb = np.where((y < horizon)[..., None], sky * (1 + 0.4 * (y[..., None] - 0.3)), land)
        rgb = rgb * (1 + 0.15 * _rough(rng, side, 5)[..., None])
    elif kind < 0.8:
        palette = 0.5 * (rng.random((5, 3), dtype=np.float32) + rng.random((5, 1), dtype=np.float32))
        field = _rough(rng, side, int(rng.integers(1, 4)), 3)
        rgb = palette[np.digitize(field, [-0.8, -0.2, 0.3, 0.9])] * (1 + 0.1 * noise(rng, side, 32, 32)[..., None])
    else:
        rgb = np.full((side, side, 3), rng.uniform(0.75, 0.97), np.float32)
        for _ in range(int(rng.integers(2, 9))):
            top, left = rng.integers(0, side - 16, 2)
            rgb[top : top + rng.integers(3, 30), left : left + rng.integers(10, 80)] = rng.random(3)
    if rng.random() < 0.4:  # a mount around it
        margin = side // 7
        framed = np.full_like(rgb, 0.94)
        framed[margin:-margin, margin:-margin] = rgb[margin:-margin, margin:-margin]
        rgb = framed
    return (np.clip(rgb, 0, 1) * 255).astype(np.uint8)


def outside(rng: Generator, night: bool, side: int = 256) -> Texture:
    """Draw the view around a house as a panorama: rows are elevations from 90 to -90 degrees."""
    elevation = np.repeat(90 - 180 * np.arange(side, dtype=np.float32)[:, None] / side, side, 1)
    clear = rng.random() < 0.5
    zenith = np.array([0.30, 0.52, 0.86] if clear else [0.78, 0.82, 0.88], np.float32)
    horizon = np.array([0.82, 0.88, 0.94], np.float32)
    share = np.clip(elevation / 50, 0, 1)[..., None]
    rgb = horizon + share * (zenith - horizon) + 0.04 * _rough(rng, side, 5)[..., None]
    ground = choose(rng, ((0.38, 0.44, 0.28), (0.5, 0.5, 0.48), (0.45, 0.42, 0.34)), 0.08)
    rgb = np.where((elevation < 0)[..., None], ground * (1 + 0.25 * _rough(rng, side, 16)[..., None]), rgb)
    trees = 6 + 7 * np.abs(_rough(rng, side, 8)[:1] * rng.uniform(0.3, 2.0))
    leaves = np.array([0.24, 0.31, 0.18], np.float32) * (1 + 0.45 * _rough(rng, side, 32)[..., None])
    rgb = np.where(((elevation < trees) & (elevation > -4))[..., None], leaves, rgb)
    for _ in range(int(rng.integers(0, 5))):  # houses opposite
        left, wide, high = int(rng.integers(0, side)), int(rng.integers(12, 40)), rng.uniform(5, 25)
        columns = (np.arange(left, left + wide)) % side
        wall = choose(rng, STONES, 0.1)
        house = (elevation[:, columns] < high) & (elevation[:, columns] > -6)
        panes = (np.sin(elevation[:, columns] * 1.3) > 0.3) & (np.sin(np.arange(wide) * 1.1)[None] > 0.4)
        paint = np.where(panes[..., None], wall * 0.35, wall)
        rgb[:, columns] = np.where(house[..., None], paint, rgb[:, columns])
    if night:
        rgb = rgb * np.array([0.03, 0.04, 0.08], np.float32)
    return (np.clip(rgb, 0, 1) * 255).astype(np.uint8)


VARIANTS: Final = 10  #: of each pattern
_GREY: Final = np.full(3, 0.7, np.float32)
PATTERNS: Final[dict[str, tuple[Callable[[Generator], Texture], float]]] = {
    #: grey patterns of materials, and the metres that they cover
    "fabric": (lambda rng: fabric(rng, _GREY), 0.35),
    "wood": (lambda rng: wood(rng, _GREY), 0.8),
    "stone": (lambda rng: stone(rng, _GREY), 0.9),
    "leaf": (lambda rng: _texture(_GREY, 0.25 * _rough(rng, 128, 8)), 0.15),
    "paper": (lambda rng: plaster(rng, _GREY, 0.04, 64), 0.3),
    "metal": (lambda rng: _texture(_GREY, 0.015 * noise(rng, 128, 128, 2)), 0.4),
    "plastic": (lambda rng: plaster(rng, _GREY, 0.015, 64), 0.5),
}


@cache
def pattern(role: str, variant: int) -> Texture:
    """Draw variant 0, 1, ... of a material's pattern."""
    return PATTERNS[role][0](np.random.default_rng([list(PATTERNS).index(role), variant]))
