"""ScanNet's exported layout: frames, poses, depth, axis alignment, and errors for broken files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import SceneError
from dollhouse.geometry import back_project, invert_rigid, project, transform_points
from dollhouse.scenes.readers.scannet import SCANNET, open_scannet
from dollhouse.scenes.scene import View
from tests.scenes.fixture_scans import (
    QUARTER_TURN,
    camera_matrix,
    pose_at,
    write_alignment,
    write_annotation,
    write_depth,
    write_matrix,
    write_photo,
    write_scan,
)


def test_frames_are_in_numeric_order_with_pose_and_depth(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scene0001_00", frames=12)
    assert SCANNET.matches(folder)
    scene = open_scannet(folder)
    assert scene.name == "scene0001_00"
    assert [view.name for view in scene.views] == [str(i) for i in range(12)]
    assert scene.posed
    assert scene.has_depth
    assert scene.metric
    assert scene.boxes is None
    view = scene.views[10]
    np.testing.assert_array_equal(view.world_from_camera, pose_at(10))
    assert view.depth is not None
    assert view.depth.dtype == np.float32
    np.testing.assert_allclose(view.depth, np.full((24, 32), 1.010), rtol=1e-6)
    assert [view.name for view in open_scannet(folder, frames=3).views] == ["0", "6", "11"]


def test_intrinsics_are_converted_to_corner_based_pixels(tmp_path: Path) -> None:
    view = open_scannet(write_scan(tmp_path / "scan")).views[0]
    np.testing.assert_allclose(view.intrinsics, [[60, 0, 32], [0, 60, 24], [0, 0, 1]])
    np.testing.assert_allclose(view.depth_intrinsics, [[28, 0, 16], [0, 28, 12], [0, 0, 1]])


def test_shorter_matrices_are_read(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scan")
    expected = open_scannet(folder).views[2]
    write_matrix(folder / "intrinsic" / "intrinsic_color.txt", camera_matrix(60.0, 64, 48)[:3, :3])
    write_matrix(folder / "intrinsic" / "intrinsic_depth.txt", camera_matrix(28.0, 32, 24)[:3])
    write_matrix(folder / "pose" / "2.txt", pose_at(2)[:3])
    view = open_scannet(folder).views[2]
    for name in ("intrinsics", "depth_intrinsics", "world_from_camera"):
        np.testing.assert_array_equal(getattr(view, name), getattr(expected, name))
    write_matrix(folder / "pose" / "2.txt", pose_at(2)[:3, :3])  # a rotation alone is no pose
    with pytest.raises(SceneError, match=r"pose/2\.txt.*9 numbers"):
        open_scannet(folder)


def test_a_scan_without_depth_is_still_a_scene(tmp_path: Path) -> None:
    scene = open_scannet(write_scan(tmp_path / "scan", depth=False))
    assert scene.posed
    assert not scene.has_depth
    assert scene.views[0].depth is None


def test_frames_that_lost_tracking_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scan")
    write_matrix(folder / "pose" / "1.txt", np.full((4, 4), -np.inf))
    write_matrix(folder / "pose" / "3.txt", np.full((4, 4), np.nan))
    scene = open_scannet(folder)
    assert [view.name for view in scene.views] == ["0", "2"]
    assert scene.metadata["frames_skipped"] == 2
    for i in range(4):
        write_matrix(folder / "pose" / f"{i}.txt", np.full((4, 4), np.inf))
    with pytest.raises(SceneError, match="none of its 4 frames has a usable pose"):
        open_scannet(folder)


@pytest.mark.parametrize("pose", [2.0 * np.eye(4), np.diag([1.0, 1.0, -1.0, 1.0]), np.zeros((4, 4))])
def test_a_pose_that_is_not_rigid_is_refused_by_name(tmp_path: Path, pose: np.ndarray) -> None:
    folder = write_scan(tmp_path / "scan")
    write_matrix(folder / "pose" / "2.txt", pose)
    with pytest.raises(SceneError, match=r"pose/2\.txt: is not a rigid pose"):
        open_scannet(folder)
    scene = open_scannet(folder, skip_bad=True)
    assert [view.name for view in scene.views] == ["0", "1", "3"]
    assert len(scene.metadata["skipped"]) == 1


@pytest.mark.parametrize(("words", "message"), [("1 2 3", "3 numbers"), ("a " * 16, "'a'"), ("", "0 numbers")])
def test_a_malformed_pose_is_refused_by_name(tmp_path: Path, words: str, message: str) -> None:
    folder = write_scan(tmp_path / "scan")
    (folder / "pose" / "0.txt").write_text(words)
    with pytest.raises(SceneError, match=rf"pose/0\.txt.*{message}"):
        open_scannet(folder)


def test_missing_files_are_named(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scan")
    (folder / "depth" / "2.png").unlink()
    with pytest.raises(SceneError, match=r"depth/2\.png: .*no such file"):
        open_scannet(folder)
    (folder / "pose" / "1.txt").unlink()
    with pytest.raises(SceneError, match=r"pose/1\.txt: is missing"):
        open_scannet(folder)
    assert [view.name for view in open_scannet(folder, skip_bad=True).views] == ["0", "3"]
    (folder / "intrinsic" / "intrinsic_color.txt").unlink()
    with pytest.raises(SceneError, match=r"intrinsic_color\.txt: is missing"):
        open_scannet(folder, skip_bad=True)


def test_depth_of_another_size_is_refused(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scan")
    write_depth(folder / "depth" / "2.png", np.full((48, 64), 900))
    with pytest.raises(SceneError, match=r"2\.png: is 64x48 pixels, but 0\.png gives 32x24"):
        open_scannet(folder)
    (folder / "scan.txt").write_text("depthWidth = 64\ndepthHeight = 48\n")
    write_matrix(folder / "intrinsic" / "intrinsic_depth.txt", camera_matrix(56.0, 64, 48))
    with pytest.raises(SceneError, match=r"0\.png: is 32x24 pixels, but scan\.txt gives 64x48"):
        open_scannet(folder)


def test_intrinsics_of_another_size_are_refused(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scan")
    write_matrix(folder / "intrinsic" / "intrinsic_depth.txt", camera_matrix(570.0, 640, 480))
    with pytest.raises(SceneError, match=r"intrinsic_depth\.txt: its principal point"):
        open_scannet(folder)
    (folder / "intrinsic" / "intrinsic_depth.txt").unlink()
    with pytest.raises(SceneError, match=r"intrinsic_depth\.txt: is missing"):  # the colour camera's do not fit
        open_scannet(folder)


def test_8_bit_depth_and_broken_depth_are_refused(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scan")
    write_photo(folder / "depth" / "1.png", (7,), size=(32, 24))
    with pytest.raises(SceneError, match=r"1\.png: a depth map must be a 16-bit"):
        open_scannet(folder)
    noise = np.random.default_rng(0).integers(0, 9000, (24, 32))
    write_depth(folder / "depth" / "1.png", noise)
    whole = (folder / "depth" / "1.png").read_bytes()
    (folder / "depth" / "1.png").write_bytes(whole[: len(whole) // 2])
    view = open_scannet(folder).views[1]
    with pytest.raises(SceneError, match=r"1\.png: is cut short or broken"):
        _ = view.depth
    assert [view.name for view in open_scannet(folder, skip_bad=True).views] == ["0", "2", "3"]


def test_axis_alignment_moves_cameras_and_boxes(tmp_path: Path) -> None:
    folder = write_annotation(write_scan(tmp_path / "scan"))
    plain = open_scannet(folder)
    assert plain.metadata["axis_aligned"] is False
    write_alignment(folder, "colorWidth = 64\ncolorHeight = 48\n")
    (folder / "notes.txt").write_text("no keys here")
    scene = open_scannet(folder)
    assert scene.metadata["axis_aligned"] is True
    for view, before in zip(scene.views, plain.views, strict=True):
        assert before.world_from_camera is not None
        np.testing.assert_allclose(view.world_from_camera, QUARTER_TURN @ before.world_from_camera)
    table = scene.box(1)
    np.testing.assert_allclose(table.center, [5.0, 0.0, 0.85], atol=1e-6)
    np.testing.assert_allclose(table.size, [1.0, 2.0, 0.7], atol=1e-6)
    renamed = folder.rename(tmp_path / "my_flat")
    assert open_scannet(renamed).metadata["axis_aligned"] is True


def test_broken_axis_alignment_is_refused(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scan")
    (folder / "scan.txt").write_text("axisAlignment = 1 0 0\n")
    with pytest.raises(SceneError, match=r"scan\.txt: axisAlignment.*3 numbers"):
        open_scannet(folder)
    (folder / "scan.txt").write_text("axisAlignment = " + "2 " * 16)
    with pytest.raises(SceneError, match=r"scan\.txt: axisAlignment is not a rotation"):
        open_scannet(folder)


def test_byte_order_marks_and_strays_do_no_harm(tmp_path: Path) -> None:
    folder = write_annotation(write_scan(tmp_path / "scan"))
    write_alignment(folder)
    plain = open_scannet(folder)
    for path in [*folder.glob("*.json"), *folder.glob("*.txt"), *folder.glob("pose/*")]:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    (folder / "scan.sens").touch()
    (folder / "label-filt").mkdir()
    marked = open_scannet(folder)
    assert marked.metadata["axis_aligned"]
    np.testing.assert_array_equal(marked.views[1].world_from_camera, plain.views[1].world_from_camera)
    assert [box.label for box in marked.boxes or ()] == [box.label for box in plain.boxes or ()]
    assert marked.metadata["unused"] == "1 folder (label-filt), 1 .sens file (scan.sens)"
    assert not plain.metadata["unused"]


@pytest.mark.parametrize("name", ["holo_office_a", "o3d_livingroom1"])
def test_real_views_have_consistent_depth(shared_data: Path, name: str) -> None:
    """Depth reprojected into the next view agrees with its depth to 3 cm (median)."""
    scene = open_scannet(shared_data / name)
    errors = np.concatenate([cross_view_error(a, b) for a, b in zip(scene.views, scene.views[1:], strict=False)])
    assert len(errors) > 10_000
    assert np.median(np.abs(errors)) < 0.03


def cross_view_error(source: View, target: View) -> np.ndarray:
    """Depth differences in metres where points seen by ``source`` fall on known depth of ``target``."""
    depth, other = source.depth, target.depth
    assert depth is not None
    assert other is not None
    assert source.depth_intrinsics is not None
    assert target.depth_intrinsics is not None
    assert source.world_from_camera is not None
    assert target.world_from_camera is not None
    points = back_project(depth, source.depth_intrinsics)[::4, ::4][depth[::4, ::4] > 0]
    there = transform_points(invert_rigid(target.world_from_camera) @ source.world_from_camera, points)
    pixels, z = project(there, target.depth_intrinsics)
    column, row = np.floor(pixels).astype(int).T
    inside = (z > 0) & (column >= 0) & (row >= 0) & (column < other.shape[1]) & (row < other.shape[0])
    seen = other[row[inside], column[inside]]
    error = (z[inside] - seen)[seen > 0]
    return error[np.abs(error) < 0.3]  # farther off is one thing hiding another


def test_depth_that_is_no_image_is_refused(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scan", depth=False)
    (folder / "depth").mkdir()
    assert not open_scannet(folder).has_depth
    np.save(folder / "depth" / "0.npy", np.ones((24, 32)))
    with pytest.raises(SceneError, match=r"depth: contains no depth maps.*1 \.npy file \(0\.npy\).*16-bit PNG"):
        open_scannet(folder)
    scene = open_scannet(folder, skip_bad=True)
    assert len(scene.views) == 4
    assert "depth maps" in scene.notices[0]


def test_frames_of_a_long_scan_are_checked_when_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dollhouse.scenes.readers.scannet._CHECKED_FRAMES", 3)
    folder = write_scan(tmp_path / "scan")
    write_photo(folder / "color" / "1.jpg", size=(80, 48))
    write_depth(folder / "depth" / "2.png", np.full((48, 64), 900))
    views = open_scannet(folder).views
    assert len(views) == 4
    with pytest.raises(SceneError, match=r"1\.jpg: is 80x48 pixels, but 0\.jpg gives 64x48"):
        _ = views[1].image
    with pytest.raises(SceneError, match=r"2\.png: is 64x48 pixels, but 0\.png gives 32x24"):
        _ = views[2].depth


def test_a_broken_first_image_does_not_close_a_scan(tmp_path: Path) -> None:
    folder = write_scan(tmp_path / "scan")
    (folder / "color" / "0.jpg").write_bytes(b"overwritten")
    (folder / "depth" / "1.png").write_bytes(b"overwritten")
    with pytest.raises(SceneError, match=r"0\.jpg: is not an image"):
        open_scannet(folder)
    scene = open_scannet(folder, skip_bad=True)
    assert [view.name for view in scene.views] == ["2", "3"]
