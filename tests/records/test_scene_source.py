"""Records find their scenes by content, wherever records and scenes lie now, and train the same batches."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dollhouse.data.config import DataConfig, SamplingConfig
from dollhouse.data.dataset import StepDataset
from dollhouse.data.record_dataset import RecordTargetSource, open_target_source
from dollhouse.errors import RecipeError, SceneError
from dollhouse.models.dollhouse.serialization import load_student
from dollhouse.models.tensors import Tensors
from dollhouse.records.store import RecordStore
from dollhouse.records.writer import merge_records
from dollhouse.scenes.open import open_scenes
from dollhouse.scenes.readers.saved import save_scene
from dollhouse.teachers.annotate import annotate
from dollhouse.training.train import distill
from tests.fixtures.recipes import tiny_recipe
from tests.fixtures.terminal import on_ascii_terminal
from tests.records.small_scenes import small_scene
from tests.scenes.fixture_front3d import write_house

QUESTIONS = '{"question": "What is this?", "answer": "a room"}\n{"question": "Is it large?", "answer": "yes"}\n'


@pytest.fixture(scope="module")
def student() -> tuple[Any, Any]:
    model, processor, _ = load_student(None)
    return model.config, processor.tokenizer


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scans and their records, named by relative paths, in two shards and in one folder."""
    folder = tmp_path / "project"
    for number, name in enumerate(("kitchen", "hall", "rooms")):
        save_scene(replace(small_scene(number, size=126), name=name), folder / "scans" / name)
    (folder / "scans" / "study").mkdir()
    for view in small_scene(3, size=126).views:  # plain photos, whose scene has the folder's name
        Image.fromarray(view.image).save(folder / "scans" / "study" / f"{view.name}.png")
    (folder / "questions.jsonl").write_text(QUESTIONS)
    monkeypatch.chdir(folder)
    for out, scenes in (("records", "scans"), ("shard0", "scans/kitchen"), ("shard0", "scans/hall")):
        annotate("file:questions.jsonl", scenes, out)
    for scenes in ("scans/rooms", "./scans/../scans/study"):
        annotate("file:questions.jsonl", scenes, "shard1")
    return folder


def batches(student: tuple[Any, Any], **data: Any) -> list[Any]:
    config, tokenizer = student
    source = open_target_source(DataConfig(views=2, questions_per_scene=2, **data), config)
    dataset = StepDataset(source, SamplingConfig(2, 2, 2, with_mentions=True), 0, tokenizer, config)
    return [dataset[0], dataset[1], len(source)]


def assert_equal(value: Any, other: Any) -> None:
    assert type(value) is type(other)
    if isinstance(value, torch.Tensor):
        np.testing.assert_array_equal(value.numpy(), other.numpy())
    elif isinstance(value, Tensors):
        assert_equal(vars(value), vars(other))
    elif isinstance(value, Mapping):
        assert value.keys() == other.keys()
        for name in value:
            assert_equal(value[name], other[name])
    elif isinstance(value, list | tuple):
        assert len(value) == len(other)
        for part, other_part in zip(value, other, strict=True):
            assert_equal(part, other_part)
    else:
        assert value == other


