"""Scans in ScanNet's layout, written from synthetic rooms and read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scannet_scans import walk_scene
from dollhouse.errors import SceneError, StorageError
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.scannet_writer import write_scannet
from dollhouse.scenes.scene import Box, Scene
from dollhouse.scenes.synthetic.room_scene import room_scene


@pytest.fixture(scope="module")
def room() -> Scene:
    return room_scene("train", 3, image_size=56, views=3)


@pytest.mark.parametrize("stream", [False, True])
def test_a_written_scan_is_read_alike(room: Scene, tmp_path: Path, stream: bool) -> None:
    folder = tmp_path / "scene0003_00"
    write_scannet(room, folder, stream=stream)
    write_scannet(room, tmp_path / "again" / "scene0003_00", stream=stream)
    for file in filter(Path.is_file, folder.rglob("*")):  # the same scene gives the same bytes
        assert file.read_bytes() == (tmp_path / "again" / folder.name / file.relative_to(folder)).read_bytes()
    scan = open_scene(folder)
    assert scan.metadata["axis_aligned"]
    assert not np.allclose(scan.metadata["world_from_source"], np.eye(4))
    assert scan.metadata["pose_check"]["agrees"]
    assert scan.notices == []
    assert [view.name for view in scan.views] == ["0", "1", "2"]
    for view, source in zip(scan.views, room.views, strict=True):
        np.testing.assert_allclose(view.world_from_camera, source.world_from_camera, atol=1e-5)
        np.testing.assert_allclose(view.intrinsics, source.intrinsics, atol=1e-5)
        np.testing.assert_allclose(view.depth_intrinsics, source.intrinsics, atol=1e-5)
        assert source.depth is not None
        np.testing.assert_allclose(view.depth, source.depth, atol=1e-3)
        assert np.abs(view.image.astype(int) - source.image).mean() < 5.0
        np.testing.assert_array_equal(view.instances, source.instances)
    assert scan.boxes is not None
    assert room.boxes is not None
    for box, original in zip(scan.boxes, room.boxes, strict=True):
        assert (box.id, box.label, box.yaw) == (original.id, original.label, 0.0)
        np.testing.assert_allclose(box.center, original.center, atol=1e-3)
        np.testing.assert_allclose(box.size, np.ptp(original.corners, axis=0), atol=1e-3)


def test_a_walked_scan_is_filmed_without_jumps(tmp_path: Path) -> None:
    scene = walk_scene("train", 2, frames=30, size=(64, 48))
    poses = np.stack([np.asarray(view.world_from_camera) for view in scene.views])
    assert np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).max() < 0.05
    turns = np.einsum("nij,nij->n", poses[1:, :3, :3], poses[:-1, :3, :3])
    assert np.degrees(np.arccos((turns.min() - 1) / 2)) < 8
    again = walk_scene("train", 2, frames=30, size=(64, 48)).views[7]
    np.testing.assert_array_equal(again.image, scene.views[7].image)
    np.testing.assert_array_equal(again.world_from_camera, poses[7])
    write_scannet(scene, tmp_path / "scan", stream=True)
    scan = open_scene(tmp_path / "scan")
    assert scan.metadata["pose_check"]["agrees"]
    view, source = scan.views[20], scene.views[20]
    assert view.depth is not None
    assert view.depth.shape == (24, 32)
    np.testing.assert_allclose(view.depth, source.depth, atol=1e-3)
    np.testing.assert_allclose(view.depth_intrinsics, source.depth_intrinsics, atol=1e-5)
    assert not np.allclose(view.depth_intrinsics, 0.5 * np.asarray(view.intrinsics))
    np.testing.assert_array_equal(view.instances, source.instances)


def test_scenes_that_the_layout_cannot_store_are_refused(room: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    first, *others = room.views
    wider = replace(first, intrinsics=np.diag([9.0, 9.0, 1.0]))
    crowded = replace(first, open_instances=lambda: np.full((56, 56), 256, np.int32))
    for scene, message in (
        (replace(room, metric=False), "only a metric scene"),
        (replace(room, views=(replace(first, world_from_camera=None), *others)), "only a metric scene"),
        (replace(room, views=(replace(first, open_depth=None), *others)), "only a metric scene"),
        (replace(room, views=(*others, wider)), "view 00 has another size or camera"),
        (replace(room, views=(crowded, *others)), "between 0 and 255"),
    ):
        with pytest.raises(SceneError, match=message):
            write_scannet(scene, folder)
    assert not list(tmp_path.iterdir())  # nothing unfinished is left
    folder.mkdir()
    with pytest.raises(SceneError, match="exists already"):
        write_scannet(room, folder)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        write_scannet(room, tmp_path / "file" / "scan")


def test_scenes_without_objects_are_written(room: Scene, tmp_path: Path) -> None:
    boxes: tuple[tuple[Box, ...] | None, ...] = (None, ())
    for number, chosen in enumerate(boxes):
        write_scannet(replace(room, boxes=chosen), tmp_path / f"{number}")
    assert [open_scene(tmp_path / f"{number}").boxes for number in (0, 1)] == [None, ()]
