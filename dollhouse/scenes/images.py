"""Opening image files that nobody has checked yet: photos as 8-bit RGB, depth maps as metres.

Every fault of a file becomes one :class:`SceneError` that names it. Sizes are checked from the
header before a pixel is decoded, so a small file cannot ask for gigabytes of memory. Knows nothing
of scenes, folders or poses.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from dollhouse.errors import SceneError

MAX_PIXELS = 100_000_000  #: more than any phone takes, and 300 MB once decoded
MIN_SIDE = 14  #: one patch of the encoder
MAX_ASPECT = 20  #: a narrower strip would be stretched to millions of rows when it is framed

# Only these decoders may see an untrusted file. JPEG includes MPO, which many phones write under the name .jpg.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
_OPAQUE_MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"}
_TRANSPARENT_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}
_DEPTH_MODES = {"I;16", "I;16L", "I;16B", "I;16N", "I"}
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap width and height


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels as :func:`read_image` will return it, from the header alone.

    Raises SceneError where the file is not a photo that can be used.
    """
    with _open_photo(path) as image:
        return _upright_size(image, path)


def check_image(path: Path) -> None:
    """Decodes the whole file as cheaply as its format allows; raises SceneError where it is broken or cut short."""
    with _open_photo(path) as image:
        image.draft("RGB", (image.width // 8, image.height // 8))  # JPEG: an eighth of the work, all of the bytes
        _decode(image, path)


def read_image(path: Path) -> NDArray[np.uint8]:
    """A photo as (H, W, 3) RGB: turned upright as its EXIF says, transparency put on white.

    Raises SceneError where the file is broken, too small or too large, or has more than 8 bits a channel
    in one grey channel: those are depth maps, and scaled down they would be all but black.
    """
    with _open_photo(path) as image:
        _decode(image, path)
        try:
            upright = ImageOps.exif_transpose(image)
        except _DECODER_ERRORS as error:
            raise SceneError(f"{path}: its EXIF data cannot be read ({error}); save the photo again") from error
        if upright.mode in _TRANSPARENT_MODES or "transparency" in upright.info:
            layered = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", layered.size, (255, 255, 255, 255)), layered)
        return np.array(upright.convert("RGB"))


def depth_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels of a 16-bit depth map, from the header alone; SceneError where it is none."""
    with _open_depth(path) as image:
        return image.size


def read_depth(path: Path, units_per_metre: float = 1000.0) -> NDArray[np.float32]:
    """A 16-bit depth map as (H, W) metres, 0 where unknown; SceneError where the file is broken or has 8 bits."""
    with _open_depth(path) as image:
        _decode(image, path)
        return np.asarray(image).astype(np.float32) / np.float32(units_per_metre)


def _open_photo(path: Path) -> Image.Image:
    image = _open_header(path)
    try:
        _check_photo(image, path)
    except SceneError:
        image.close()
        raise
    return image


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


def _open_depth(path: Path) -> Image.Image:
    image = _open_header(path)
    if image.mode not in _DEPTH_MODES:
        image.close()
        raise SceneError(
            f"{path}: a depth map must be a 16-bit grey PNG in millimetres, but its pixels are {image.mode!r}"
        )
    return image


def _open_header(path: Path) -> Image.Image:
    """Reads the header only. Pillow's own warning about large images is silenced: our limit raises instead."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise SceneError(f"{path}: is too large to be opened ({_limit()}); make it smaller first") from error
    except FileNotFoundError as error:
        raise SceneError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise SceneError(f"{path}: is not an image that can be read (JPEG, PNG, WebP, BMP or TIFF)") from error
    except _DECODER_ERRORS as error:
        raise SceneError(f"{path}: cannot be read ({error})") from error
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width}x{image.height} pixels"
        image.close()
        raise SceneError(f"{path}: {size} are too many ({_limit()}); make it smaller first")
    return image


def _limit() -> str:
    return f"at most {MAX_PIXELS // 1_000_000} megapixels"


def _decode(image: Image.Image, path: Path) -> None:
    try:
        image.load()
    except _DECODER_ERRORS as error:
        raise SceneError(f"{path}: is cut short or broken ({error})") from error


def _upright_size(image: Image.Image, path: Path) -> tuple[int, int]:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except _DECODER_ERRORS as error:
        raise SceneError(f"{path}: its EXIF data cannot be read ({error}); save the photo again") from error
    return (image.height, image.width) if orientation in (5, 6, 7, 8) else image.size
