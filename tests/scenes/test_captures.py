"""Posed captures: every layout gives the same scene back, and broken items are left out."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import SceneError
from dollhouse.geometry import camera_rays, resize_intrinsics
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.readers.captures import LENS, Camera, file_view
from dollhouse.scenes.readers.colmap import COLMAP
from dollhouse.scenes.readers.reader import read_text
from tests.scenes.fixture_captures import LAYOUTS, OPENGL, K, frames, save_image, save_text, write_capture

WITHOUT_DEPTH = {"colmap_text", "colmap_binary"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_scene(tmp_path: Path, layout: str) -> None:
    scene = open_scene(write_capture(layout, tmp_path / "scan"), skip_bad=True)
    faults = [fault for fault in scene.metadata["skipped"] if "scan_3dod_annotation.json: b" not in fault]
    assert (len(scene.views), faults, scene.metadata["frames_skipped"]) == (4, [], 0)
    assert scene.metric == (layout not in WITHOUT_DEPTH) == (scene.metadata["scale"] == "metric") == scene.has_depth
    for view, frame in zip(scene.views, frames(), strict=True):
        np.testing.assert_allclose(view.world_from_camera, frame.pose, atol=1e-6)
        np.testing.assert_allclose(view.intrinsics, K, atol=1e-6)
        assert np.abs(view.image.astype(int) - frame.image).mean() < 4  # JPEG and video lose a little
        if view.depth is None or view.depth_intrinsics is None:
            continue
        expected = frame.depth if view.depth.shape == frame.depth.shape else frame.half_depth
        np.testing.assert_allclose(view.depth[1:], expected[1:], atol=6e-4)
        np.testing.assert_allclose(
            view.depth_intrinsics, resize_intrinsics(K, expected.shape[1] / 160, expected.shape[0] / 120)
        )
        if layout in ("polycam", "stray", "seven_scenes"):  # confidence 0, or saturated
            assert not view.depth[0].any()
    check = scene.metadata["pose_check"]
    assert check["mistake"] is None
    if scene.has_depth:
        assert (check["pairs"], check["agrees"]) == (4, True)
        assert check["error"] < 0.01


def test_arkitscenes_boxes_are_oriented(tmp_path: Path) -> None:
    scene = open_scene(write_capture("arkitscenes", tmp_path / "scan"))
    assert scene.boxes is not None
    (box,) = scene.boxes
    assert (box.id, box.label) == (1, "tv monitor")
    np.testing.assert_allclose(box.center, [1, 2, 0.4])
    np.testing.assert_allclose(box.size, [2, 1, 0.8])
    assert box.yaw == pytest.approx(np.pi / 2)
    assert any("annotation.json: b: cannot be used (lacks 'segments')" in line for line in scene.metadata["skipped"])
    (tmp_path / "scan" / "other_3dod_annotation.json").write_text("[]")
    for folder in ("scan", "scan/scan_frames"):
        assert len(open_scene(tmp_path / folder).boxes or ()) == 1
    (tmp_path / "scan" / "scan_3dod_annotation.json").unlink()
    assert open_scene(tmp_path / "scan" / "scan_frames").boxes is None  # not those of another scan


def replace_line(path: Path, number: int, line: str) -> None:
    lines = read_text(path).splitlines()
    save_text(path, "\n".join([*lines[:number], line, *lines[number + 1 :]]))


def replace_text(path: Path, old: str, new: str) -> None:
    text = read_text(path)
    assert old in text
    save_text(path, text.replace(old, new))


BROKEN = {
    "nerfstudio": lambda path: replace_text(path / "transforms.json", "images\\\\1", "images\\\\9"),
    "instant_ngp": lambda path: (path / "d1.png").unlink(),
    "colmap_text": lambda path: replace_line(path / "sparse/0/images.txt", 3, "2 1 0 0 0 0 0 0 8 a b 1.jpg"),
    "colmap_binary": lambda path: (path / "images/1.jpg").write_bytes(b"\xff\xd8 no"),
    "polycam": lambda path: save_text(path / "keyframes/corrected_cameras/1700000000001.json", "{}"),
    "stray": lambda path: replace_line(path / "odometry.csv", 2, "0.1, 000099, 0, 0, 0, 0, 0, 0, 1"),
    "arkitscenes": lambda path: next(path.glob("*/lowres_wide_intrinsics/*100.101*")).unlink(),
    "tum": lambda path: replace_line(path / "rgb.txt", 2, "1305031102.375304"),
    "seven_scenes": lambda path: (path / "frame-000001.pose.txt").write_text("1 2 3"),
    "replica": lambda path: replace_line(path / "traj.txt", 1, "2 " * 16),
    "open3d": lambda path: (path / "depth/00001.png").write_bytes(b""),
}


@pytest.mark.parametrize("layout", BROKEN)
def test_one_broken_item_is_left_out_and_reported(tmp_path: Path, layout: str) -> None:
    path = write_capture(layout, tmp_path / "scan")
    BROKEN[layout](path)
    scene = open_scene(path)
    assert len(scene.views) == 3
    for view, index in zip(scene.views, (0, 2, 3), strict=True):
        np.testing.assert_allclose(view.world_from_camera, frames()[index].pose, atol=1e-6)
    assert [line for line in scene.metadata["skipped"] if "annotation.json" not in line]


def test_lost_tracking_is_counted_and_frames_are_spread(tmp_path: Path) -> None:
    path = write_capture("replica", tmp_path / "scan")
    replace_line(path / "traj.txt", 1, "inf " * 16)
    replace_line(path / "traj.txt", 2, "nan " * 16)
    scene = open_scene(path, frames=1)
    assert [view.name for view in scene.views] == ["frame000000"]
    assert (scene.metadata["frames_skipped"], scene.metadata["skipped"]) == (2, ())
    save_text(path / "traj.txt", "")
    with pytest.raises(
        SceneError, match=r"none of its frames has a usable pose and image; the first fault: .*frame000000"
    ):
        open_scene(path)


def test_world_up_is_estimated_where_the_layout_has_none(tmp_path: Path) -> None:
    """7-Scenes' world is that of the first camera: y points down."""
    path = write_capture("seven_scenes", tmp_path / "scan")
    y_down = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    for i, frame in enumerate(frames()):
        np.savetxt(path / f"frame-{i:06d}.pose.txt", y_down @ frame.pose)
    scene = open_scene(path)
    np.testing.assert_allclose(np.array(scene.metadata["world_from_source"]) @ y_down, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(scene.views[2].world_from_camera, frames()[2].pose, atol=1e-6)


@pytest.mark.parametrize(
    ("layout", "file", "old", "new", "message"),
    [
        ("colmap_text", "sparse/0/cameras.txt", "SIMPLE_PINHOLE", "OPENCV_FISHEYE", "run: colmap image_undistorter"),
        (
            "colmap_text",
            "sparse/0/cameras.txt",
            "320 240",
            "240 320",
            "its 160x120 pixels do not fit a camera of 240x320",
        ),
        ("nerfstudio", "transforms.json", '"fl_x"', '"is_fisheye": true, "fl_x"', "undistort the images first"),
        (
            "nerfstudio",
            "transforms.json",
            '"w": 320, "h": 240',
            '"x": 0',
            "do not fit a camera of 160x120 with focal",
        ),
        ("nerfstudio", "transforms.json", '"frames"', '"poses"', "lacks 'frames'"),
        ("open3d", "camera_intrinsic.json", "160", '"wide"', "scan: cannot be used .*'wide'"),
        ("tum", "rgb.txt", "130", "140", "none of its frames has a usable pose"),
    ],
)
def test_captures_that_cannot_be_used_say_why(
    tmp_path: Path, layout: str, file: str, old: str, new: str, message: str
) -> None:
    path = write_capture(layout, tmp_path / "scan")
    replace_text(path / file, old, new)
    with pytest.raises(SceneError, match=message):
        open_scene(path)


def test_lens_distortion_is_removed(tmp_path: Path) -> None:
    """An image that encodes the true ray of each distorted pixel becomes the image of a pinhole camera."""
    k1, k2, p1, p2 = distortion = (-0.3, 0.08, 0.003, -0.002)
    distorted = camera_rays(K, 160, 120)[..., :2]
    rays = distorted.copy()
    for _ in range(50):  # inverts the distortion
        x, y = rays[..., 0], rays[..., 1]
        square = x * x + y * y
        shift = np.stack([2 * p1 * x * y + p2 * (square + 2 * x * x), p1 * (square + 2 * y * y) + 2 * p2 * x * y], -1)
        rays = (distorted - shift) / (1 + square * (k1 + k2 * square))[..., None]
    encoded = np.dstack([128 + 80 * rays, np.zeros((120, 160))]).clip(0, 255)
    path = save_image(tmp_path / "a.png", encoded.round().astype(np.uint8))
    view = file_view(path, Camera(K[LENS], (160, 120), distortion))
    expected = 128 + 80 * camera_rays(K, 160, 120)[..., :2]
    inner = np.s_[20:-20, 20:-20]
    assert np.abs(view.image[..., :2].astype(float) - expected)[inner].max() < 2
    assert np.abs(encoded[..., :2] - expected)[inner].max() > 3


def test_record3d_without_lzfse_is_photos_with_poses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fourth photo of the archive unpacks to too many bytes."""
    photo = save_image(tmp_path / "photo.jpg", frames()[0].image)
    content = {"w": 160, "h": 120, "K": K.T.ravel().tolist(), "poses": [[0, 0, 0, 1, i, 0, 0] for i in range(4)]}
    with zipfile.ZipFile(tmp_path / "a.r3d", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata", json.dumps(content))
        for i in range(3):
            archive.write(photo, f"rgbd/{i}.jpg")
        archive.writestr("rgbd/3.jpg", bytes((1 << 26) + 1))
    monkeypatch.setitem(sys.modules, "lzfse", None)
    scene = open_scene(tmp_path / "a.r3d", skip_bad=True)
    assert (len(scene.views), scene.posed, scene.has_depth) == (3, True, False)
    assert "pip install 'dollhouse[record3d]'" in scene.metadata["skipped"][0]
    assert "rgbd/3.jpg: 67108865 bytes are too many" in scene.metadata["skipped"][1]


def test_broken_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.r3d"
    path.write_bytes(b"PK no zip")
    with pytest.raises(SceneError, match=r"a\.r3d: is not a zip archive"):
        open_scene(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata", "[" * 100_000)
    with pytest.raises(SceneError, match=r"none of its frames .*nested more than"):
        open_scene(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata", bytes(1000))
    content = bytearray(path.read_bytes())
    content[content.index(b"metadata") + 8] = 0xFF  # no kind of deflated block
    path.write_bytes(content)
    with pytest.raises(SceneError, match="metadata: cannot be read from the archive"):
        open_scene(path)


@pytest.mark.parametrize("name", ["tum_fr1_xyz", "tum_fr1_rpy"])
def test_real_tum_sequences(shared_data: Path, name: str) -> None:
    scene = open_scene(shared_data / "real" / name, frames=30)
    assert (len(scene.views), scene.metadata["skipped"]) == (30, ())
    assert scene.metadata["pose_check"]["agrees"]
    np.testing.assert_allclose(scene.views[0].intrinsics[0], [258.653, 0, 159.572], atol=1e-3)


def test_real_colmap_model(shared_data: Path, tmp_path: Path) -> None:
    """The sample's photos do not have the model's names, so photos of the right size stand in for them."""
    model = tmp_path / "scan/sparse/0"
    model.mkdir(parents=True)
    for name in ("cameras.bin", "images.bin"):
        (model / name).write_bytes((shared_data / "captures/colmap_rgbd/sparse/0" / name).read_bytes())
    photo = (shared_data / "captures/colmap_rgbd/images/0.jpg").read_bytes()
    (tmp_path / "scan/images").mkdir()
    for name in ("0.306", "5.506", "10.107"):
        (tmp_path / f"scan/images/{name}.jpg").write_bytes(photo)
    assert COLMAP.matches(tmp_path / "scan")
    scene = open_scene(tmp_path / "scan", skip_bad=True)
    assert [view.name for view in scene.views] == ["0.306.png", "5.506.png", "10.107.png"]
    assert len(scene.metadata["skipped"]) == 47
    assert scene.views[0].image.shape == (480, 640, 3)
    axes = np.array([np.asarray(view.world_from_camera) @ OPENGL for view in scene.views])[:, 2, 1]
    assert (axes > 0.9).all()  # cameras held level
