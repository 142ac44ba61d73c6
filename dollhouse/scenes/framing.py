"""One grid for photos of unlike shapes: each is cut, or padded where a cut would lose too much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dollhouse.geometry import resize_intrinsics
from dollhouse.scenes.scene import View

MAX_CUT = 0.3  #: a photo that would lose more is padded instead
_MAX_SIDE = 2048  #: of a grid for photos of several sizes
_UNMENTIONED_CUT = 0.02

Size = tuple[int, int]  #: width, height


def frame_views(views: Sequence[View], sizes: Sequence[Size]) -> tuple[tuple[View, ...], dict[str, Any]]:
    """Bring views of several sizes to the grid that loses least; intrinsics follow.

    Views of one size are unchanged.

    Returns:
        The views, and metadata: "framing", a line for people on what was cut or padded, and "valid_area", the part
        (left, top, right, bottom, from 0 to 1) that the photo fills of each padded view, by name.
    """
    grid = _common_grid(sizes)
    cuts = [_cut(size, grid) for size in sizes]
    framed, valid_area = list(views), {}
    for index, (view, size, cut) in enumerate(zip(views, sizes, cuts, strict=True)):
        if size != grid:
            framed[index], area = _frame(view, size, grid, cut > MAX_CUT)
            if cut > MAX_CUT:
                valid_area[view.name] = area
    shape, lines = f"{grid[0] / grid[1]:.2f}:1", []
    mild = sorted((cut, view.name) for cut, view in zip(cuts, views, strict=True) if _UNMENTIONED_CUT < cut <= MAX_CUT)
    if mild:
        worst, name = mild[-1]
        lines.append(f"{len(mild)} of {len(views)} views are cut to {shape}, at most {worst:.0%} ({name})")
    if valid_area:
        lines.append(f"{len(valid_area)} of {len(views)} views are padded to {shape} ({next(iter(valid_area))})")
    return tuple(framed), {"framing": "; ".join(lines), "valid_area": valid_area} if lines else {}


def _common_grid(sizes: Sequence[Size]) -> Size:
    """Choose the size, of those given and a square, that photos lose least by being cut to it."""
    counts = Counter(sizes)

    def loss(grid: Size) -> tuple[float, int, int]:
        return round(sum(n * _cut(size, grid) ** 2 for size, n in counts.items()), 3), -counts[grid], -grid[0]

    side = min(counts.most_common(1)[0][0])
    grid = min([*counts, (side, side)], key=loss)
    scale = min(1.0, _MAX_SIDE / max(grid)) if len(counts) > 1 else 1.0
    return round(grid[0] * scale), round(grid[1] * scale)


def _cut(size: Size, grid: Size) -> float:
    """Compute the share of a photo that is lost when it is cut to the shape of ``grid``."""
    ratio, wanted = size[0] / size[1], grid[0] / grid[1]
    return 1 - min(ratio, wanted) / max(ratio, wanted)


def _frame(view: View, size: Size, grid: Size, padded: bool) -> tuple[View, list[float]]:
    """Return the view on ``grid`` and the part of it that the photo fills."""
    scale = (min if padded else max)(grid[0] / size[0], grid[1] / size[1])
    share = np.array(size) * scale / grid
    area = np.concatenate([0.5 - share / 2, 0.5 + share / 2])
    intrinsics = view.intrinsics
    if intrinsics is not None:
        intrinsics = resize_intrinsics(intrinsics, scale, scale, *(-area[:2] * grid))
    framed = replace(view, open_image=partial(_read_framed, view, grid, padded), intrinsics=intrinsics)
    return framed, area.round(4).tolist()


def _read_framed(view: View, grid: Size, padded: bool) -> NDArray[np.uint8]:
    pixels = view.image
    image = Image.fromarray(pixels)
    if not padded:
        return np.asarray(ImageOps.fit(image, grid, Image.Resampling.BICUBIC))
    mean = tuple(int(value) for value in pixels.mean((0, 1)).round())
    return np.asarray(ImageOps.pad(image, grid, Image.Resampling.BICUBIC, color=mean))