def test_same_batches_wherever_records_and_scenes_lie(
    project: Path, student: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = batches(student, records=Path("records"))
    assert expected[2] == 4
    monkeypatch.chdir(tmp_path)
    assert_equal(batches(student, records=project / "records"), expected)  # from another folder
    merge_records([project / "shard1", project / "shard0"], tmp_path / "merged")
    assert_equal(batches(student, records=tmp_path / "merged"), expected)
    project.rename(tmp_path / "moved")  # both together
    moved = tmp_path / "moved"
    assert_equal(batches(student, records=Path("moved/records")), expected)
    shutil.copytree(moved / "scans", tmp_path / "elsewhere" / "deep" / "data")
    shutil.rmtree(moved / "scans")
    with pytest.raises(SceneError, match=r"scans/\w+: .*not there any more; give its folder now as data.scenes=FOLDER"):
        batches(student, records=moved / "records")
    new = tmp_path / "elsewhere" / "deep" / "data"
    assert_equal(batches(student, records=moved / "records", scenes=str(new)), expected)
    assert_equal(batches(student, records=moved / "records", scenes="elsewhere/deep/data"), expected)
    (moved / "records").rename(tmp_path / "recs")
    for name in ("kitchen", "hall", "study"):  # renamed: found by a photo
        (new / name).rename(new / f"scan of {name}")
    (new / "hall").mkdir()
    assert_equal(batches(student, records=tmp_path / "recs", scenes=str(new)), expected)
    merge_records([moved / "shard0", moved / "shard1"], tmp_path / "merged again")
    assert_equal(batches(student, records=tmp_path / "merged again", scenes=str(new)), expected)


@pytest.mark.slow
def test_same_weights_wherever_records_and_scenes_lie(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made on one path; then moved, renamed and merged from two shards: every byte of the weights is equal."""

    def weights(out: str, **data: str) -> bytes:
        recipe = tiny_recipe(data={"views": 2, "questions_per_scene": 2, "workers": 0, **data})
        return (distill(recipe, tmp_path / out, progress=False) / "model.safetensors").read_bytes()

    expected = weights("run", records="records")
    monkeypatch.chdir(tmp_path)
    project.rename(tmp_path / "moved")
    assert weights("run of moved", records="moved/records") == expected
    for name in ("kitchen", "study"):
        (tmp_path / "moved" / "scans" / name).rename(tmp_path / "moved" / "scans" / f"scan of {name}")
    (tmp_path / "moved" / "scans").rename(tmp_path / "renamed")
    merge_records([tmp_path / "moved" / "shard1", tmp_path / "moved" / "shard0"], tmp_path / "merged")
    (tmp_path / "moved" / "shard0").rename(tmp_path / "shard")
    shutil.rmtree(tmp_path / "moved")
    assert weights("run of merged", records="merged", scenes="renamed") == expected
    assert weights("run of one shard", records="shard", scenes="renamed") != expected


def test_photos_distinguish_scenes_of_equal_names(project: Path, student: tuple[Any, Any], tmp_path: Path) -> None:
    other = tmp_path / "second" / "kitchen"
    save_scene(replace(small_scene(9, size=126), name="kitchen"), other)
    annotate("file:questions.jsonl", str(other), "records")
    expected = batches(student, records=project / "records")
    assert expected[2] == 5
    together = tmp_path / "together"
    shutil.copytree(project / "scans", together)
    (together / "kitchen").rename(together / "kitchen 1")
    other.rename(together / "kitchen")
    shutil.rmtree(project / "scans")
    assert_equal(batches(student, records=project / "records", scenes=str(together)), expected)


def test_other_scenes_are_left_out(project: Path, student: tuple[Any, Any], tmp_path: Path) -> None:
    assert batches(student, records=Path("records"), scenes="scans/hall")[2] == 1
    save_scene(small_scene(8, size=126), tmp_path / "strange")
    with pytest.raises(RecipeError, match=r"holds no records of .*strange"):
        batches(student, records=Path("records"), scenes=str(tmp_path / "strange"))
    shutil.rmtree("scans/hall")
    save_scene(replace(small_scene(8, size=126), name="hall"), Path("scans/hall"))
    with pytest.raises(SceneError, match="hall has changed since record"):
        batches(student, records=Path("records"))


def test_folders_whose_names_are_no_text(
    project: Path, student: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Latin-1 name, an emoji code and markup: stored, printed on any terminal, and found again."""
    folder = tmp_path / "scans" / os.fsdecode(b"caf\xe9 [b] :train: $x$")
    folder.mkdir(parents=True)
    for view in small_scene(3, size=126).views:
        Image.fromarray(view.image).save(folder / f"{view.name}.png")
    teacher = ("--teacher", "file:questions.jsonl")
    on_ascii_terminal(monkeypatch, "annotate", *teacher, "--scenes", str(folder), "--out", "latin")
    (id,) = RecordStore("latin").ids()
    assert rb"caf\xe9 [b] :train: $x$" in on_ascii_terminal(monkeypatch, "records", "show", "latin")
    assert b"a room" in on_ascii_terminal(monkeypatch, "records", "show", "latin", id)
    assert batches(student, records=Path("latin"), scenes=str(folder.parent))[2] == 1
    assert batches(student, records=Path("latin"), scenes=str(folder))[2] == 1


def test_sources_are_absolute_and_caches_move(project: Path, student: tuple[Any, Any], tmp_path: Path) -> None:
    assert all(os.path.isabs(record.source) for record in RecordStore("records"))
    source = open_target_source(DataConfig(records=Path("records"), cache=tmp_path / "cache"), student[0])
    other = open_target_source(
        DataConfig(records=Path("records"), scenes=str(project / "scans"), cache=tmp_path / "cache"), student[0]
    )
    assert isinstance(source, RecordTargetSource)
    described = source.describe_records()
    ids = RecordStore("records").ids()
    assert (described["n"], described["sha256"]) == (len(ids), sha256("\n".join(ids).encode()).hexdigest())
    assert len(described["teachers"]) == 1
    assert source.cache is not None
    assert other.cache is not None
    assert source.cache.folder == other.cache.folder
    assert len(open_scenes("scans/rooms")) == 1


def test_older_records_with_relative_sources(
    project: Path, student: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records of before sources were absolute: found from their folder, and by name under ``data.scenes``."""
    expected = batches(student, records=project / "records")
    monkeypatch.chdir(tmp_path)
    store = RecordStore(project / "records")
    row = RecordStore.row

    def older(self: RecordStore, id: str) -> dict[str, Any]:
        found = row(self, id)
        found["source"] = os.path.relpath(found["source"], project)
        return {**found, "views": [{**view, "image_hash": None} for view in found["views"]]}

    monkeypatch.setattr(RecordStore, "row", older)
    assert store.row(store.ids()[0])["source"].startswith("scans/")
    assert_equal(batches(student, records=project / "records"), expected)
    assert_equal(batches(student, records=project / "records", scenes=str(project / "scans")), expected)


def test_rooms_of_a_house_are_found_where_house_and_records_moved(tmp_path: Path, student: tuple[Any, Any]) -> None:
    write_house(tmp_path / "before" / "data")
    out = tmp_path / "before" / "records"
    run = annotate("annotations", str(tmp_path / "before" / "data" / "3D-FRONT"), out, limit=4)
    assert (run.written, run.failures) == (2, [])
    expected = batches(student, records=out)
    (tmp_path / "before").rename(tmp_path / "after")
    assert_equal(batches(student, records=tmp_path / "after" / "records"), expected)
