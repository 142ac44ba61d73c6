"""Colour names of surfaces, and the shades of each name, from ``colours.tsv``."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dollhouse.scenes.synthetic.furniture import Rgb

CLEARLY_NEARER: Final = 0.8  #: a shade's distance over that to the nearest of another name


@cache
def shades() -> dict[str, tuple[Rgb, ...]]:
    """Read the sRGB shades of each colour name."""
    read: dict[str, tuple[Rgb, ...]] = {}
    for line in files(__package__).joinpath("colours.tsv").read_text("utf-8").splitlines():
        name, red, green, blue = line.split("\t")
        read[name] = (*read.get(name, ()), (float(red), float(green), float(blue)))
    return read


def shade(name: str, seed: int) -> Rgb:
    """Choose a shade of a colour name, slightly varied."""
    rng = Random(seed)
    options = shades()[name]
    red, green, blue = options[int(rng.random() * len(options))]
    lightness = 0.94 + 0.12 * rng.random()
    return (min(1.0, red * lightness), min(1.0, green * lightness), min(1.0, blue * lightness))


@lru_cache(maxsize=32768)
def clear_name(rgb: Rgb) -> str | None:
    """Return the name of the nearest shade in CIELAB; None where one of another name is about as near."""
    names, points = _points()
    distance = np.linalg.norm(points - _lab(np.array([rgb])), axis=1)
    name = names[int(distance.argmin())]
    other = distance[[another != name for another in names]].min()
    return name if distance.min() < CLEARLY_NEARER * other else None


@cache
def _points() -> tuple[tuple[str, ...], NDArray[np.float64]]:
    pairs = [(name, rgb) for name, options in shades().items() for rgb in options]
    return tuple(name for name, _ in pairs), _lab(np.array([rgb for _, rgb in pairs]))


def _lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert sRGB (N, 3) to CIELAB (N, 3), with D65."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    scaled = xyz / [0.9505, 1.0, 1.089]
    f = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
