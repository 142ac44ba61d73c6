"""Procedural furniture: what there is (catalogue) and how each piece is built from simple parts."""

from dollhouse.scenes.synthetic.furniture.build import build_parts
from dollhouse.scenes.synthetic.furniture.catalogue import CATEGORIES, COLOURS, KINDS, Kind, Rgb
from dollhouse.scenes.synthetic.furniture.draw import draw_size, draw_weighted
from dollhouse.scenes.synthetic.furniture.parts import Part

__all__ = [
    "CATEGORIES",
    "COLOURS",
    "KINDS",
    "Kind",
    "Part",
    "Rgb",
    "build_parts",
    "draw_size",
    "draw_weighted",
]
