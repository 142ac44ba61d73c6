"""VGGT's official preprocessing: photos of any shape -> ``pixel_values`` (``specs/vggt.md``, section 7).

Knows nothing of models. Pixels are as the official code makes them: Pillow's bicubic filter, Python's rounding,
transparency laid on white, no normalisation, and no turning by EXIF (turn photos before, where they need it).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dollhouse.errors import SceneError

PATCH = 14
Mode = Literal["crop", "pad", "square"]
Photo = str | os.PathLike[str] | NDArray[np.uint8] | Image.Image


@dataclass(frozen=True, eq=False)
class OfficialPhotos:
    """What VGGT is fed, and where the photos lie in it."""

    pixel_values: Tensor  #: (V, 3, H, W) in [0, 1], float32
    placed: Tensor  #: (V, 6) left, top, right, bottom of the photo in pixels of H x W, then its own width and height


def official_photos(photos: Sequence[Photo], mode: Mode = "crop", size: int = 518) -> OfficialPhotos:
    """Photos of one place, each a file, an array (H, W, 3 or 4) uint8 or a Pillow image, ready for the encoder.

    "crop": the width becomes ``size``, the height keeps the aspect in whole patches; what is taller is cut to a
    square from its middle. "pad": the longest side becomes ``size`` and white fills the square. "square": black
    fills the square, then that is resized. Photos that come out in several shapes are padded with white to the
    largest; ``placed`` may reach beyond the picture where it was cut.

    Raises:
        SceneError: without photos, for files that are no photos, and for arrays of another shape or kind.
        ValueError: for another mode, or a size that is no multiple of 14.
    """
    if mode not in ("crop", "pad", "square"):
        raise ValueError(f"mode is {mode!r}; choose crop, pad or square")
    if size < PATCH or size % PATCH:
        raise ValueError(f"size must be a multiple of {PATCH}, not {size}")
    if not len(photos):
        raise SceneError("no photos to look at; give at least one")
    bring = {"crop": _cropped, "pad": _padded, "square": _squared}[mode]
    made: list[Tensor] = []
    places: list[Tensor] = []
    for number, photo in enumerate(photos):
        image = _rgb(photo, number)
        framed, place = bring(image, size)
        made.append(torch.from_numpy(np.array(framed)).permute(2, 0, 1).float() / 255)
        places.append(torch.tensor([*place, *image.size], dtype=torch.float32))
    height, width = (max(picture.shape[axis] for picture in made) for axis in (1, 2))
    for number, picture in enumerate(made):
        top, left = (height - picture.shape[1]) // 2, (width - picture.shape[2]) // 2
        if (height, width) != picture.shape[1:]:
            canvas = torch.ones(3, height, width)
            canvas[:, top : top + picture.shape[1], left : left + picture.shape[2]] = picture
            made[number] = canvas
            places[number][:4] += torch.tensor([left, top, left, top])
    return OfficialPhotos(torch.stack(made), torch.stack(places))


def _rgb(photo: Photo, number: int) -> Image.Image:
    name = str(photo) if isinstance(photo, (str, os.PathLike)) else f"photo {number}"
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] not in (3, 4) or not photo.size:
            raise SceneError(f"{name} is an array {photo.shape} of {photo.dtype}; give (H, W, 3) of uint8")
        photo = Image.fromarray(photo)
    try:
        image = photo if isinstance(photo, Image.Image) else Image.open(Path(photo))
        if image.mode == "RGBA":
            image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
        return image.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise SceneError(f"{name} cannot be read as a photo ({str(error).splitlines()[0]}); leave it out") from None


def _in_patches(side: int, factor: float) -> int:
    """A side scaled by ``factor`` and rounded to whole patches, at least one."""
    return max(PATCH, round(side * factor / PATCH) * PATCH)


def _cropped(image: Image.Image, size: int) -> tuple[Image.Image, tuple[float, ...]]:
    width, height = image.size
    tall = _in_patches(height, size / width)
    picture = image.resize((size, tall), Image.Resampling.BICUBIC)
    top = max(0, (tall - size) // 2)
    return picture.crop((0, top, size, min(top + size, tall))), (0, -top, size, tall - top)


def _padded(image: Image.Image, size: int) -> tuple[Image.Image, tuple[float, ...]]:
    width, height = image.size
    scale = size / max(width, height)
    shape = (size, _in_patches(height, scale)) if width >= height else (_in_patches(width, scale), size)
    left, top = (size - shape[0]) // 2, (size - shape[1]) // 2
    canvas = Image.new("RGB", (size, size), (255, 255, 255))
    canvas.paste(image.resize(shape, Image.Resampling.BICUBIC), (left, top))
    return canvas, (left, top, left + shape[0], top + shape[1])


def _squared(image: Image.Image, size: int) -> tuple[Image.Image, tuple[float, ...]]:
    width, height = image.size
    side = max(width, height)
    left, top, scale = (side - width) // 2, (side - height) // 2, size / side
    canvas = Image.new("RGB", (side, side))
    canvas.paste(image, (left, top))
    place = (left * scale, top * scale, (left + width) * scale, (top + height) * scale)
    return canvas.resize((size, size), Image.Resampling.BICUBIC), place
