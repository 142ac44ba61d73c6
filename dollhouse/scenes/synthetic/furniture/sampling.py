"""Random sampling from the catalogue: sizes within their ranges, and categories by weight."""

from __future__ import annotations

from random import Random

from dollhouse.scenes.synthetic.furniture.catalogue import KINDS, Range
from dollhouse.scenes.synthetic.furniture.parts import Size


def sample_weighted(rng: Random, weights: dict[str, float]) -> str:
    """Sample one of the names with probability proportional to its weight."""
    at, name = rng.random() * sum(weights.values()), ""
    for name, weight in weights.items():  # noqa: B007 the last name where rounding leaves a remainder
        at -= weight
        if at <= 0:
            break
    return name


def sample_size(rng: Random, label: str, space: Size = (9.0, 9.0, 9.0)) -> Size | None:
    """Sample a size of the category within ``space`` (length, width, height; metres); None where nothing fits.

    An item may be turned by 90 degrees, so a rectangular one is bounded by the longer side of the space only.
    """
    kind = KINDS[label]
    most = min(space[0], space[1]) if kind.round else max(space[0], space[1])
    length, width, height = _cut(kind.length, most), _cut(kind.width, most), _cut(kind.height, space[2])
    if label == "ball":
        height = length = _cut(length, height[1])
    if any(low > high for low, high in (length, width, height)):
        return None
    tall = _between(rng, height)
    if label == "ball":
        return (tall, tall, tall)
    if kind.round:  # not too wide for its height: a flat plant or vase would look like a plate
        across = _between(rng, (length[0], max(length[0], min(length[1], 0.2 + 0.6 * tall))))
        return (across, across, tall)
    return (_between(rng, length), _between(rng, width), tall)


def _cut(span: Range, limit: float) -> Range:
    return (span[0], min(span[1], limit))


def _between(rng: Random, span: Range) -> float:
    return span[0] + (span[1] - span[0]) * rng.random()
