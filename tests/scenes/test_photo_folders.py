"""Folders of photos as people bring them: unlike shapes, panoramas, masks, strays, EXIF focal lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dollhouse.errors import SceneError
from dollhouse.geometry import camera_rays
from dollhouse.scenes.framing import frame_views
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.readers.photos import open_photos
from dollhouse.scenes.scene import Scene, View
from dollhouse.scenes.view_preprocessing import preprocess_image
from tests.scenes.fixture_scans import write_depth, write_photo

SPHERE_XMP = b'<x xmlns:GPano="g" GPano:ProjectionType="equirectangular" GPano:FullPanoWidthPixels="1024"'


def write_exif(path: Path, size: tuple[int, int], orientation: int = 1, **tags: object) -> Path:
    """Write a photo with EXIF tags: focal35, focal, resolution, unit, width, height."""
    numbers = {"focal35": 0xA405, "focal": 0x920A, "resolution": 0xA20E, "unit": 0xA210, "width": 0xA002}
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker"  # AVIF's writer drops EXIF without other tags
    exif.get_ifd(0x8769).update({(numbers | {"height": 0xA003})[name]: value for name, value in tags.items()})
    Image.new("RGB", size, (90, 120, 150)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".heic", ".avif", ".png", ".webp"])
def test_exif_focal_lengths_become_intrinsics(tmp_path: Path, suffix: str) -> None:
    write_exif(tmp_path / f"a{suffix}", (400, 300), focal35=26)
    scene = open_photos(tmp_path)
    focal = 26 * 500 / np.hypot(36, 24)  # equal diagonal angle of view
    np.testing.assert_allclose(scene.views[0].intrinsics, [[focal, 0, 200], [0, focal, 150], [0, 0, 1]])
    assert scene.metadata["focal"] == "EXIF 35 mm equivalent (1)"


@pytest.mark.parametrize(
    ("tags", "focal"),
    [
        ({"focal": 6.0, "resolution": 200.0, "unit": 4, "width": 4000, "height": 3000}, 120.0),  # resized to a tenth
        ({"focal": 5.0, "resolution": 2000.0, "unit": 3}, 1000.0),
        ({"focal": 5.0}, None),
        ({"focal35": 26, "width": 4000, "height": 2000}, None),  # cropped afterwards
        ({"focal35": 0, "focal": 0.0, "resolution": 0.0}, None),
        ({"focal35": 60000}, None),
        ({}, None),
    ],
)
def test_focal_lengths_from_other_tags(tmp_path: Path, tags: dict[str, object], focal: float | None) -> None:
    for orientation, middle in ((1, (200, 150)), (6, (150, 200))):
        intrinsics = open_photos(write_exif(tmp_path / "a.jpg", (400, 300), orientation, **tags)).views[0].intrinsics
        if focal is None:
            assert intrinsics is None
        else:
            np.testing.assert_allclose(intrinsics, [[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]])


@pytest.mark.parametrize(
    ("sizes", "grid", "cut", "padded"),
    [
        ([(64, 48), (64, 48)], (64, 48), 0, 0),
        ([(48, 64), (64, 48)], (48, 48), 2, 0),  # portrait beside landscape: a quarter of each
        ([(64, 48), (64, 36), (64, 36)], (64, 36), 1, 0),  # 4:3 beside 16:9
        ([(64, 48)] * 5 + [(36, 64)], (64, 48), 0, 1),
        ([(48, 64)] * 2, (48, 64), 0, 0),  # all upright
        ([(36, 64)], (36, 64), 0, 0),
        ([(400, 300), (64, 48), (1001, 750)], (1001, 750), 0, 0),
    ],
)
@pytest.mark.parametrize("width", [126, 252])
def test_photos_of_unlike_shapes_share_a_grid(
    tmp_path: Path, sizes: list[tuple[int, int]], grid: tuple[int, int], cut: int, padded: int, width: int
) -> None:
    for index, size in enumerate(sizes):
        write_photo(tmp_path / f"{index}.png", size=size)
    scene = open_photos(tmp_path)
    assert {view.image.shape[1::-1] for view in scene.views} == {grid}
    assert len({preprocess_image(view.image, width).shape for view in scene.views}) == 1
    line = scene.metadata.get("framing", "")
    assert (f"{cut} of {len(sizes)} views are cut" in line) == bool(cut)
    assert (f"{padded} of {len(sizes)} views are padded" in line) == bool(padded)
    assert len(scene.metadata.get("valid_area", {})) == padded
    assert scene.notices == ([f"framing: {line}"] if line else [])


def test_intrinsics_follow_a_cut_and_a_padding() -> None:
    """A white dot stays where the camera projects it."""
    intrinsics = np.array([[300.0, 0, 120.5], [0, 300.0, 330.5], [0, 0, 1]])
    pixels = np.zeros((640, 360, 3), np.uint8)
    pixels[320:340, 110:130] = 255  # centred on the principal point (120, 330)
    tall = View("tall", lambda: pixels, intrinsics)
    for sizes in ([(360, 640), (400, 400)], [(360, 640), (400, 300), (400, 300), (400, 300)]):
        others = [View("other", lambda size=size: np.zeros((size[1], size[0], 3), np.uint8)) for size in sizes[1:]]
        views, metadata = frame_views([tall, *others], sizes)
        rows, columns = np.nonzero(views[0].image[..., 0] > 128)
        assert views[0].intrinsics is not None
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], views[0].intrinsics[:2, 2], atol=0.7)
        left, top, right, bottom = metadata["valid_area"]["tall"]
        grid = views[0].image.shape[1::-1]
        assert ((right - left) * grid[0]) / ((bottom - top) * grid[1]) == pytest.approx(360 / 640, rel=0.01)


def sphere_colours(directions: np.ndarray) -> np.ndarray:
    unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    return 127.5 + 120 * np.sin(3 * unit)


def write_panorama(path: Path, width: int = 1024, xmp: bytes = b"") -> Path:
    """An equirectangular picture of :func:`sphere_colours`; its middle column lies in direction y."""
    longitude = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    latitude = ((0.5 - (np.arange(width // 2) + 0.5) / (width // 2)) * np.pi)[:, None]
    across = np.cos(latitude)
    directions = np.stack(
        np.broadcast_arrays(across * np.sin(longitude), across * np.cos(longitude), np.sin(latitude)), -1
    )
    Image.fromarray(sphere_colours(directions).round().astype(np.uint8)).save(path, quality=98, xmp=xmp)
    return path


@pytest.mark.parametrize("xmp", [b"", SPHERE_XMP + b' GPano:CroppedAreaImageWidthPixels="1024"/>'])
def test_a_panorama_is_cut_into_views_with_known_rotations(tmp_path: Path, xmp: bytes) -> None:
    scene = open_photos(write_panorama(tmp_path / "room.jpg", xmp=xmp))
    assert len(scene.views) == 6
    assert scene.posed
    assert "cut into 6 level views" in scene.notices[0]
    for view in scene.views:
        height, width = view.image.shape[:2]
        assert view.intrinsics is not None
        assert view.world_from_camera is not None
        rays = camera_rays(view.intrinsics, width, height) @ view.world_from_camera[:3, :3].T
        np.testing.assert_allclose(view.image, sphere_colours(rays), atol=6)
    first, second = (np.asarray(view.world_from_camera)[:3, 2] for view in scene.views[:2])
    assert np.degrees(np.arccos(first @ second)) == pytest.approx(60)  # views of 90 degrees overlap


def test_other_wide_photos_are_no_panoramas(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 120, 3), np.uint8)
    Image.fromarray(noise).resize((1200, 600)).save(tmp_path / "crop.jpg")
    Image.fromarray(noise).resize((1200, 300)).save(tmp_path / "sweep.jpg")
    scene = open_photos(tmp_path)
    assert [view.name for view in scene.views] == ["crop.jpg", "sweep.jpg"]
    assert scene.metadata["warnings"] == ("sweep.jpg is very wide (4.0:1) and is taken for one plain view",)
    write_panorama(tmp_path / "room.jpg")
    mixed = open_photos(tmp_path)
    assert len(mixed.views) == 8
    assert not mixed.posed  # the panorama's rotations are no poses among other photos
    assert len({view.image.shape for view in mixed.views}) == 1


def test_everything_unused_is_counted(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg", "masks/1.png"):
        write_photo(tmp_path / name)
    for name in ("1.MOV", "walk.mp4", "b.dng", "notes.txt", "more.txt", ".DS_Store", "._1.jpg", "Thumbs.db", "README"):
        (tmp_path / name).touch()
    (tmp_path / ".3.HEIC.icloud").touch()
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    scene = open_photos(tmp_path)
    assert len(scene.views) == 2
    counted = set(scene.metadata["unused"].split(", "))
    assert counted == {
        "1 video of a Live Photo (1.MOV)",
        "1 video (walk.mp4)",
        "1 raw photo (b.dng)",
        "2 .txt files (more.txt)",
        "1 file (README)",
        "1 broken link (gone.jpg)",
        "1 photo that iCloud has not downloaded (.3.HEIC.icloud)",
        "1 folder (masks)",
    }
    assert scene.notices == [f"not used: {scene.metadata['unused']}"]


@pytest.mark.parametrize("mask", ["a_mask.png", "mask_a.png", "a.jpg.png", "a.png", "a-depth.png", "A_Seg.png"])
def test_masks_beside_photos_are_left_out(tmp_path: Path, mask: str) -> None:
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)).save(tmp_path / name)
    write_photo(tmp_path / mask, (255,))
    scene = open_photos(tmp_path)
    assert [view.name for view in scene.views] == ["a.jpg", "b.jpg"]
    assert scene.metadata["unused"] == f"1 mask or depth map ({mask})"


def test_photos_with_odd_names_are_used(tmp_path: Path) -> None:
    for name in ("depth.jpg", "mask.jpg", "label_3.png", "写真 1.jpg", "a.jpg", "b.png"):
        write_photo(tmp_path / name)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)).save(tmp_path / "a.png")
    assert len(open_photos(tmp_path).views) == 7  # a.png is a photo of its own


@pytest.mark.parametrize("stray", ["scene.json", "color"])
def test_a_foreign_layout_does_not_close_the_photos(tmp_path: Path, stray: str) -> None:
    write_photo(tmp_path / "1.jpg")
    if stray == "color":
        (tmp_path / "color").mkdir()
        (tmp_path / "pose").mkdir()
    else:
        (tmp_path / stray).write_text('{"some": "tool"}')
    with pytest.raises(SceneError):
        open_scene(tmp_path)
    scene = open_scene(tmp_path, skip_bad=True)
    assert [view.name for view in scene.views] == ["1.jpg"]
    assert stray in scene.notices[0]
    assert stray in scene.metadata["unused"]


def test_a_scan_without_poses_is_plain_photos_where_asked(tmp_path: Path) -> None:
    write_photo(tmp_path / "color" / "1.jpg")
    write_depth(tmp_path / "depth" / "1.png", np.full((24, 32), 900))
    with pytest.raises(SceneError, match=r"color/ but no poses; --skip-bad"):
        open_scene(tmp_path)
    scene = open_scene(tmp_path, skip_bad=True)
    assert len(scene.views) == 1
    assert scene.metadata["unused"] == "1 folder (depth)"


def test_broken_views_are_replaced_when_they_are_read(tmp_path: Path) -> None:
    for index in range(5):
        write_photo(tmp_path / f"{index}.jpg")
    scene = open_photos(tmp_path)
    (tmp_path / "0.jpg").write_bytes(b"overwritten")
    sampled, images = scene.read_sample(2, skip_bad=True)
    assert [view.name for view in sampled.views] == ["1.jpg", "4.jpg"]
    assert len(images) == 2
    assert "0.jpg" in sampled.notices[0]
    with pytest.raises(SceneError, match=r"0\.jpg"):
        scene.read_sample(2)


def test_many_broken_views_are_replaced() -> None:
    def broken() -> np.ndarray:
        raise SceneError("is broken")

    good = View("good", lambda: np.zeros((4, 4, 3), np.uint8))
    scene = Scene("photos", (*(View(str(number), broken) for number in range(1500)), good))
    sampled, images = scene.read_sample(4, skip_bad=True)
    assert [view.name for view in sampled.views] == ["good"]
    assert len(images) == 1
    assert len(sampled.metadata["skipped"]) == 1500
