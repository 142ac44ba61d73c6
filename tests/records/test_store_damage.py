"""Damage in a record store is detected and named, and the other records can be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import StorageError
from dollhouse.records.store import ANSWERS, ARRAYS, SCENE, RecordStore
from dollhouse.system.checksums import HASHES
from tests.records.record_fixtures import assert_same_record, write_records


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [flip_a_bit, cut_short, empty, remove], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", [ANSWERS, SCENE, ARRAYS, HASHES])
def test_damage_is_detected_and_named(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    first, second = write_records(tmp_path, 2)
    damaged = tmp_path / second.id / name
    damage(damaged)
    records = RecordStore(tmp_path)
    (problem,) = records.check()
    assert str(damaged.parent) in problem
    assert name in problem
    assert "\n" not in problem
    with pytest.raises(StorageError, match=name):
        records.read(second.id)
    assert_same_record(records.read(first.id), first)


@pytest.mark.parametrize("name", [SCENE, HASHES])
def test_every_bit_is_covered(tmp_path: Path, name: str) -> None:
    (record,) = write_records(tmp_path)
    path = tmp_path / record.id / name
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for index in rng.choice(len(content), 60, replace=False):
        changed = bytearray(content)
        changed[index] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        assert len(RecordStore(tmp_path).check()) == 1, index


def test_renamed_record_is_reported(tmp_path: Path) -> None:
    (record,) = write_records(tmp_path)
    (tmp_path / record.id).rename(tmp_path / ("0" * 32))
    (problem,) = RecordStore(tmp_path).check()
    assert "0" * 32 in problem


def test_foreign_files_are_reported(tmp_path: Path) -> None:
    (record,) = write_records(tmp_path)
    (tmp_path / "notes.txt").write_text("a note")
    (tmp_path / record.id / "more.bin").write_bytes(b"")
    problems = RecordStore(tmp_path).check()
    assert [problem.split(":")[0] for problem in problems] == [
        str(tmp_path / record.id / "more.bin"),
        str(tmp_path / "notes.txt"),
    ]


def test_missing_folder() -> None:
    with pytest.raises(StorageError, match="dollhouse annotate"):
        RecordStore("nowhere")
