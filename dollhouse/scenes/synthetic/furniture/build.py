"""Dispatch from a category to its builder, the function of that name in one of the builder modules."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from dollhouse.scenes.synthetic.furniture import accessories, case_goods, seating
from dollhouse.scenes.synthetic.furniture.catalogue import KINDS, Rgb
from dollhouse.scenes.synthetic.furniture.parts import Part, Size

Builder = Callable[[Size, Rgb, Random], list[Part]]

_MODULES: Final = (accessories, case_goods, seating)
_BUILDERS: Final[dict[str, Builder]] = {
    label: next(getattr(module, label) for module in _MODULES if hasattr(module, label)) for label in KINDS
}


def build_parts(label: str, size: Size, rgb: Rgb, variant: int) -> list[Part]:
    """Build the parts of one piece of furniture.

    ``size`` is (length, width, height) in metres, ``rgb`` the main colour; ``variant`` seeds details such as doors or
    drawers, books and leaves. KeyError on an unknown ``label``.
    """
    return _BUILDERS[label](size, rgb, Random(variant))
