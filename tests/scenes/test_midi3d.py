"""MIDI-3D's renders of 3D-FRONT: rooms with poses, depth and instance maps, and pairs of image and instance map."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dollhouse.errors import SceneError
from dollhouse.scenes.open import open_scene, open_scenes
from dollhouse.scenes.scene import Scene
from tests.scenes.fixture_front3d import HOUSE, write_house, write_midi_room

PAIR = f"{HOUSE}_LivingRoom-360"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Four rendered views of a 3D-FRONT room."""
    house = write_house(tmp_path_factory.mktemp("front3d"))
    return open_scene(f"{house}#MasterBedroom-1", frames=4)


def change_meta(room: Path, key: str, value: object) -> None:
    path = room / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


def test_room_has_poses_and_instances(tmp_path: Path, source: Scene) -> None:
    room = write_midi_room(tmp_path, source)
    scene = open_scene(room)
    assert (scene.name, scene.boxes, scene.metric) == (f"{HOUSE}/MasterBedroom-1", None, True)
    assert scene.metadata["unused"] == "4 other images (rerender_0000.webp)"
    assert "scientific research only" in scene.metadata["licence"]
    assert len(scene.views) == 4
    for view, expected in zip(scene.views, source.views, strict=True):
        np.testing.assert_allclose(view.world_from_camera, expected.world_from_camera, atol=1e-9)
        np.testing.assert_allclose(view.intrinsics, expected.intrinsics, atol=1e-6)
        assert (view.image == expected.image).all()
        assert (view.instances == expected.instances).all()
        assert view.depth is None
    assert [scene.name for scene in open_scenes(tmp_path)] == [f"{HOUSE}/MasterBedroom-1"]
    assert [len(scene.views) for scene in open_scenes(tmp_path / HOUSE, frames=2)] == [2]
    assert len(open_scene(tmp_path).views) == 4


def test_depth_is_read_from_exr(tmp_path: Path, source: Scene) -> None:
    pytest.importorskip("OpenEXR")
    room = write_midi_room(tmp_path, source, exr=True)
    scene = open_scene(room)
    for view, expected in zip(scene.views, source.views, strict=True):
        assert view.depth is not None
        assert expected.depth is not None
        np.testing.assert_allclose(view.depth[:-1], expected.depth[:-1])
        assert not view.depth[-1].any()
    check = scene.metadata["pose_check"]
    assert (check["agrees"], check["mistake"]) == (True, None)
    assert check["error"] < 0.01
    (room / "depth_0001.exr").write_bytes((room / "depth_0001.exr").read_bytes()[:300])
    (room / "depth_0002.exr").write_bytes(b"no EXR")
    scene = open_scene(room, skip_bad=True)
    assert [view.name for view in scene.views] == ["render_0000", "render_0003"]
    assert ["depth_000" in fault for fault in scene.metadata["skipped"]] == [True, True]


def test_missing_exr_library_is_stated(tmp_path: Path, source: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    room = write_midi_room(tmp_path, source)
    (room / "depth_0000.exr").touch()
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    scene = open_scene(room)
    assert (len(scene.views), scene.has_depth) == (4, False)
    assert "pip install 'dollhouse[exr]'" in scene.metadata["skipped"][0]


def test_broken_frames_are_left_out(tmp_path: Path, source: Scene) -> None:
    room = write_midi_room(tmp_path, source)
    meta = json.loads((room / "meta.json").read_text())
    meta["locations"][0]["frames"][0]["name"] = "../../../secret.webp"
    meta["locations"][1]["transform_matrix"] = [[float("nan")] * 4] * 4
    del meta["locations"][2]["transform_matrix"]
    (room / "meta.json").write_text(json.dumps(meta))
    scene = open_scene(room)
    assert [view.name for view in scene.views] == ["render_0003"]
    assert scene.metadata["frames_skipped"] == 1
    assert "no plain file name" in scene.metadata["skipped"][0]
    assert "lacks 'transform_matrix'" in scene.metadata["skipped"][1]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("locations", None, "none of its frames has a usable pose and image; the first fault: "),
        ("locations", [], "none of its frames has a usable pose and image"),
        ("camera_angle_x", 0.0, "camera_angle_x is 0"),
        ("camera_angle_x", "wide", "could not convert"),
    ],
)
def test_bad_rooms_are_one_error(tmp_path: Path, source: Scene, key: str, value: object, message: str) -> None:
    room = write_midi_room(tmp_path, source)
    change_meta(room, key, value)
    with pytest.raises(SceneError, match=message):
        open_scene(room)


def test_broken_json_is_one_error(tmp_path: Path, source: Scene) -> None:
    room = write_midi_room(tmp_path, source)
    (room / "meta.json").write_text("{")
    with pytest.raises(SceneError, match=r"meta\.json: is not JSON"):
        open_scene(room)


def test_pairs_need_an_instance_map_of_their_size(tmp_path: Path) -> None:
    image, instances = tmp_path / f"{PAIR}_rgb.png", tmp_path / f"{PAIR}_seg.png"
    Image.new("RGB", (64, 64)).save(image)
    for size, mode, message in (((64, 32), "L", "64x32 pixels"), ((64, 64), "RGB", "must be an 8-bit or 16-bit")):
        Image.new(mode, size).save(instances)
        with pytest.raises(SceneError, match=message):
            open_scene(image)
    Image.new("P", (64, 64)).save(instances)
    assert open_scene(tmp_path).name == PAIR


def test_several_pairs_are_not_one_scene_of_photos(tmp_path: Path) -> None:
    for room in ("LivingRoom-360", "KidsRoom-5300"):
        for kind, mode in (("rgb", "RGB"), ("seg", "L")):
            Image.new(mode, (64, 64)).save(tmp_path / f"{HOUSE}_{room}_{kind}.png")
    with pytest.raises(SceneError, match="holds 2 scenes"):
        open_scene(tmp_path, skip_bad=True)


def test_real_pairs_have_image_and_instances(shared_data: Path) -> None:
    folder = shared_data / "midi3d_3dfront_examples"
    scenes = open_scenes(folder)
    objects = []
    for scene in scenes:
        assert (len(scene.views), scene.boxes, scene.posed, scene.has_depth, scene.metric) == (
            1,
            None,
            False,
            False,
            False,
        )
        (view,) = scene.views
        assert view.image.shape == (768, 768, 3)
        assert view.instances is not None
        assert view.instances.shape == (768, 768)
        objects.append((scene.name[37:], int(view.instances.max()), len(np.unique(view.instances))))
    assert objects == [("KidsRoom-5300", 4, 5), ("LivingRoom-360", 6, 7), ("SecondBedroom-127961", 4, 5)]
    with pytest.raises(SceneError, match="holds 3 scenes"):
        open_scene(folder)
    assert open_scene(next(folder.glob("*_rgb.png"))).views[0].instances is not None
