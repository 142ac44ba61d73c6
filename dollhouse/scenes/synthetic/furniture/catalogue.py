"""Catalogue of procedural furniture: categories, size ranges, colours, placement, and sampling from them.

Size ranges overlap on purpose, and colours are sampled independently of the category, so that neither can be guessed
from a name.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

Range = tuple[float, float]
Rgb = tuple[float, float, float]
Size = tuple[float, float, float]  #: length, width, height in metres


@dataclass(frozen=True)
class Kind:
    """One category: ranges of length (back to front), width and height in metres, and how it is placed."""

    length: Range
    width: Range
    height: Range
    has_front: bool = False
    round: bool = False  #: circular plan: the width equals the length
    against_wall: float = 0.0  #: sampling weight along a wall
    free: float = 0.0  #: sampling weight on the open floor
    portable: float = 0.0  #: sampling weight as a small item: on the floor, on, under or beside another
    top: bool = False  #: other items may stand on it


KINDS: Final[dict[str, Kind]] = {
    "armchair": Kind((0.70, 0.95), (0.70, 1.00), (0.70, 1.10), has_front=True, against_wall=0.8, free=1.2),
    "ball": Kind((0.28, 0.65), (0.28, 0.65), (0.28, 0.65), round=True, portable=1.0),
    "bed": Kind((1.70, 2.10), (0.80, 1.70), (0.40, 0.65), has_front=True, against_wall=1.5, top=True),
    "bench": Kind((0.30, 0.50), (0.80, 1.50), (0.38, 0.52), against_wall=0.6, free=0.4, top=True),
    "bin": Kind((0.25, 0.50), (0.25, 0.50), (0.30, 0.80), round=True, portable=1.0),
    "bookshelf": Kind((0.25, 0.42), (0.50, 1.30), (0.70, 2.10), has_front=True, against_wall=1.0, top=True),
    "box": Kind((0.25, 0.80), (0.25, 0.80), (0.20, 0.75), portable=1.2),
    "cabinet": Kind((0.32, 0.60), (0.40, 1.50), (0.40, 1.35), has_front=True, against_wall=1.6, top=True),
    "chair": Kind((0.42, 0.60), (0.42, 0.60), (0.75, 1.10), has_front=True, against_wall=0.5, free=1.0),
    "desk": Kind((0.50, 0.80), (0.90, 1.60), (0.66, 0.85), has_front=True, against_wall=1.4, top=True),
    "fridge": Kind((0.50, 0.72), (0.50, 0.85), (0.80, 1.90), has_front=True, against_wall=0.8, top=True),
    "lamp": Kind((0.22, 0.55), (0.22, 0.55), (0.35, 1.80), round=True, portable=1.2),
    "piano": Kind((0.50, 0.70), (1.10, 1.55), (0.90, 1.30), has_front=True, against_wall=0.6, top=True),
    "pillow": Kind((0.32, 0.55), (0.40, 0.75), (0.13, 0.30), portable=0.8),
    "plant": Kind((0.25, 0.85), (0.25, 0.85), (0.30, 1.80), round=True, portable=1.2),
    "sofa": Kind((0.75, 1.00), (1.20, 2.20), (0.65, 1.00), has_front=True, against_wall=1.2, free=0.4),
    "stool": Kind((0.30, 0.48), (0.30, 0.48), (0.40, 0.80), round=True, free=0.6, portable=0.4),
    "table": Kind((0.60, 1.10), (0.60, 1.80), (0.42, 0.82), against_wall=0.5, free=3.0, top=True),
    "television": Kind((0.15, 0.30), (0.55, 1.30), (0.40, 0.90), has_front=True, portable=1.0),
    "vase": Kind((0.22, 0.45), (0.22, 0.45), (0.32, 1.00), round=True, portable=1.0),
    "wardrobe": Kind((0.45, 0.68), (0.65, 1.60), (1.30, 2.10), has_front=True, against_wall=1.2),
}

CATEGORIES: Final[tuple[str, ...]] = tuple(KINDS)

COLOURS: Final[dict[str, Rgb]] = {
    "red": (0.80, 0.10, 0.10), "orange": (0.96, 0.50, 0.06), "yellow": (0.95, 0.84, 0.14),
    "green": (0.14, 0.56, 0.20), "blue": (0.12, 0.28, 0.80), "purple": (0.50, 0.16, 0.64),
    "pink": (0.97, 0.56, 0.72), "brown": (0.40, 0.23, 0.11), "black": (0.07, 0.07, 0.08),
    "white": (0.94, 0.94, 0.93), "grey": (0.40, 0.40, 0.42),
}  # fmt: skip


def sample_weighted(rng: Random, weights: dict[str, float]) -> str:
    """Sample one of the names with probability proportional to its weight."""
    at, name = rng.random() * sum(weights.values()), ""
    for name, weight in weights.items():  # noqa: B007 the last name where rounding leaves a remainder
        at -= weight
        if at <= 0:
            break
    return name


def _between(rng: Random, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def sample_size(rng: Random, label: str, space: Size = (9.0, 9.0, 9.0)) -> Size | None:
    """Sample a size of the category within ``space`` (length, width, height; metres); None where nothing fits.

    An item may be turned by 90 degrees, so a rectangular one is bounded by the longer side of the space only.
    """
    kind = KINDS[label]
    most = min(space[0], space[1]) if kind.round else max(space[0], space[1])
    spans = zip((kind.length, kind.width, kind.height), (most, most, space[2]), strict=True)
    length, width, height = ((low, min(high, limit)) for (low, high), limit in spans)
    if label == "ball":
        height = length = (length[0], min(length[1], height[1]))
    if any(low > high for low, high in (length, width, height)):
        return None
    tall = _between(rng, *height)
    if label == "ball":
        return (tall, tall, tall)
    if kind.round:  # not too wide for its height: a flat plant or vase would look like a plate
        across = _between(rng, length[0], max(length[0], min(length[1], 0.2 + 0.6 * tall)))
        return (across, across, tall)
    return (_between(rng, *length), _between(rng, *width), tall)
