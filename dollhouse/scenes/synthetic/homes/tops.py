"""Heights at which items may stand on others: from the grids of models, or the known tops of procedural kinds."""

from __future__ import annotations

from math import cos, sin

import numpy as np

from dollhouse.scenes.synthetic.homes.layout import Item
from dollhouse.scenes.synthetic.homes.models import CELLS, load_model

_LEVEL = 0.015  #: metres that the top may vary below an item
_FLAT_TOPS = {
    "table", "desk", "cabinet", "drawers", "counter", "island", "bookshelf", "plank", "fridge", "wardrobe", "microwave",
    "box", "radiator", "oven",
}  # fmt: skip


def standing_height(below: Item, x: float, y: float, size: tuple[float, float, float], turn: float) -> float | None:
    """Return the height at (x, y) in the frame of ``below`` for an item of this size; None where it is not level."""
    c, s = abs(cos(turn)), abs(sin(turn))
    half_x, half_y = 0.5 * (size[0] * c + size[1] * s), 0.5 * (size[0] * s + size[1] * c)
    length, width, _ = below.size
    if abs(x) + 0.8 * half_x > 0.5 * length or abs(y) + 0.8 * half_y > 0.5 * width:
        return None
    if "#" not in below.model:
        return below.top if below.model in _FLAT_TOPS else None
    heights = _patch(below, x, y, 0.85 * half_x, 0.85 * half_y)
    return below.bottom + float(np.median(heights)) if np.ptp(heights) < _LEVEL and heights.min() > 0.2 else None


def seat_height(sofa: Item, x: float, y: float) -> float | None:
    """Return the height of the seat of a sofa at (x, y) in its frame; None where there is none."""
    if "#" not in sofa.model:
        return None
    heights = _patch(sofa, x, y, 0.08, 0.15)
    seat = float(heights.max())
    return sofa.bottom + seat - 0.02 if 0.28 < seat < 0.6 and np.ptp(heights) < 0.1 else None


def _patch(item: Item, x: float, y: float, half_x: float, half_y: float) -> np.ndarray:
    """Return the heights of a model around (x, y) in its frame."""
    model = load_model(item.model)
    spans = []
    for at, half, side in ((x, half_x, item.size[0]), (y, half_y, item.size[1])):
        low = int(np.clip(np.floor(((at - half) / side + 0.5) * CELLS), 0, CELLS - 1))
        high = int(np.clip(np.ceil(((at + half) / side + 0.5) * CELLS), low + 1, CELLS))
        spans.append(slice(low, high))
    return model.heights[spans[0], spans[1]] * (item.size[2] / model.size[2])
