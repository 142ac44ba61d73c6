"""The index of a data set: the same serial and parallel, after a kill, and for changed files; no image is opened."""

from __future__ import annotations

import io
import pickle
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dollhouse.errors import SceneError, StorageError
from dollhouse.questions import scene_index
from dollhouse.questions.answer_balance import AnswerBalance, SceneAnswers
from dollhouse.questions.generate import generate_questions
from dollhouse.questions.indexed_scan import IndexedScan
from dollhouse.questions.scene_index import ANSWER_SAMPLES, IndexedScenes, SceneIndex, fingerprint, index_scenes
from dollhouse.scenes import images
from dollhouse.scenes.corrections import Corrections
from dollhouse.scenes.open import SceneList, open_scene, open_scenes
from dollhouse.scenes.readers.saved import save_scene
from dollhouse.scenes.scannet_writer import write_scannet
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.synthetic.room_scene import room_scene
from dollhouse.scenes.view_sampling import choose_views, measure_views
from tests.fixtures.scans import write_rooms_as_scans

VIEWS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rooms_as_scans(tmp_path_factory.mktemp("data") / "scans", scans=4, frames=10)


def rows(cache: Path) -> dict[str, bytes]:
    (file,) = cache.glob("*.sqlite")
    stored = sqlite3.connect(file).execute("SELECT key, content FROM rows").fetchall()
    return {key: content[:-38] for key, content in stored}  # without the digests


