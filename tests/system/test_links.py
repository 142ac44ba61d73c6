"""Links of a scene's or records' folder that lead out of it are refused, unless the user asks for them."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from dollhouse.errors import SceneError, StorageError
from dollhouse.records.partial_answers import PartialAnswers
from dollhouse.records.store import RecordStore
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.open import open_scene, open_scenes
from dollhouse.system.links import refuse_links
from tests.cli.command import photos
from tests.records.record_fixtures import write_records
from tests.scenes.fixture_captures import write_capture


@pytest.fixture
def private(tmp_path: Path) -> Path:
    return photos(tmp_path / "private", 1)


@pytest.mark.parametrize("place", ["scene/9.jpg", "scene/images"])
def test_links_out_of_a_scene(place: str, private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = photos(tmp_path / "scene", 1)
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).symlink_to(private / "0.jpg" if place.endswith(".jpg") else private)
    with pytest.raises(SceneError, match="DOLLHOUSE_FOLLOW_LINKS=1") as caught:
        open_scene(scene)
    assert str(private) in str(caught.value)
    monkeypatch.setenv("DOLLHOUSE_FOLLOW_LINKS", "1")
    assert len(open_scene(scene).views) == (2 if place == "scene/9.jpg" else 1)


def test_links_that_no_reader_follows(private: Path, tmp_path: Path) -> None:
    scene = photos(tmp_path / "scene", 1)
    (scene / "images").mkdir()
    (scene / "images" / "9.jpg").symlink_to(private / "0.jpg")
    assert len(open_scene(scene).views) == 1  # photos beside a folder: nothing in it is read
    (scene / "0.jpg").unlink()
    with pytest.raises(SceneError, match="out of its folder"):
        open_scene(scene)


def test_links_that_vanish_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "exe").symlink_to("gone")

    def read(path: str, **_: object) -> str:
        raise FileNotFoundError(path)  # as of a process in /proc that has ended

    monkeypatch.setattr(os, "readlink", read)
    refuse_links(tmp_path, SceneError, 1)


def test_links_inside_a_scene_and_to_it_are_followed(tmp_path: Path) -> None:
    scene = photos(tmp_path / "scene", 1)
    (scene / "9.jpg").symlink_to("0.jpg")
    (scene / "loop").symlink_to(".")
    (tmp_path / "link").symlink_to(scene)
    assert len(open_scene(tmp_path / "link").views) == 2


def test_links_out_of_a_folder_of_scenes(private: Path, tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "kitchen").symlink_to(private)
    with pytest.raises(SceneError, match="out of its folder"):
        open_scenes(tmp_path / "scenes")


@pytest.mark.parametrize("name", ["../../private/0.jpg", "{private}/0.jpg"], ids=["relative", "absolute"])
@pytest.mark.parametrize(
    ("layout", "file", "pattern"),
    [
        ("nerfstudio", "transforms.json", r"images\\\\0"),
        ("nerfstudio", "transforms.json", r"depth/0\.png"),
        ("colmap_text", "images.txt", r"a b 0\.jpg"),
        ("tum", "rgb.txt", r"rgb/\S+"),
        ("tum", "depth.txt", r"depth/\S+"),
    ],
)
def test_names_in_files_that_lead_out_of_a_scene(
    layout: str, file: str, pattern: str, name: str, private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = write_capture(layout, tmp_path / "captures" / "capture")
    path = next(capture.rglob(file))
    text, count = re.subn(pattern, name.format(private=private), path.read_text(), count=1)
    assert count
    path.write_text(text)
    try:
        skipped = open_scene(capture).metadata["skipped"]
    except SceneError as error:
        skipped = (str(error),)
    assert any("leads out of" in fault and "DOLLHOUSE_FOLLOW_LINKS=1" in fault for fault in skipped)
    monkeypatch.setenv("DOLLHOUSE_FOLLOW_LINKS", "1")
    assert not any("leads out of" in fault for fault in open_scene(capture).metadata["skipped"])


@pytest.mark.parametrize("place", ["", "answers.parquet"])
def test_links_out_of_records(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (record,) = write_records(tmp_path / "private")
    (linked,) = write_records(tmp_path / "records")
    assert linked.id == record.id
    here, there = (tmp_path / folder / record.id / place for folder in ("records", "private"))
    here.rename(tmp_path / "moved")
    here.symlink_to(there)
    with pytest.raises(StorageError, match="DOLLHOUSE_FOLLOW_LINKS=1"):
        RecordStore(tmp_path / "records").read(record.id)
    monkeypatch.setenv("DOLLHOUSE_FOLLOW_LINKS", "1")
    assert RecordStore(tmp_path / "records").read(record.id).id == record.id


def test_answers_are_not_appended_to_the_target_of_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    partial = PartialAnswers(tmp_path)
    (tmp_path / ".parts").mkdir()
    (tmp_path / ".parts" / "id.jsonl").symlink_to(victim)
    with pytest.raises(StorageError, match="link"):
        partial.add("id", 0, TeacherAnswer("theirs"))
    assert victim.read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
@pytest.mark.parametrize("name", ["9.jpg", "clip.mov", "scan.r3d", "scan.zip", "scene.json", "transforms.json"])
def test_pipes_do_not_hang(name: str, tmp_path: Path) -> None:
    scene = photos(tmp_path / "scene", 1)
    os.mkfifo(scene / name)
    started = time.monotonic()
    assert len(open_scene(scene, skip_bad=True).views) == 1
    with pytest.raises(SceneError):
        open_scene(scene / name)
    assert time.monotonic() - started < 20
