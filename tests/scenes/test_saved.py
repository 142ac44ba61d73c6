"""Saved scenes: round trips, and errors for damaged folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dollhouse.errors import SceneError, StorageError
from dollhouse.scenes.readers.saved import open_saved, save_scene
from dollhouse.scenes.scene import Scene, View
from dollhouse.scenes.synthetic.room_scene import room_scene

ROOM = room_scene("validation", 5, image_size=42, views=2)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_scene(ROOM, tmp_path / "rooms" / "five")


def test_a_room_survives_saving(saved: Path) -> None:
    scene = open_saved(saved)
    assert (scene.name, scene.metric, scene.metadata) == (ROOM.name, True, ROOM.metadata)
    for new, old in zip(scene.boxes, ROOM.boxes, strict=True):
        assert (new.id, new.label, new.colour, new.has_front, new.yaw) == (
            old.id,
            old.label,
            old.colour,
            old.has_front,
            old.yaw,
        )
        assert np.array_equal(new.center, old.center)
        assert np.array_equal(new.size, old.size)
    for new, old in zip(scene.views, ROOM.views, strict=True):
        assert new.name == old.name
        assert np.array_equal(new.intrinsics, old.intrinsics)
        assert np.array_equal(new.world_from_camera, old.world_from_camera)
        assert np.array_equal(new.image, old.image)
        assert np.array_equal(new.instances, old.instances)
        assert new.instances.dtype == np.int32
        assert new.depth.dtype == np.float32
        np.testing.assert_allclose(new.depth, old.depth, atol=0.00051)


def test_plain_photos_can_be_saved(tmp_path: Path) -> None:
    photo = View("a photo", lambda: np.full((20, 30, 3), 7, dtype=np.uint8))
    scene = open_saved(save_scene(Scene("photos", (photo,), None, metric=False), tmp_path / "photos"))
    view = scene.views[0]
    assert scene.boxes is None
    assert not scene.metric
    assert not scene.posed
    assert view.depth is None
    assert view.instances is None
    assert view.intrinsics is None
    assert (view.image == 7).all()


def test_depth_that_16_bits_cannot_hold_is_unknown(tmp_path: Path) -> None:
    depth = np.full((20, 20), 2.0, dtype=np.float32)
    depth[0, :4] = np.nan, np.inf, 70.0, -1.0
    view = View("v", lambda: np.zeros((20, 20, 3), dtype=np.uint8), open_depth=lambda: depth)
    back = open_saved(save_scene(Scene("s", (view,)), tmp_path / "s")).views[0].depth
    assert (back[0, :4] == 0).all()
    assert back[0, 4] == 2.0


def test_existing_folders_are_not_overwritten(saved: Path) -> None:
    with pytest.raises(SceneError, match="exists already"):
        save_scene(ROOM, saved)


def test_a_scene_that_fails_halfway_leaves_nothing(tmp_path: Path) -> None:
    def full() -> Any:
        raise OSError(28, "No space left on device")

    broken = replace(ROOM, views=(ROOM.views[0], replace(ROOM.views[1], open_image=full)))
    with pytest.raises(StorageError, match="No space left on device"):
        save_scene(broken, tmp_path / "room")
    assert list(tmp_path.iterdir()) == []


def test_metadata_must_be_json(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="cannot be saved"):
        save_scene(replace(ROOM, metadata={"floor": object()}), tmp_path / "room")
    assert list(tmp_path.iterdir()) == []


def _edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "scene.json"
        entry = json.loads(path.read_text())
        change(entry)
        path.write_text(json.dumps(entry))

    return damage


def _resized(sort: str) -> Callable[[Path], None]:
    return lambda folder: Image.fromarray(np.ones((20, 20), dtype=np.uint16)).save(folder / sort / "0000.png")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "scene.json").unlink(), "cannot be read"),
        (lambda folder: (folder / "scene.json").write_text('{"views": ['), "is not JSON"),
        (lambda folder: (folder / "scene.json").write_bytes(b"\xff\xfe\x00"), "is not JSON"),
        (_edit(lambda entry: entry.update(format="other 2")), "format"),
        (_edit(lambda entry: entry.update(views=[])), "views"),
        (_edit(lambda entry: entry.update(extra=1)), "extra"),
        (_edit(lambda entry: entry["boxes"][0].update(size=[1, 0, 1])), r"boxes\.0\.size\.1"),
        (_edit(lambda entry: entry["boxes"][0].update(yaw=float("nan"))), "boxes"),
        (_edit(lambda entry: entry["boxes"][1].update(id=1)), "same id"),
        (_edit(lambda entry: entry["views"][0]["world_from_camera"][0].__setitem__(0, 3.0)), "view 0"),
        (_edit(lambda entry: entry["views"][0]["intrinsics"][0].__setitem__(0, -1.0)), "intrinsics"),
        (lambda folder: (folder / "images" / "0001.png").unlink(), "0001.png"),
        (lambda folder: (folder / "depth" / "0001.png").write_bytes(b"nonsense"), "0001.png"),
        (_resized("depth"), "differs in size"),
        (_resized("instances"), "differs in size"),
    ],
)
def test_a_damaged_folder_is_refused(saved: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(saved)
    with pytest.raises(SceneError, match=message):
        open_saved(saved)
