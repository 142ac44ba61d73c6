"""Materials of floors and walls as procedural patterns, and the lighting of a room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dollhouse.scenes.synthetic.furniture import Rgb
from dollhouse.scenes.synthetic.furniture.primitives import darker

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Material:
    """Pattern of a surface in two colours, with a period of ``step`` metres."""

    pattern: str  #: "plain", "stripes", "planks", "tiles", "carpet" or "panel"
    rgb: Rgb
    second: Rgb
    step: float = 0.2

    def colour(self, along: Floats, across: Floats) -> Floats:
        """Compute colours (N, 3) at surface positions (N,) in metres; ``across`` is the height on walls."""
        first, second = np.asarray(self.rgb, np.float32), np.asarray(self.second, np.float32)
        mix = _PATTERNS[self.pattern](along / np.float32(self.step), across / np.float32(self.step))
        return first + mix[:, None] * (second - first)


@dataclass(frozen=True)
class Lighting:
    """One lamp that casts shadows, and ambient light. Colours are factors on red, green and blue."""

    lamp: tuple[float, float, float]  #: world position, metres
    lamp_rgb: Rgb
    ambient_rgb: Rgb


def _noise(a: Floats, b: Floats) -> Floats:
    """Hash two integer-valued arrays to [0, 1)."""
    x = np.sin(a * np.float32(12.9898) + b * np.float32(78.233)) * np.float32(437.5453)
    return x - np.floor(x)


def _planks(u: Floats, v: Floats) -> Floats:
    row = np.floor(u)
    along = v * np.float32(0.13) + _noise(row, row)
    board = np.floor(along)
    seam = (u - row < 0.06) | (along - board < 0.012)
    return np.where(seam, np.float32(1.0), np.float32(0.55) * _noise(row, board))


def _tiles(u: Floats, v: Floats) -> Floats:
    row, column = np.floor(u), np.floor(v)
    grout = (u - row < 0.05) | (v - column < 0.05)
    return np.where(grout, np.float32(1.0), np.float32(0.12) * _noise(row, column))


_PATTERNS: Final[dict[str, Callable[[Floats, Floats], Floats]]] = {
    "plain": lambda u, v: np.zeros_like(u),
    "stripes": lambda u, v: (u - np.floor(u) < 0.5).astype(np.float32),
    "planks": _planks,
    "tiles": _tiles,
    "carpet": lambda u, v: _noise(np.floor(u * 8), np.floor(v * 8)) * np.float32(0.7),
    "panel": lambda u, v: (v < 4.5).astype(np.float32),
}

_WOODS: Final[tuple[Rgb, ...]] = (
    (0.66, 0.47, 0.29), (0.50, 0.33, 0.19), (0.78, 0.64, 0.46), (0.55, 0.48, 0.42), (0.36, 0.25, 0.17),
)  # fmt: skip
_STONES: Final[tuple[Rgb, ...]] = ((0.80, 0.78, 0.74), (0.62, 0.62, 0.63), (0.70, 0.56, 0.46), (0.45, 0.47, 0.50))
_CARPETS: Final[tuple[Rgb, ...]] = (
    (0.62, 0.58, 0.52), (0.42, 0.46, 0.54), (0.54, 0.42, 0.40), (0.44, 0.50, 0.42), (0.72, 0.68, 0.60),
)  # fmt: skip
_PAINTS: Final[tuple[Rgb, ...]] = (
    (0.93, 0.91, 0.86), (0.86, 0.88, 0.90), (0.80, 0.86, 0.80), (0.90, 0.82, 0.72), (0.76, 0.80, 0.88),
    (0.90, 0.80, 0.80), (0.82, 0.78, 0.86), (0.94, 0.93, 0.92), (0.74, 0.74, 0.72), (0.86, 0.84, 0.68),
)  # fmt: skip


def _sample_rgb(rng: Random, choices: tuple[Rgb, ...]) -> Rgb:
    r, g, b = choices[int(rng.random() * len(choices))]
    shift = 0.04 * (2 * rng.random() - 1)
    return (r + shift, g + shift, b + shift)


def sample_floor(rng: Random) -> Material:
    """Sample a floor of planks, tiles or carpet."""
    kind = rng.random()
    if kind < 0.5:
        rgb = _sample_rgb(rng, _WOODS)
        return Material("planks", rgb, darker(rgb, 0.62), 0.12 + 0.1 * rng.random())
    if kind < 0.8:
        rgb = _sample_rgb(rng, _STONES)
        return Material("tiles", rgb, darker(rgb, 0.68), 0.25 + 0.35 * rng.random())
    rgb = _sample_rgb(rng, _CARPETS)
    return Material("carpet", rgb, darker(rgb, 0.78), 0.4)


def sample_walls(rng: Random) -> Material:
    """Sample painted walls, some striped, some with a darker panel below."""
    rgb, kind = _sample_rgb(rng, _PAINTS), rng.random()
    if kind < 0.6:
        return Material("plain", rgb, rgb)
    if kind < 0.8:
        return Material("stripes", rgb, darker(rgb, 0.88), 0.3 + 0.4 * rng.random())
    return Material("panel", rgb, darker(rgb, 0.78), 0.2 + 0.05 * rng.random())


def sample_lighting(rng: Random, low: tuple[float, float], high: tuple[float, float], height: float) -> Lighting:
    """Sample a ceiling lamp near the middle of the floor from ``low`` to ``high`` (x, y), and ambient light."""
    share = [0.3 + 0.4 * rng.random() for _ in range(2)]
    lamp = (low[0] + share[0] * (high[0] - low[0]), low[1] + share[1] * (high[1] - low[1]), height - 0.12)
    warmth, power = 0.08 * (2 * rng.random() - 1), 0.54 + 0.18 * rng.random()
    ambient = 0.50 + 0.12 * rng.random()
    return Lighting(
        lamp,
        (power * (1 + warmth), power, power * (1 - warmth)),
        (ambient * (1 - 0.4 * warmth), ambient, ambient * (1 + 0.4 * warmth)),
    )
