"""Formats of photos: HEIC, AVIF, GIF, 16-bit grey, very large photos, orientation, and content against suffix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dollhouse.errors import SceneError
from dollhouse.scenes.images import check_image, image_size, read_image
from dollhouse.scenes.readers.photos import open_photos

FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "HEIF": ".heic", "AVIF": ".avif"}
ORIENTED = [  # the upright image of each EXIF orientation, from the stored pixels
    lambda stored: stored,
    lambda stored: stored[:, ::-1],
    lambda stored: stored[::-1, ::-1],
    lambda stored: stored[::-1],
    lambda stored: stored.transpose(1, 0, 2),
    lambda stored: np.rot90(stored, -1),
    lambda stored: stored.transpose(1, 0, 2)[::-1, ::-1],
    lambda stored: np.rot90(stored),
]


def quadrants(width: int = 64, height: int = 48) -> np.ndarray:
    """Four colours, one a quarter."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (220, 20, 20)
    pixels[: height // 2, width // 2 :] = (20, 200, 20)
    pixels[height // 2 :, : width // 2] = (20, 20, 220)
    return pixels


def corners(pixels: np.ndarray) -> np.ndarray:
    return pixels[[5, 5, -6, -6], [5, -6, 5, -6]].astype(int)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_format_is_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo{FORMATS[kind]}"
    image = Image.fromarray(quadrants())
    if kind == "HEIF":  # its writer turns the pixels by the orientation it is given; phones store a rotation box
        image.save(path, kind)
        upright = quadrants()
    else:
        image.save(path, kind, exif=exif, quality=95)
        upright = ORIENTED[orientation - 1](quadrants())
    check_image(path)
    pixels = read_image(path)
    assert pixels.shape == upright.shape
    assert image_size(path) == pixels.shape[1::-1]
    np.testing.assert_allclose(corners(pixels), corners(upright), atol=60)


@pytest.mark.parametrize(
    ("kind", "name"), [("JPEG", "a.heic"), ("HEIF", "a.jpg"), ("PNG", "a.jfif"), ("AVIF", "a.HIF"), ("JPEG", "a.avif")]
)
def test_the_content_gives_the_format(tmp_path: Path, kind: str, name: str) -> None:
    Image.fromarray(quadrants()).save(tmp_path / name, kind)
    assert [view.image.shape for view in open_photos(tmp_path).views] == [(48, 64, 3)]


def test_the_first_frame_of_a_gif_is_read(tmp_path: Path) -> None:
    frames = [Image.fromarray(quadrants()), Image.new("RGB", (64, 48), (255, 255, 255))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(corners(read_image(tmp_path / "a.gif")), corners(quadrants()), atol=20)


def test_16_bit_grey_photos_become_8_bit(tmp_path: Path) -> None:
    grey = np.linspace(700, 65000, 64 * 48).reshape(48, 64).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image[..., 0], grey >> 8)
    grey[:, :10] = 0
    Image.fromarray(grey).save(tmp_path / "holes.png")
    for read in (check_image, read_image):
        with pytest.raises(SceneError, match="values of a depth map"):
            read(tmp_path / "holes.png")


@pytest.mark.parametrize("kind", FORMATS)
def test_large_photos_are_reduced_while_decoding(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"large{FORMATS[kind]}"
    Image.fromarray(quadrants(203, 150)).save(path, kind, quality=95)
    for limit, size in ((203 * 150, (203, 150)), (8000, (102, 75)), (2000, (51, 38))):
        image = read_image(path, limit)
        assert image_size(path, limit) == size == image.shape[1::-1]
        np.testing.assert_allclose(corners(image), corners(quadrants()), atol=40)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_cut_phone_photos_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "cut.heic"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path, kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for read in (check_image, read_image):
        with pytest.raises(SceneError, match=r"cut\.heic"):
            read(path)