@pytest.fixture(scope="module")
def serial(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[SceneIndex, dict[str, bytes]]:
    cache = tmp_path_factory.mktemp("serial")
    index = SceneIndex(open_scenes(folder), VIEWS, cache, workers=1, progress=False)
    return index, rows(cache)


def assert_same_scene(scene: Scene, expected: Scene) -> None:
    assert (scene.name, scene.metric) == (expected.name, expected.metric)
    assert [repr(box) for box in scene.boxes or ()] == [repr(box) for box in expected.boxes or ()]
    for view, other in zip(scene.views, expected.views, strict=True):
        assert view.name == other.name
        for name in ("image", "depth", "instances", "intrinsics", "depth_intrinsics", "world_from_camera"):
            np.testing.assert_array_equal(getattr(view, name), getattr(other, name), err_msg=name)


def test_processes_give_the_rows_of_one(folder: Path, serial: Any, tmp_path: Path) -> None:
    SceneIndex(open_scenes(folder), VIEWS, tmp_path, workers=2, progress=False)
    assert rows(tmp_path) == serial[1]


def test_a_killed_build_continues_with_the_scans_that_are_missing(
    folder: Path, serial: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, measured = scene_index._measure, []

    def killed(*job: Any) -> Any:
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(job)
        return measure(*job)

    monkeypatch.setattr(scene_index, "_measure", killed)
    with pytest.raises(KeyboardInterrupt):
        SceneIndex(open_scenes(folder), VIEWS, tmp_path, workers=1, progress=False)
    assert len(rows(tmp_path)) == 4, "two scans with two rows each"
    measured.clear()
    monkeypatch.setattr(scene_index, "_measure", lambda *job: measured.append(job) or measure(*job))
    index = SceneIndex(open_scenes(folder), VIEWS, tmp_path, workers=1, progress=False)
    assert len(measured) == 2
    assert rows(tmp_path) == serial[1]
    assert [*index.balance.counts.items()] == [*serial[0].balance.counts.items()]


def test_a_scan_whose_files_change_is_measured_again(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "scans")
    scans = open_scenes(tmp_path / "scans")
    before = SceneIndex(scans, VIEWS, tmp_path / "cache", workers=1, progress=False)
    shutil.copy(folder / "scene0000_00/depth/1.png", tmp_path / "scans/scene0002_00/depth/3.png")
    after = SceneIndex(scans, VIEWS, tmp_path / "cache", workers=1, progress=False)
    changed = [a != b for a, b in zip(before.fingerprints, after.fingerprints, strict=True)]
    assert changed == [False, False, True, False]
    assert after.scan(2).graph.overlap.tolist() != before.scan(2).graph.overlap.tolist()


def test_links_to_nothing_and_loops_do_no_harm(tmp_path: Path) -> None:
    scan = tmp_path / "scan"
    scan.mkdir()
    bare = fingerprint(scan, [])
    (scan / "gone.jpg").symlink_to("nowhere")
    (scan / "loop").symlink_to(".")
    assert fingerprint(scan, []) != bare
    assert fingerprint(scan, []) == fingerprint(scan, [])


def test_a_scan_from_the_index_is_the_scan_itself(folder: Path, serial: Any) -> None:
    scans, (index, _) = open_scenes(folder), serial
    for number in (0, 3):
        assert_same_scene(index.scan(number).scene, scans[number])
        graph, expected = index.scan(number).graph, measure_views(scans[number])
        for name, value in vars(expected).items():
            np.testing.assert_array_equal(getattr(graph, name), value, err_msg=name)
        assert index.scan(number).pose_check["agrees"]
        assert index.scan(number).scene.metadata["pose_check"] == index.scan(number).pose_check


def test_sampling_from_the_index_opens_no_file(
    folder: Path, serial: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    index = SceneIndex(open_scenes(folder), VIEWS, tmp_path, workers=1, progress=False)
    opened = []
    original = images.open_photo
    monkeypatch.setattr(images, "open_photo", lambda path, *rest: opened.append(path) or original(path, *rest))
    scene = IndexedScenes(index, VIEWS)[1]
    assert not opened
    for view in scene.views:
        assert view.image.shape == (84, 84, 3)
    assert [path.stem for path in opened] == [view.name for view in scene.views]


def test_balance_is_that_of_the_samples(folder: Path, serial: Any) -> None:
    scans, (index, _) = open_scenes(folder), serial
    answers = []
    for scene in scans:
        graph = measure_views(scene)
        for draw in (None, *range(ANSWER_SAMPLES - 1)):
            views = [scene.views[graph.frames[place]] for place in choose_views(graph, VIEWS, draw=draw)]
            answers.append(SceneAnswers.count(Scene(scene.name, tuple(views), scene.boxes)))
    expected = AnswerBalance.of_data_set(answers, len(scans))
    assert index.balance.by_kind
    assert [*index.balance.counts.items()] == [*expected.counts.items()]


def test_the_number_of_questions_is_printed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = SceneIndex(open_scenes(folder), VIEWS, tmp_path, workers=1)
    scenes = IndexedScenes(index, VIEWS)
    asked = [generate_questions(scene, balance=index.balance) for scene in scenes]
    _, found, scans = index._read_balance()
    assert scans == 4
    assert found.total() == pytest.approx(sum(map(len, asked)), rel=0.25)
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith(f"questions: {found.total():,} in 4 scans: ")
    assert f"orientation {found['orientation']:,}" in line
    assert line.endswith("answers balanced by kind of question")


def test_held_out_views_are_sampled_alone(serial: Any) -> None:
    index, _ = serial
    numbers = {int(view.name) for scene in IndexedScenes(index, 2, hold_out_every=3) for view in scene.views}
    assert numbers <= {2, 5, 8}
    assert all(len(scene.views) == 3 for scene in IndexedScenes(index, None, hold_out_every=3))


def test_a_broken_scan_is_an_error_only_where_it_is_used(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "scans")
    (tmp_path / "scans/scene0001_00/pose/0.txt").write_text("1 2 3")
    index = SceneIndex(open_scenes(tmp_path / "scans"), VIEWS, tmp_path / "cache", workers=1, progress=False)
    assert index.scan(0).scene.name == "scene0000_00"
    with pytest.raises(SceneError, match=r"pose/0\.txt"):
        index.scan(1)
    assert index.balance.counts


def unknown_reader(path: Path) -> Scene:
    """Open a saved scene with openers that cannot be encoded."""
    scene = open_scenes(path)[0]
    views = tuple(replace(view, open_image=lambda view=view: view.image) for view in scene.views)
    return replace(scene, views=views)


def test_images_that_the_index_cannot_open_are_opened_by_the_reader(tmp_path: Path) -> None:
    save_scene(room_scene("train", 1, views=5, image_size=28), tmp_path / "kitchen")
    scenes = SceneList([tmp_path / "kitchen"], unknown_reader)
    index = index_scenes(scenes, VIEWS, tmp_path / "cache", progress=False)
    assert_same_scene(index.scan(0).scene, scenes[0])


def never(*_: Any) -> Scene:
    raise AssertionError("the scan was opened")


@pytest.mark.parametrize("corrections", [Corrections(), Corrections(depth_scale=2.0)])
@pytest.mark.parametrize("stream", [False, True])
def test_no_reader_opens_a_scan_again(stream: bool, corrections: Corrections, tmp_path: Path) -> None:
    write_scannet(room_scene("train", 1, views=3, image_size=28), tmp_path / "scan", stream=stream)
    scene = open_scene(tmp_path / "scan", corrections=corrections)
    content = IndexedScan(scene, None, None).to_bytes(tmp_path / "scan")
    moved = tmp_path / "moved" / "scan"
    moved.parent.mkdir()
    (tmp_path / "scan").rename(moved)
    restored = IndexedScan.from_bytes(content, moved, never).scene
    assert_same_scene(restored, open_scene(moved, corrections=corrections))


def test_an_index_names_functions_of_the_readers_only(folder: Path, serial: Any) -> None:
    content = _with_function(serial[1][serial[0].fingerprints[0]], "os:system")
    view = IndexedScan.from_bytes(content, folder / "scene0000_00", never).scene.views[0]
    with pytest.raises(SceneError, match="os:system opens no images"):
        _ = view.image


def _with_function(content: bytes, function: str) -> bytes:
    with np.load(io.BytesIO(content)) as file:
        arrays = {name: file[name] for name in file.files}
    text = arrays["header"].tobytes().replace(b"dollhouse.scenes.images:read_image", function.encode())
    np.savez_compressed(buffer := io.BytesIO(), **arrays | {"header": np.frombuffer(text, np.uint8)})
    return buffer.getvalue()


def test_rooms_and_scenes_in_memory_are_not_indexed() -> None:
    assert index_scenes(open_scenes("rooms:train/0-3")) is None
    assert index_scenes([room_scene("train", 0)]) is None


def test_a_file_that_is_no_index_is_named(folder: Path, serial: Any, tmp_path: Path) -> None:
    name = serial[0]._file.path.name
    (tmp_path / name).write_bytes(b"no database" * 100)
    with pytest.raises(StorageError, match=rf"{name}.*delete it"):
        SceneIndex(open_scenes(folder), VIEWS, tmp_path, progress=False)


def test_memory_holds_a_few_scans(folder: Path, serial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    index, _ = serial
    monkeypatch.setattr(scene_index, "_OPEN_SCANS", 2)
    index._recent.clear()

    def numbers() -> Iterator[int]:
        for number in (0, 1, 2, 1, 3, 1):
            index.scan(number)
            yield len(index._recent)

    assert max(numbers()) == 2
    assert list(index._recent) == [3, 1]


def test_spaced_samples_are_those_of_scenes_without_depth(serial: Any) -> None:
    scan = serial[0].scan(0)
    bare = IndexedScan(scan.scene, None, None)
    assert bare.sample(4) == scan.sample(4, by_overlap=False) == [0, 3, 6, 9]
    drawn = bare.sample(4, draw=1)
    assert len(set(drawn)) == 4
    assert drawn == sorted(drawn)
    assert bare.sample(4, allowed=[2, 4]) == [2, 4]


def test_an_index_can_be_sent_to_another_process(folder: Path, serial: Any) -> None:
    index, _ = serial
    index.scan(0)
    copy = pickle.loads(pickle.dumps(index))
    assert_same_scene(copy.scan(1).scene, index.scan(1).scene)


def test_a_room_of_a_house_has_the_fingerprint_of_its_house(tmp_path: Path) -> None:
    house = tmp_path / "house.json"
    house.write_text("{}")
    rooms = [tmp_path / f"house.json#{name}" for name in ("Bedroom-1", "LivingRoom-2")]
    before = [fingerprint(room, ()) for room in rooms]
    assert before[0] != before[1]
    assert before == [fingerprint(room, ()) for room in rooms]
    house.write_text('{"uid": "another"}')
    assert not set(before) & {fingerprint(room, ()) for room in rooms}
