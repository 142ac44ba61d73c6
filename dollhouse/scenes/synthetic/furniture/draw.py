"""Draws at random from the catalogue: sizes that are real and fit, and categories by their weights.

Knows nothing of where a thing will stand, beyond the space it is given.
"""

from __future__ import annotations

from random import Random

from dollhouse.scenes.synthetic.furniture.catalogue import KINDS, Range
from dollhouse.scenes.synthetic.furniture.parts import Size


def draw_weighted(rng: Random, weights: dict[str, float]) -> str:
    """One of the names, each as likely as its weight."""
    at, name = rng.random() * sum(weights.values()), ""
    for name, weight in weights.items():  # noqa: B007 the last one stands where rounding leaves a rest
        at -= weight
        if at <= 0:
            break
    return name


def draw_size(rng: Random, label: str, space: Size = (9.0, 9.0, 9.0)) -> Size | None:
    """A size of the category within ``space`` (length, width, height; metres), or None where nothing fits.

    A thing may be turned by a quarter, so only the longer side of the space bounds the sides of one that is not round.
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
    if kind.round:
        slim = max(length[0], min(length[1], 0.2 + 0.6 * tall))  # a flat wide plant or vase would look like a plate
        across = _between(rng, (length[0], slim))
        return (across, across, tall)
    return (_between(rng, length), _between(rng, width), tall)


def _cut(span: Range, limit: float) -> Range:
    return (span[0], min(span[1], limit))


def _between(rng: Random, span: Range) -> float:
    return span[0] + (span[1] - span[0]) * rng.random()
