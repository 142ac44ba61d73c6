"""Parts of pictures, drawn with Pillow: text, rows and columns of pictures, colours of depth, and files."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dollhouse.errors import StorageError
from dollhouse.geometry import Array
from dollhouse.system.atomic_io import atomic_path
from dollhouse.system.text import one_line, storable

INK, SOFT, LINE = "#2b2b33", "#6a6f7a", "#d9d9df"
#: Pillow's own font has neither umlauts nor dashes
_FONT = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
_SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".webp")
_MAX_TEXT = 4000  #: characters of a text; more are left out
#: colours of the scale "turbo", evenly spaced from its low to its high end
_TURBO = np.frombuffer(
    bytes.fromhex("30123b4143a74771e93e9bfe22c5e21ae4b646f88488ff4eb9f635e1dd37faba39fd8d27f05b12d63506af18017a0403"),
    np.uint8,
).reshape(-1, 3)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Load the font at a size in pixels."""
    return ImageFont.truetype(_FONT, size)


def text_picture(
    text: str, size: int, width: int, *, colour: str = INK, bold: bool = False, single: bool = False
) -> Image.Image:
    """Write text in lines of at most ``width`` pixels, or a single line that leaves out its middle ("…")."""
    face = font(size)
    text = one_line(storable(text), _MAX_TEXT)
    lengths = range(min(len(text), int(width / face.getlength("i"))), 0, -1)
    for length in lengths:
        cut = text if length == len(text) else f"{text[: -(-length // 2)]}…{text[len(text) - length // 2 :]}"
        lines = [cut] if single else textwrap.wrap(text, length)
        if max(map(face.getlength, lines)) <= width:
            break
    else:
        lines = [""]
    step = round(1.35 * size)
    picture = Image.new("RGB", (width, step * len(lines)), "white")
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        for shift in (0.0, 0.7) if bold else (0.0,):
            draw.text((shift, step * number + size), line, colour, face, "ls")
    return picture


def stack(parts: Sequence[Image.Image], gap: int = 8, *, down: bool) -> Image.Image:
    """Put pictures side by side, or one below the other, on white."""
    along = int(down)
    lengths = [part.size[along] for part in parts]
    size = [max(part.size[1 - along] for part in parts)] * 2
    size[along] = sum(lengths) + gap * (len(parts) - 1)
    picture = Image.new("RGB", (size[0], size[1]), "white")
    for number, part in enumerate(parts):
        start = sum(lengths[:number]) + gap * number
        picture.paste(part, (0, start) if down else (start, 0))
    return picture


def depth_colours(depth: Array, near: float, far: float) -> NDArray[np.uint8]:
    """Return the colours (..., 3) of depth (...): red at ``near``, blue at ``far``, pale grey where unknown (0)."""
    share = np.clip((far - depth) / max(far - near, 1e-9), 0, 1) * (len(_TURBO) - 1)
    colours = [np.interp(share, np.arange(len(_TURBO)), channel) for channel in _TURBO.T]
    return np.where((depth > 0)[..., None], np.stack(colours, -1).round(), 228).astype(np.uint8)


def depth_bar(near: float, far: float, width: int) -> Image.Image:
    """Draw the scale of :func:`depth_colours` from left to right with ticks."""
    picture = Image.new("RGB", (width, 30), "white")
    colours = depth_colours(np.linspace(max(near, 1e-9), far, width), near, far)
    picture.paste(Image.fromarray(np.broadcast_to(colours, (12, width, 3)).copy()))
    draw = ImageDraw.Draw(picture)
    for tick in ticks(near, far, 7):
        x = (tick - near) / (far - near) * (width - 1)
        draw.line([(x, 12), (x, 15)], INK)
        draw.text((min(max(x, 12), width - 12), 28), f"{tick:g}", INK, font(12), "ms")
    return picture


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most ``most`` + 1 round numbers, evenly spaced between two limits."""
    power = 10.0 ** np.floor(np.log10((high - low) / most))
    step = power * next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * power) <= most)
    return [float(number * step) + 0.0 for number in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def picture_suffix(out: Path) -> str:
    """Return the suffix of a picture's name in lower case; StorageError where no format has it."""
    suffix = out.suffix.lower()
    if suffix not in _SUFFIXES:
        raise StorageError(f"{out}: pictures are written as {', '.join(_SUFFIXES)}; give a name that ends in one")
    return suffix


def save_picture(picture: Image.Image, out: Path) -> None:
    """Write a picture atomically in the format of its suffix: png, jpg, pdf or webp. Raises StorageError."""
    out = Path(out)
    suffix = picture_suffix(out)
    with atomic_path(out) as unfinished:
        picture.save(unfinished, Image.registered_extensions()[suffix], compress_level=4)  # of PNG: half the time
