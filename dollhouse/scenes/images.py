"""Readers of untrusted image files: photos as 8-bit RGB, depth maps as metres.

Every fault raises a :class:`SceneError` that names the file. Sizes are checked before any pixel is decoded.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from dollhouse.errors import SceneError

MAX_PIXELS = 100_000_000  #: 300 MB decoded
MIN_SIDE = 14  #: one patch of the encoder
MAX_ASPECT = 20  #: resizing a narrower strip to the model's width would give millions of rows

# Only these decoders are allowed on untrusted files. JPEG includes MPO, which many phones write under the name .jpg.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
_OPAQUE_MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"}
_TRANSPARENT_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}
_DEPTH_MODES = {"I;16", "I;16L", "I;16B", "I;16N", "I"}
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap width and height


def image_size(path: Path) -> tuple[int, int]:
    """Read the (width, height) that :func:`read_image` will return; raises SceneError on unusable photos."""
    with _open(path, _check_photo) as image, _decoder_errors(path, "its EXIF data cannot be read"):
        if image.format == "PNG" and "exif" not in image.info:  # getexif() would decode all pixels to look behind them
            return image.size
        return image.size[::-1] if image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8) else image.size


def check_image(path: Path) -> None:
    """Decode a photo as cheaply as its format allows; raises SceneError where it is broken or truncated."""
    with _open(path, _check_photo) as image:
        image.draft("RGB", (image.width // 8, image.height // 8))  # JPEG: an eighth of the work, all of the bytes
        with _decoder_errors(path, "is cut short or broken"):
            image.load()


def read_image(path: Path, content: BinaryIO | None = None) -> NDArray[np.uint8]:
    """Read a photo as (H, W, 3) RGB, rotated by its EXIF orientation, transparency composited on white.

    ``content`` is the opened file where ``path`` only names it, such as a member of an archive. Raises SceneError
    where the file is broken, too small or too large, or a 16-bit grey image (a depth map).
    """
    with _open(path, _check_photo, content) as image:
        with _decoder_errors(path, "is cut short or broken"):
            image.load()
        with _decoder_errors(path, "its EXIF data cannot be read"):
            upright = ImageOps.exif_transpose(image)
        if upright.mode in _TRANSPARENT_MODES or "transparency" in upright.info:
            layered = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", layered.size, (255, 255, 255, 255)), layered)
        return np.array(upright.convert("RGB"))


def depth_size(path: Path) -> tuple[int, int]:
    """Read the (width, height) of a 16-bit depth map from its header; raises SceneError."""
    with _open(path, _check_depth) as image:
        return image.size


def read_depth(path: Path, units_per_metre: float = 1000.0) -> NDArray[np.float32]:
    """Read a 16-bit depth map as (H, W) metres, 0 where unknown; raises SceneError."""
    with _open(path, _check_depth) as image:
        with _decoder_errors(path, "is cut short or broken"):
            image.load()
        return np.asarray(image).astype(np.float32) / np.float32(units_per_metre)


def _check_photo(image: Image.Image, path: Path) -> None:
    if image.mode not in _OPAQUE_MODES | _TRANSPARENT_MODES:
        if image.mode in _DEPTH_MODES:
            raise SceneError(f"{path}: is a 16-bit grey image, as depth maps are; a photo must have 8 bits a channel")
        raise SceneError(f"{path}: pixels of kind {image.mode!r} cannot be read as a photo; save it as 8-bit RGB")
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise SceneError(f"{path}: {width}x{height} pixels are too few, a photo needs at least {MIN_SIDE}x{MIN_SIDE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise SceneError(f"{path}: {width}x{height} is too narrow a strip, at most {MAX_ASPECT}:1 can be used")


def _check_depth(image: Image.Image, path: Path) -> None:
    if image.mode not in _DEPTH_MODES:
        raise SceneError(f"{path}: a depth map must be a 16-bit grey PNG in millimetres, not of kind {image.mode!r}")


@contextmanager
def _open(
    path: Path, check: Callable[[Image.Image, Path], None], content: BinaryIO | None = None
) -> Iterator[Image.Image]:
    """Open an image by its header and check it. Pillow's warning about large images is replaced by our limit."""
    limit = f"at most {MAX_PIXELS // 1_000_000} megapixels"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(content or path, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise SceneError(f"{path}: is too large to be opened ({limit}); make it smaller first") from error
    except FileNotFoundError as error:
        raise SceneError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise SceneError(f"{path}: is not an image that can be read (JPEG, PNG, WebP, BMP or TIFF)") from error
    except _DECODER_ERRORS as error:
        raise SceneError(f"{path}: cannot be read ({error})") from error
    with image:
        if image.width * image.height > MAX_PIXELS:
            size = f"{image.width}x{image.height} pixels"
            raise SceneError(f"{path}: {size} are too many ({limit}); make it smaller first")
        check(image, path)
        yield image


@contextmanager
def _decoder_errors(path: Path, fault: str) -> Iterator[None]:
    """Turn whatever Pillow raises on a damaged file into a SceneError."""
    try:
        yield
    except _DECODER_ERRORS as error:
        raise SceneError(f"{path}: {fault} ({error})") from error
