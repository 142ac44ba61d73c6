"""Finding the reader that fits, and saying plainly when none does."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from made_scans import make_scan, write_photo

from dollhouse.errors import SceneError
from dollhouse.scenes.open import open_scene, open_scenes
from dollhouse.scenes.scene import Scene, View


@pytest.fixture
def _made_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for the generator and the saved rooms, which have tests of their own."""

    def room_scene(split: str, number: int, *, image_size: int = 126, views: int = 4) -> Scene:
        return Scene(f"{split}/{number}", blank_views(views))

    def open_saved(folder: Path) -> Scene:
        return Scene(f"saved {folder.name}", blank_views(4))

    for name, function in (("rooms", room_scene), ("saved", open_saved)):
        module = ModuleType(f"dollhouse.scenes.{name}")
        setattr(module, function.__name__, function)
        monkeypatch.setitem(sys.modules, module.__name__, module)


def blank_views(count: int) -> tuple[View, ...]:
    return tuple(View(str(i), lambda: np.zeros((14, 14, 3), np.uint8)) for i in range(count))


@pytest.mark.usefixtures("_made_rooms")
def test_each_kind_of_scene_finds_its_reader(tmp_path: Path) -> None:
    assert open_scene("rooms:test/3").name == "test/3"
    assert len(open_scene("rooms:test/3", frames=7).views) == 7
    saved = tmp_path / "saved"
    write_photo(saved / "view.png")
    (saved / "scene.json").write_text("{}")
    assert open_scene(saved).name == "saved saved"
    assert len(open_scene(saved, frames=2).views) == 2
    assert open_scene(make_scan(tmp_path / "scan")).posed
    photo = write_photo(tmp_path / "photos" / "1.jpg")
    assert len(open_scene(str(tmp_path / "photos")).views) == 1
    assert open_scene(photo).name == "1.jpg"
    write_photo(tmp_path / "colmap" / "images" / "1.jpg")
    assert open_scene(tmp_path / "colmap").name == "colmap"


@pytest.mark.usefixtures("_made_rooms")
def test_ranges_of_rooms_are_opened_when_looked_at() -> None:
    scenes = open_scenes("rooms:train/5-999999999999")
    assert len(scenes) == 999999999995
    assert scenes[0].name == "train/5"
    assert scenes[-1].name == "train/999999999999"
    assert [scene.name for scene in scenes[1:3]] == ["train/6", "train/7"]
    assert [scene.name for scene in open_scenes("rooms:test/4")] == ["test/4"]
    with pytest.raises(IndexError):
        _ = open_scenes("rooms:test/0-1")[2]


def test_a_folder_of_scenes_is_opened_in_natural_order(tmp_path: Path) -> None:
    for name in ("scene10", "scene9"):
        make_scan(tmp_path / name, frames=2)
    (tmp_path / "notes").mkdir()
    scenes = open_scenes(tmp_path, frames=1)
    assert [scene.name for scene in scenes] == ["scene9", "scene10"]
    assert len(scenes[0].views) == 1
    assert [scene.name for scene in open_scenes(tmp_path / "scene9")] == ["scene9"]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("nowhere", "no such scene: nowhere"),
        ("q" * 5000, "no such scene"),
        ("zero\0byte", "no such scene"),
        ("rooms:test", "write rooms:<split>/<number>"),
        ("rooms:test/x", "write rooms:<split>/<number>"),
        ("rooms:test/-1", "write rooms:<split>/<number>"),
        ("rooms:test/9-3", "ends before it starts"),
        ("sweethome:test", "write sweethome:<split>/<number>"),
    ],
)
def test_sources_that_name_nothing_are_refused(source: str, complaint: str) -> None:
    for opener in (open_scene, open_scenes):
        with pytest.raises(SceneError, match=complaint):
            opener(source)


def test_several_scenes_are_not_one(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="names 3 rooms"):
        open_scene("rooms:test/1-3")
    write_photo(tmp_path / "kitchen" / "1.jpg")
    with pytest.raises(SceneError, match=r"holds 1 \(kitchen"):
        open_scene(tmp_path)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ([], "the folder is empty"),
        (["notes.txt"], "holds no scene"),
        ([".hidden.jpg"], "the folder is empty"),
        (["IMG_1.HEIC"], r"\.heic photos are not read; save them as JPEG"),
        (["scene0000_00.sens"], r"holds a \.sens stream"),
    ],
)
def test_folders_without_a_scene_are_refused(tmp_path: Path, files: list[str], complaint: str) -> None:
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(SceneError, match=complaint):
        open_scene(tmp_path)


@pytest.mark.parametrize(
    ("name", "complaint"), [("a.sens", "SensReader"), ("a.heic", "save them as JPEG"), ("a.txt", "is not a scene")]
)
def test_files_that_are_no_scene_are_refused(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / name).touch()
    for opener in (open_scene, open_scenes):
        with pytest.raises(SceneError, match=complaint):
            opener(tmp_path / name)


def test_no_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="0 frames"):
        open_scene(tmp_path, frames=0)
