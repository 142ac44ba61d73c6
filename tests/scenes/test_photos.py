"""Photos and folders of photos: decoding, order, and errors for unusable files."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dollhouse.errors import SceneError
from dollhouse.scenes.images import check_image, image_size, read_image
from dollhouse.scenes.readers.photos import open_photos
from tests.scenes.fixture_scans import write_photo


def test_photos_are_in_natural_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("10.jpg", "2.jpg", "1.png", "b3.JPEG", ".hidden.jpg"):
        write_photo(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a photo")
    (tmp_path / "folder.jpg").mkdir()
    scene = open_photos(tmp_path)
    assert [view.name for view in scene.views] == ["1.png", "2.jpg", "10.jpg", "b3.JPEG"]
    assert not scene.metric
    assert not scene.posed
    assert scene.boxes is None
    assert scene.metadata["skipped"] == ()
    assert scene.views[0].image.shape == (48, 64, 3)
    assert [view.name for view in open_photos(tmp_path, frames=2).views] == ["1.png", "b3.JPEG"]


def test_exif_orientation_turns_the_photo_upright(tmp_path: Path) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, :8] = 255  # the left edge of the stored image becomes the top: orientation 6 is a turn to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "phone.jpg"
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    upright = read_image(path)
    assert upright.shape == (64, 48, 3)
    assert image_size(path) == (48, 64)
    assert upright[:6].min() > 230
    assert upright[12:].max() < 25


def test_transparency_is_composited_on_white(tmp_path: Path) -> None:
    half_red = read_image(write_photo(tmp_path / "glass.png", (255, 0, 0, 128)))
    assert half_red.dtype == np.uint8
    np.testing.assert_allclose(half_red[0, 0], [255, 127, 127], atol=1)
    clear_palette = Image.new("P", (20, 20), 0)
    clear_palette.putpalette([0, 0, 0, 10, 20, 30])
    clear_palette.save(tmp_path / "palette.png", transparency=0)
    assert (read_image(tmp_path / "palette.png") == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "CMYK", "YCbCr"])
def test_other_8_bit_kinds_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("photo.tif" if mode in ("CMYK", "YCbCr") else "photo.png")
    Image.new("RGB", (20, 16), (255, 255, 255)).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (16, 20, 3)
    assert image.min() >= 254


def test_16_bit_colour_keeps_its_brightness(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + struct.pack(">3H", 65535, 32768, 0) * 20 for _ in range(16))
    path = tmp_path / "deep.png"
    path.write_bytes(png_of(20, 16, bit_depth=16, colour_type=2, data=zlib.compress(rows)))
    np.testing.assert_allclose(read_image(path)[3, 3], [255, 128, 0], atol=1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("grey16.png", "16-bit grey"),
        ("float.tif", "'F'"),
        ("dot.png", "1x1"),
        ("strip.png", "too narrow"),
        ("huge.png", "30000x30000|too large"),
        ("words.jpg", "not an image"),
        ("nothing.jpg", "not an image"),
        ("cut.jpg", "cut short"),
        ("cut.png", "cut short"),
        ("absent.jpg", "no such file"),
    ],
)
def test_unusable_photos_are_refused_by_name(tmp_path: Path, name: str, message: str) -> None:
    path = write_bad(tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for read in (check_image, read_image):
            with pytest.raises(SceneError, match=message) as caught:
                read(path)
            assert name in str(caught.value)
            assert "\n" not in str(caught.value)


def test_too_large_photos_are_refused_by_their_header(tmp_path: Path) -> None:
    """Below the size that Pillow itself refuses, and without its warning."""
    path = tmp_path / "large.png"
    path.write_bytes(png_of(25_001, 10_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SceneError, match=r"25001x10000 pixels are too many \(at most 250 megapixels\)"):
            check_image(path)


def test_a_broken_photo_is_an_error_unless_skipped(tmp_path: Path) -> None:
    write_photo(tmp_path / "1.jpg")
    write_bad(tmp_path / "cut.jpg")
    with pytest.raises(SceneError, match=r"cut\.jpg.*--skip-bad"):
        open_photos(tmp_path)
    scene = open_photos(tmp_path, skip_bad=True)
    assert [view.name for view in scene.views] == ["1.jpg"]
    assert len(scene.metadata["skipped"]) == 1
    assert "cut.jpg" in scene.metadata["skipped"][0]
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(SceneError, match="none of its 1 photos can be used"):
        open_photos(tmp_path, skip_bad=True)


def test_a_single_photo_is_a_scene(tmp_path: Path) -> None:
    scene = open_photos(write_photo(tmp_path / "kitchen.jpg"))
    assert scene.name == "kitchen.jpg"
    assert scene.views[0].image.shape == (48, 64, 3)


def png_of(width: int, height: int, bit_depth: int = 8, colour_type: int = 2, data: bytes = b"") -> bytes:
    """Build a PNG whose header has this size, whatever its data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def write_bad(path: Path) -> Path:
    stem = path.stem
    if stem == "grey16":
        Image.fromarray(np.full((20, 20), 2000, np.uint16)).save(path)
    elif stem == "float":
        Image.fromarray(np.ones((20, 20), np.float32)).save(path)
    elif stem == "dot":
        write_photo(path, size=(1, 1))
    elif stem == "strip":
        write_photo(path, size=(14, 2000))
    elif stem == "huge":
        path.write_bytes(png_of(30_000, 30_000))
    elif stem == "words":
        path.write_text("these are words")
    elif stem == "nothing":
        path.touch()
    elif stem == "cut":
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path
