"""The index of a store is what reading every record gives, and only what is new or has changed is read."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dollhouse.errors import StorageError
from dollhouse.records import index, store
from dollhouse.records.index import RecordEntry
from dollhouse.records.store import ANSWERS, RecordStore
from dollhouse.records.writer import merge_records
from dollhouse.system.processes import run_jobs
from tests.records.record_fixtures import write_records

COUNT = 9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_records(tmp_path / "records", COUNT)
    return tmp_path / "records"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the ids that are read for the index."""
    ids: list[str] = []
    measure = RecordStore._measure

    def remember(self: RecordStore, part: Sequence[str]) -> list[RecordEntry]:
        ids.extend(part)
        return measure(self, part)

    monkeypatch.setattr(RecordStore, "_measure", remember)
    return ids


def by_reading(folder: Path) -> list[RecordEntry]:
    """Return the entries, slowly."""
    entries = []
    for record in RecordStore(folder):
        entries.append(
            RecordEntry(
                record.id,
                record.scene,
                record.source,
                RecordStore(folder).row(record.id)["provenance"],
                json.dumps([camera.name for camera in record.cameras]),
                record.cameras[0].image_hash,
                json.dumps(Counter(question.family for question in record.questions), sort_keys=True),
                sum(path.stat().st_size for path in (folder / record.id).iterdir()),
            )
        )
    return entries


def index_files() -> list[Path]:
    return sorted((Path(os.environ["XDG_CACHE_HOME"]) / "dollhouse/indexes").glob("records-*.records.sqlite"))


def test_entries_are_those_of_the_records_and_are_read_once(folder: Path, measured: list[str]) -> None:
    expected = by_reading(folder)
    assert RecordStore(folder).entries() == expected
    assert measured == list(RecordStore(folder).ids())
    measured.clear()
    assert RecordStore(folder).entries() == expected
    assert RecordStore(folder).summary().records == COUNT
    assert [record.id for record in RecordStore(folder).for_scene("small/3")] == RecordStore(folder).find("small/3")
    assert measured == []


def test_only_what_changed_is_read_again(folder: Path, measured: list[str], tmp_path: Path) -> None:
    first = RecordStore(folder).entries()
    measured.clear()
    gone, replaced = first[0].id, first[1].id
    shutil.rmtree(folder / gone)
    shutil.copytree(folder / replaced, tmp_path / replaced)
    shutil.rmtree(folder / replaced)
    shutil.move(tmp_path / replaced, folder / replaced)
    os.utime(folder / replaced, ns=(1, 1))
    (new,) = {record.id for record in write_records(tmp_path / "more", COUNT + 1)} - {entry.id for entry in first}
    shutil.copytree(tmp_path / "more" / new, folder / new)
    assert RecordStore(folder).entries() == by_reading(folder)
    assert sorted(measured) == sorted([replaced, new])


def test_a_killed_build_continues(folder: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "CHUNK", 2)
    measure = RecordStore._measure

    def killed(self: RecordStore, part: Sequence[str]) -> list[RecordEntry]:
        if len(measured) == 4:
            raise KeyboardInterrupt
        return measure(self, part)

    with monkeypatch.context() as patch:
        patch.setattr(RecordStore, "_measure", killed)
        with pytest.raises(KeyboardInterrupt):
            RecordStore(folder).entries()
    measured.clear()
    assert RecordStore(folder).entries() == by_reading(folder)
    assert len(measured) == COUNT - 4


def test_a_damaged_record_is_named(folder: Path) -> None:
    id = RecordStore(folder).ids()[4]
    (folder / id / ANSWERS).write_bytes(b"")
    with pytest.raises(StorageError, match=id):
        RecordStore(folder).entries()


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b'{"a": 1}', b"\xff"])
def test_damaged_and_older_rows_are_made_again(folder: Path, content: bytes, measured: list[str]) -> None:
    RecordStore(folder).entries()
    measured.clear()
    id = RecordStore(folder).ids()[2]
    path = max(index_files(), key=lambda file: file.stat().st_mtime_ns)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE rows SET content = ? WHERE key = ?", (content, id))
    assert RecordStore(folder).entries() == by_reading(folder)
    assert measured == [id]


def test_without_a_place_for_the_index_records_are_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert RecordStore(folder).entries() == by_reading(folder)
    assert "warning: every record is read" in capsys.readouterr().err


def test_processes_find_what_one_finds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries, and problems of a damaged, a renamed and a foreign record."""
    damaged, renamed = RecordStore(folder).ids()[3:5]
    expected = by_reading(folder)
    monkeypatch.setattr(index, "CHUNK", 2)
    monkeypatch.setattr(store, "CHUNK", 2)
    serial = RecordStore(folder).check()
    for module in (index, store):
        monkeypatch.setattr(module, "MIN_CHUNKS", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert serial == []
    assert RecordStore(folder).entries() == expected
    (folder / damaged / ANSWERS).write_bytes(b"")
    (folder / renamed).rename(folder / ("0" * 32))
    (folder / "notes").mkdir()
    found = RecordStore(folder).check()
    monkeypatch.setattr(store, "MIN_CHUNKS", 99)
    assert found == RecordStore(folder).check()
    assert [Path(line.split(":")[0]).relative_to(folder).parts[0] for line in found] == ["0" * 32, damaged, "notes"]


def test_merged_shards_have_the_entries_of_one_run(folder: Path, tmp_path: Path) -> None:
    ids = RecordStore(folder).ids()
    for number, id in enumerate(ids):
        shutil.copytree(folder / id, tmp_path / f"shard{number % 2}" / id)
    merge_records([tmp_path / "shard0", tmp_path / "shard1"], tmp_path / "merged")
    assert RecordStore(tmp_path / "merged").entries() == RecordStore(folder).entries()


def square(number: int) -> int:
    if number < 0:
        raise StorageError(f"{number} is negative")
    return number * number


@pytest.mark.parametrize("minimum", [1, 99])
def test_jobs_run_in_processes_and_in_one(minimum: int) -> None:
    jobs: dict[str, tuple[Any, ...]] = {str(number): (number,) for number in range(20)}
    assert dict(run_jobs(square, jobs, minimum, workers=2)) == {str(number): number**2 for number in range(20)}
    with pytest.raises(StorageError, match="-1 is negative"):
        dict(run_jobs(square, {**jobs, "last": (-1,)}, minimum, workers=2))
    assert dict(run_jobs(square, {}, minimum)) == {}
