"""Finds the builder of each category.

Knows no category's shape; those are in the modules beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from dollhouse.scenes.synthetic.furniture import belongings, cupboards, seats
from dollhouse.scenes.synthetic.furniture.catalogue import KINDS, Rgb
from dollhouse.scenes.synthetic.furniture.parts import Part, Size

Builder = Callable[[Size, Rgb, Random], list[Part]]

_MODULES: Final = (belongings, cupboards, seats)
_BUILDERS: Final[dict[str, Builder]] = {
    label: next(getattr(module, label) for module in _MODULES if hasattr(module, label)) for label in KINDS
}


def build_parts(label: str, size: Size, rgb: Rgb, variant: int) -> list[Part]:
    """The parts of one piece of furniture of ``size`` (length, width, height; metres) in its main colour ``rgb``.

    ``variant`` chooses between details (doors or drawers, books, leaves). KeyError on an unknown ``label``.
    """
    return _BUILDERS[label](size, rgb, Random(variant))
