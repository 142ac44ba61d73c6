"""The reader registry: choice of the reader, lists of scenes, and errors where nothing fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from dollhouse.errors import SceneError
from dollhouse.scenes.open import READERS, open_scene, open_scenes
from dollhouse.scenes.readers.reader import Reader
from dollhouse.scenes.readers.saved import save_scene
from dollhouse.scenes.scannet_writer import write_scannet
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.synthetic.room_scene import room_scene
from tests.scenes.fixture_scans import write_photo, write_scan
from tests.scenes.test_video import write_video


def test_each_kind_of_scene_finds_its_reader(tmp_path: Path) -> None:
    room = open_scene("rooms:test/3", frames=7)
    assert (room.name, len(room.views)) == ("rooms:test/3", 7)
    saved = save_scene(open_scene("rooms:test/4"), tmp_path / "saved")
    write_photo(saved / "view.png")  # scene.json has precedence over photos beside it
    assert open_scene(saved).name == "rooms:test/4"
    assert len(open_scene(saved, frames=2).views) == 2
    assert open_scene(write_scan(tmp_path / "scan")).posed
    photo = write_photo(tmp_path / "photos" / "1.jpg")
    assert len(open_scene(str(tmp_path / "photos")).views) == 1
    assert open_scene(photo).name == "1.jpg"
    write_photo(tmp_path / "colmap" / "images" / "1.jpg")
    assert open_scene(tmp_path / "colmap").name == "colmap"


def test_a_reader_needs_one_registry_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_folder(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
        return Scene(path.name, ())

    reader = Reader(
        "a folder with scan.toml",
        matches=lambda path: (path / "scan.toml").is_file(),
        open=open_folder,
        diagnose=lambda path: f"{path}: lacks scan.toml" if (path / "scan.txt").is_file() else None,
    )
    monkeypatch.setattr("dollhouse.scenes.open.READERS", (reader, *READERS))
    (tmp_path / "scan.txt").touch()
    with pytest.raises(SceneError, match=r"lacks scan\.toml"):
        open_scene(tmp_path)
    (tmp_path / "scan.toml").touch()
    assert open_scene(tmp_path).name == tmp_path.name


def test_ranges_of_rooms_are_opened_on_access() -> None:
    scenes = open_scenes("rooms:train/5-999999999999")
    assert len(scenes) == 999999999995
    assert scenes[0].name == "rooms:train/5"
    assert scenes[-1].name == "rooms:train/999999999999"
    assert [scene.name for scene in scenes[1:3]] == ["rooms:train/6", "rooms:train/7"]
    assert [scene.name for scene in open_scenes("rooms:test/4")] == ["rooms:test/4"]
    with pytest.raises(IndexError):
        _ = open_scenes("rooms:test/0-1")[2]


def test_a_folder_of_scenes_is_opened_in_natural_order(tmp_path: Path) -> None:
    for name in ("scene10", "scene9"):
        write_scan(tmp_path / name, frames=2)
    (tmp_path / "notes").mkdir()
    scenes = open_scenes(tmp_path, frames=1)
    assert [scene.name for scene in scenes] == ["scene9", "scene10"]
    assert len(scenes[0].views) == 1
    assert [scene.name for scene in open_scenes(tmp_path / "scene9")] == ["scene9"]


def test_what_is_no_scene_among_scenes_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_scan(tmp_path / "good", frames=2)
    write_photo(tmp_path / "phone" / "1.jpg")
    (tmp_path / "phone" / "1.jpg").rename(tmp_path / "phone" / "1.HEIC")
    write_video(tmp_path / "walk.mp4")
    for name in ("phone/a.txt", "empty/notes.txt", "split.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [scene.name for scene in open_scenes(tmp_path)] == ["good", "phone", "walk.mp4"]
    assert "3 scenes; not used: 1 folder (empty), 1 .txt file (split.txt)" in caplog.text
    with pytest.raises(SceneError, match=r"holds 3 \(good"):
        open_scene(tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "no such scene: nowhere"),
        ("", "no scene was given"),
        ("q" * 5000, "no such scene"),
        ("zero\0byte", "no such scene"),
        ("rooms:test", "write rooms:<split>/<number>"),
        ("rooms:test/x", "write rooms:<split>/<number>"),
        ("rooms:test/-1", "write rooms:<split>/<number>"),
        ("rooms:test/9-3", "ends before it starts"),
        ("homes:test", "write homes:<split>/<number>"),
    ],
)
def test_unknown_sources_are_refused(source: str, message: str) -> None:
    for opener in (open_scene, open_scenes):
        with pytest.raises(SceneError, match=message):
            opener(source)


def test_several_scenes_are_refused_where_one_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="names 3 rooms"):
        open_scene("rooms:test/1-3")
    write_photo(tmp_path / "kitchen" / "1.jpg")
    with pytest.raises(SceneError, match=r"holds 1 \(kitchen"):
        open_scene(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "the folder is empty"),
        (["notes.txt"], "holds no scene"),
        ([".hidden.jpg"], "the folder is empty"),
        (["IMG_1.DNG"], r"holds no scene, only 1 raw photo \(IMG_1\.DNG\)"),
        ([".IMG_1.HEIC.icloud"], "iCloud has not downloaded"),
        (["scene0000_00.sens"], r"scene0000_00\.sens: is cut short within its header"),
    ],
)
def test_folders_without_a_scene_are_refused(tmp_path: Path, files: list[str], message: str) -> None:
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(SceneError, match=message):
        open_scene(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"), [("a.sens", "is cut short"), ("a.dng", "is not a scene"), ("a.txt", "is not a scene")]
)
def test_other_files_are_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(SceneError, match=message):
        open_scene(tmp_path / name)
    with pytest.raises(SceneError, match=message):
        _ = open_scenes(tmp_path / name)[0]


def test_scans_of_all_kinds_in_a_folder_are_scenes_or_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_scan(tmp_path / "good", frames=2)
    write_scan(tmp_path / "broken", frames=2)
    (tmp_path / "broken" / "pose" / "0.txt").write_text("1 2 3")
    write_scannet(room_scene("train", 1, image_size=28, views=2), tmp_path / "stream", stream=True)
    (tmp_path / "stream" / "stream.sens").rename(tmp_path / "loose.sens")
    (tmp_path / "phone").mkdir()
    write_photo(tmp_path / "phone" / "1.jpg").rename(tmp_path / "phone" / "1.HEIC")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "1.dng").touch()
    scenes = open_scenes(tmp_path)
    assert [key.name for key in scenes.keys] == ["broken", "good", "loose.sens", "phone"]
    assert "4 scenes; not used: 2 folders (raw)" in caplog.text
    assert [len(scene.views) for scene in scenes[1:]] == [2, 2, 1]
    with pytest.raises(SceneError, match=r"broken/pose/0\.txt"):
        _ = scenes[0]
    (scene,) = open_scenes(tmp_path / "broken", skip_bad=True)
    assert len(scene.views) == 1
    assert len(scene.notices) == 1


def test_a_list_file_names_scans(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for folder in ("scans/scene0000_00", "splits/scene0001_00", "scans_test/scene0002_00", "splits/scans/scene0003_00"):
        write_scan(tmp_path / folder, frames=2)
    listed = tmp_path / "splits" / "scannetv2_train.txt"
    names = ["scene0003_00", "scene0001_00", "scene0000_00", "scene0002_00"]
    listed.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*names, "", names[0]]).encode())
    scenes = open_scenes(listed, frames=1)
    assert [scene.name for scene in scenes] == names
    assert len(scenes[0].views) == 1
    assert not caplog.records
    listed.write_text("\n".join([*names, "scene0800_00", "scene0801_00"]))
    assert len(open_scenes(listed)) == 4
    assert "4 scenes; 2 scans are missing (scene0800_00)" in caplog.text
    with pytest.raises(SceneError, match=r"is not a scene but holds 4 \(scene0003_00"):
        open_scene(listed)
    listed.write_text("scene0800_00\nscene0801_00\n")
    with pytest.raises(SceneError, match=r"none of the 2 scans that it lists is there \(scene0800_00\)"):
        open_scenes(listed)


@pytest.mark.parametrize(
    "text", ["../scans/scene0000_00", "/etc/passwd", "some notes on scans", "C:x", "\n\n", "q" * 300]
)
def test_other_text_files_are_no_lists(tmp_path: Path, text: str) -> None:
    write_scan(tmp_path / "scans" / "scene0000_00", frames=2)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "a.txt").write_text(text)
    with pytest.raises(SceneError, match="is not a scene"):
        open_scenes(tmp_path / "lists" / "a.txt")
    (tmp_path / "lists" / "a.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SceneError, match="cannot be read as text"):
        open_scenes(tmp_path / "lists" / "a.txt")


def test_no_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="0 frames"):
        open_scene(tmp_path, frames=0)


def test_the_example_comes_with_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [view.name for view in open_scene("example").views] == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    (tmp_path / "example").mkdir()
    with pytest.raises(SceneError):  # a path of the user's comes first
        open_scene("example")
