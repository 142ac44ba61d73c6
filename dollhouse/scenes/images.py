"""Readers of untrusted image files: photos as 8-bit RGB, depth maps as metres.

Every fault raises a :class:`SceneError` that names the file. Sizes are checked before any pixel is decoded.
"""

from __future__ import annotations

import math
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pillow_heif import register_heif_opener

from dollhouse.errors import SceneError
from dollhouse.system.read_files import open_file

register_heif_opener()

MAX_PIXELS = 250_000_000  #: more than any phone takes; at most 1 GB while decoding
WORKING_PIXELS = 25_000_000  #: photos with more are read at a half, a quarter or an eighth of their width
MIN_SIDE = 14  #: one patch of the encoder
MAX_ASPECT = 20  #: resizing a narrower strip to the model's width would give millions of rows

# Only these decoders are allowed on untrusted files. JPEG includes MPO, which many phones write under the name .jpg.
# The format is recognised by content, whatever the suffix.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "HEIF", "AVIF", "PPM")  # PPM: depth of 3RScan
_OPAQUE_MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"}
_TRANSPARENT_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}
_DEPTH_MODES = {"I;16", "I;16L", "I;16B", "I;16N", "I"}
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error, zlib.error)
_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap width and height
_PILLOW_LIMIT = threading.Lock()  # Pillow's limit on pixels is global


def image_size(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Read the (width, height) that :func:`read_image` will return; raises SceneError on unusable photos."""
    with open_photo(path) as image, _decoder_errors(path, "its EXIF data cannot be read"):
        factor = _reduction(image.size, max_pixels)
        width, height = (-(-side // factor) for side in image.size)
        if image.format == "PNG" and "exif" not in image.info:  # getexif() would decode all pixels to look behind them
            return width, height
        turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)  # TIFF: Pillow did
        return (height, width) if turned else (width, height)


def check_image(path: Path) -> None:
    """Decode a photo as cheaply as its format allows; raises SceneError where it is broken or truncated."""
    with open_photo(path) as image:
        image.draft("RGB", (image.width // 8, image.height // 8))  # JPEG: an eighth of the work, all of the bytes
        with _decoder_errors(path, "is cut short or broken"):
            if image.format in ("HEIF", "AVIF"):
                _check_boxes(path)  # decoding takes about a second
            else:
                image.load()
        if image.mode in _DEPTH_MODES:
            _grey_from_16_bit(image, path)


def has_few_colours(path: Path, limit: int) -> bool:
    """Return whether an image has at most ``limit`` colours, or is a depth map: a mask, not a photo."""
    with open_photo(path) as image, _decoder_errors(path, "is cut short or broken"):
        return image.mode in _DEPTH_MODES or image.getcolors(limit) is not None


def read_image(path: Path, max_pixels: int = MAX_PIXELS, content: BinaryIO | None = None) -> NDArray[np.uint8]:
    """Read a photo as (H, W, 3) RGB, rotated by its EXIF orientation, transparency composited on white.

    A photo of more than ``max_pixels`` is read at a half, a quarter or an eighth of its width and height. ``content``
    is the opened file where ``path`` only names it, such as a member of an archive. Raises SceneError where the file
    is broken, too small or too large, or a depth map.
    """
    with open_photo(path, content) as image:
        factor = _reduction(image.size, max_pixels)
        reduced = image.width // factor, image.height // factor
        with _decoder_errors(path, "is cut short or broken"):
            if factor > 1:
                image.draft("RGB", reduced)  # JPEG decodes no more than this
            image.load()
            upright: Image.Image = _grey_from_16_bit(image, path) if image.mode in _DEPTH_MODES else image
            if upright.width // 2 >= reduced[0] and factor > 1:
                upright = (upright.convert("RGBA") if upright.mode in ("1", "P", "PA") else upright).reduce(factor)
        with _decoder_errors(path, "its EXIF data cannot be read"):
            upright = ImageOps.exif_transpose(upright)
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


def read_ids(path: Path, content: BinaryIO | None = None, max_pixels: int = MAX_PIXELS) -> NDArray[np.int32]:
    """Read an 8-bit or 16-bit grey image as ids (H, W); raises SceneError. ``content`` as :func:`read_image`."""
    with _open(path, _check_ids, content) as image:
        if image.width * image.height > max_pixels:
            raise SceneError(f"{path}: {image.width}x{image.height} pixels are too many for instance ids")
        with _decoder_errors(path, "is cut short or broken"):
            return np.asarray(image).astype(np.int32)


def open_photo(path: Path, content: BinaryIO | None = None) -> AbstractContextManager[Image.Image]:
    """Open a photo by its header, undecoded; raises SceneError. ``content`` as :func:`read_image`."""
    return _open(path, _check_photo, content)


def _reduction(size: tuple[int, int], max_pixels: int) -> int:
    """Compute the factor 1, 2, 4 or 8 that brings an image to at most ``max_pixels``."""
    return next(f for f in (1, 2, 4, 8) if f == 8 or math.prod(size) <= max_pixels * f * f)


def _grey_from_16_bit(image: Image.Image, path: Path) -> Image.Image:
    """Convert a 16-bit photo to 8 bits. Depth maps use small values, or have holes."""
    values = np.asarray(image)
    if values.max() < 16384 or (values <= 0).mean() > 0.01:
        raise SceneError(f"{path}: is a 16-bit grey image with the values of a depth map, not a photo")
    grey = Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8))
    grey.info = image.info
    return grey


def _check_boxes(path: Path) -> None:
    """Check that the last box of an ISO media file (HEIC, AVIF) ends where the file does."""
    with path.open("rb") as file:
        start, end = 0, path.stat().st_size
        while 0 <= start <= end - 8:
            file.seek(start)
            size, _, large = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
            start += large if size == 1 else size or end - start
        if start != end:
            raise EOFError(f"{end} bytes, {start} wanted")


def _check_photo(image: Image.Image, path: Path) -> None:
    if image.mode not in _OPAQUE_MODES | _TRANSPARENT_MODES | _DEPTH_MODES:
        raise SceneError(f"{path}: pixels of kind {image.mode!r} cannot be read as a photo; save it as 8-bit RGB")
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise SceneError(f"{path}: {width}x{height} pixels are too few, a photo needs at least {MIN_SIDE}x{MIN_SIDE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise SceneError(f"{path}: {width}x{height} is too narrow a strip, at most {MAX_ASPECT}:1 can be used")


def _check_depth(image: Image.Image, path: Path) -> None:
    if image.mode not in _DEPTH_MODES:
        raise SceneError(f"{path}: a depth map must be a 16-bit grey PNG in millimetres, not of kind {image.mode!r}")


def _check_ids(image: Image.Image, path: Path) -> None:
    if image.mode not in _DEPTH_MODES | {"L", "P"}:
        raise SceneError(f"{path}: instance ids must be an 8-bit or 16-bit grey image, not of kind {image.mode!r}")


@contextmanager
def _open(
    path: Path, check: Callable[[Image.Image, Path], None], content: BinaryIO | None = None
) -> Iterator[Image.Image]:
    """Open an image by its header and check it. Pillow's limit on pixels is replaced by ours."""
    limit = f"at most {MAX_PIXELS // 1_000_000} megapixels"
    if content is None:
        open_file(path, SceneError).close()
    try:
        with _PILLOW_LIMIT:
            ordinary, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(content or path, formats=_FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = ordinary
    except UnidentifiedImageError as error:
        raise SceneError(
            f"{path}: is not an image that can be read (JPEG, HEIC, AVIF, PNG, WebP, GIF, BMP or TIFF)"
        ) from error
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
