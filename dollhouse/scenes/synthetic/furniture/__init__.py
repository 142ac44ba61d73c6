"""Procedural furniture: the catalogue of categories and the builders of their parts."""

from dollhouse.scenes.synthetic.furniture.catalogue import CATEGORIES, COLOURS, KINDS, Rgb, sample_size, sample_weighted
from dollhouse.scenes.synthetic.furniture.primitives import Part

__all__ = ["CATEGORIES", "COLOURS", "KINDS", "Part", "Rgb", "sample_size", "sample_weighted"]
