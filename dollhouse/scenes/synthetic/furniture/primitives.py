"""Parts of furniture: slabs, tubes and balls in the piece's own frame, and shades of its main colour.

The frame: x to the front, y to the left, z up, the origin in the middle of the piece's underside. Parts need not fill
the declared size: the mesh of the whole piece is stretched to its box.
"""

from __future__ import annotations

from typing import NamedTuple

from dollhouse.scenes.synthetic.furniture.catalogue import Rgb, Size


class Part(NamedTuple):
    """One convex solid: a box, a twelve-sided tube, or a ball that fills ``size`` around ``centre``."""

    shape: str  #: "slab", "tube" or "ball"
    centre: Size
    size: Size
    rgb: Rgb
    taper: float = 1.0  #: length and width of the top as a fraction of the bottom's (slabs and tubes)
    lean: float = 0.0  #: shift of the top along x, metres (slabs and tubes)


def darker(rgb: Rgb, share: float = 0.6) -> Rgb:
    return (rgb[0] * share, rgb[1] * share, rgb[2] * share)


def lighter(rgb: Rgb, share: float = 0.3) -> Rgb:
    return (rgb[0] + (1 - rgb[0]) * share, rgb[1] + (1 - rgb[1]) * share, rgb[2] + (1 - rgb[2]) * share)


def contrast(rgb: Rgb) -> Rgb:
    """Return a handle colour that contrasts with ``rgb``."""
    return (0.12, 0.11, 0.11) if sum(rgb) > 1.5 else (0.85, 0.84, 0.80)


def edge(rgb: Rgb) -> Rgb:
    """Return a neighbouring shade: darker, or lighter where ``rgb`` is nearly black."""
    return darker(rgb, 0.72) if sum(rgb) > 0.6 else lighter(rgb, 0.22)


def slab(x0: float, x1: float, y0: float, y1: float, z0: float, z1: float, rgb: Rgb, lean: float = 0.0) -> Part:
    """Build the box between these bounds."""
    centre = (0.5 * (x0 + x1), 0.5 * (y0 + y1), 0.5 * (z0 + z1))
    return Part("slab", centre, (x1 - x0, y1 - y0, z1 - z0), rgb, 1.0, lean)


def tube(x: float, y: float, diameter: float, z0: float, z1: float, rgb: Rgb, taper: float = 1.0) -> Part:
    """Build an upright tube around (x, y), its lower end ``diameter`` wide."""
    return Part("tube", (x, y, 0.5 * (z0 + z1)), (diameter, diameter, z1 - z0), rgb, taper)


def four_legs(d: float, w: float, z1: float, thick: float, rgb: Rgb) -> list[Part]:
    """Build square legs up to ``z1`` under the corners of a plan of length ``d`` and width ``w``."""
    x, y = 0.5 * d, 0.5 * w
    return [slab(a, a + thick, b, b + thick, 0.0, z1, rgb) for a in (-x, x - thick) for b in (-y, y - thick)]
