"""Cameras of photos: focal length from EXIF, and level views of equirectangular panoramas."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dollhouse.geometry import Array, camera_rays, intrinsics_from_fov, look_at
from dollhouse.scenes.images import WORKING_PIXELS, image_size, open_photo, read_image
from dollhouse.scenes.scale import DIAGONAL_35MM
from dollhouse.scenes.scene import View

_EXIF_IFD = 0x8769
_FOCAL, _FOCAL_35MM, _X_RESOLUTION, _RESOLUTION_UNIT = 0x920A, 0xA405, 0xA20E, 0xA210
_WIDTH, _HEIGHT = 0xA002, 0xA003
_TAGS = {_FOCAL, _FOCAL_35MM, _X_RESOLUTION, _RESOLUTION_UNIT, _WIDTH, _HEIGHT}
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_FOCAL_RANGE = (0.25, 20.0)  #: plausible focal lengths over the longer side
PANORAMA_VIEWS = 6  #: neighbours overlap by a third
HORIZONTAL_FOV = np.pi / 2
_MAX_VIEW_WIDTH = 1024
_PANORAMA_MIN_WIDTH = 1000


@dataclass(frozen=True, eq=False)
class PhotoMetadata:
    """Size of a photo as :func:`read_image` returns it at ``WORKING_PIXELS``, and its camera."""

    size: tuple[int, int]  #: width, height
    intrinsics: Array | None  #: (3, 3), principal point in the middle; None if the focal length is unknown
    focal_source: str  #: what the focal length is from, or why there is none
    equirectangular: bool  #: whether it is a panorama of 360 by 180 degrees


def read_photo_metadata(path: Path) -> PhotoMetadata:
    """Read size, focal length and projection of a photo; raises SceneError on unusable photos."""
    width, height = size = image_size(path, WORKING_PIXELS)
    with open_photo(path) as image:
        focal, source = _exif_focal(image, size)
        xmp = image.info.get("xmp") or b""
    wide = width >= _PANORAMA_MIN_WIDTH and abs(width / height - 2) < 0.02
    panorama = wide and (_full_sphere(xmp if isinstance(xmp, bytes) else str(xmp).encode()) or _closes_on_itself(path))
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]) if focal else None
    return PhotoMetadata(size, intrinsics, source, panorama)


def _exif_focal(image: Image.Image, size: tuple[int, int]) -> tuple[float, str]:
    """Compute the focal length in pixels of ``size``, 0 if unknown, and its source from EXIF."""
    numbers = {}
    try:
        for tag, value in image.getexif().get_ifd(_EXIF_IFD).items():
            if tag in _TAGS and 0 < float(value) < 1e9:
                numbers[tag] = float(value)
    except Exception:  # Pillow parses vendors' broken EXIF; a photo without focal length is still a photo
        return 0.0, "none"
    longer, shorter = max(size), min(size)
    stored = sorted((numbers.get(_WIDTH, shorter), numbers.get(_HEIGHT, longer)))
    if _WIDTH in numbers and _HEIGHT in numbers and abs(stored[1] / stored[0] * shorter / longer - 1) > 0.02:
        return 0.0, "none: the photo was cropped"
    focal, source = 0.0, ""
    if _FOCAL_35MM in numbers:
        focal, source = numbers[_FOCAL_35MM] * math.hypot(*size) / DIAGONAL_35MM, "EXIF 35 mm equivalent"
    elif _FOCAL in numbers and _X_RESOLUTION in numbers:
        per_mm = numbers[_X_RESOLUTION] / _MM_PER_UNIT.get(int(numbers.get(_RESOLUTION_UNIT, 2)), 25.4)
        sensor = stored[1] if _WIDTH in numbers and _HEIGHT in numbers else max(image.size)
        focal, source = numbers[_FOCAL] * per_mm * longer / sensor, "EXIF focal length and sensor resolution"
    return (focal, source) if _FOCAL_RANGE[0] < focal / longer < _FOCAL_RANGE[1] else (0.0, "none")


def _full_sphere(xmp: bytes) -> bool:
    """Return whether Google's photo sphere metadata describes a whole equirectangular panorama."""
    pixels = dict(re.findall(rb"GPano:(\w+Pixels)\W+(\d{1,9})", xmp))
    cropped, full = (int(pixels.get(name + b"WidthPixels", 0)) for name in (b"CroppedAreaImage", b"FullPano"))
    return bool(re.search(rb"ProjectionType\W+equirectangular", xmp)) and cropped >= full


def _closes_on_itself(path: Path) -> bool:
    """Return whether left and right edge continue each other and each pole is of one colour, as in a panorama."""
    image = Image.fromarray(read_image(path, WORKING_PIXELS)).resize((256, 128), Image.Resampling.BOX)
    pixels = np.asarray(image, dtype=np.float64)
    seam = np.abs(pixels[:, 0] - pixels[:, -1]).mean()
    variation = np.abs(np.diff(pixels, axis=1)).mean((1, 2))  # of each row
    poles = max(variation[0], variation[-1])
    return bool(seam < 2 * variation.mean() + 1 and poles < 0.5 * variation[32:96].mean())


def panorama_views(path: Path, width: int) -> tuple[list[View], tuple[int, int]]:
    """Cut a panorama of ``width`` pixels into level views, clockwise from its middle column; also return their size.

    Poses are rotations in a world with z up, origin at the camera and y through the middle of the panorama.
    """
    view_width = min(_MAX_VIEW_WIDTH, width // 16 * 4)
    size = view_width, view_width * 3 // 4
    intrinsics = intrinsics_from_fov(HORIZONTAL_FOV, *size)
    views = []
    for heading in np.arange(PANORAMA_VIEWS) * (2 * np.pi / PANORAMA_VIEWS):
        pose = look_at(np.zeros(3), np.array([np.sin(heading), np.cos(heading), 0.0]))
        name = f"{path.stem} {np.degrees(heading):.0f} deg"
        views.append(View(name, partial(_read_view, path, pose, intrinsics, size), intrinsics, pose))
    return views, size


def _read_view(path: Path, pose: Array, intrinsics: Array, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Sample a panorama bilinearly through a pinhole camera, (H, W, 3)."""
    panorama = read_image(path, WORKING_PIXELS)
    height, width = panorama.shape[:2]
    rays = camera_rays(intrinsics, *size) @ pose[:3, :3].T
    x = (np.arctan2(rays[..., 0], rays[..., 1]) / (2 * np.pi) + 0.5) * width - 0.5
    y = np.arctan2(-rays[..., 2], np.hypot(rays[..., 0], rays[..., 1])) / np.pi * height + 0.5 * height - 0.5
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right_weight, bottom_weight = (x - left)[..., None].astype(np.float32), (y - top)[..., None].astype(np.float32)
    columns, rows = (left % width, (left + 1) % width), (top.clip(0, height - 1), (top + 1).clip(0, height - 1))
    upper, lower = (
        panorama[row, columns[0]] * (1 - right_weight) + panorama[row, columns[1]] * right_weight for row in rows
    )
    return (upper * (1 - bottom_weight) + lower * bottom_weight).round().astype(np.uint8)
