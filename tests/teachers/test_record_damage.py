"""Whatever is damaged in a store of records is noticed and named, and the rest is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import StorageError
from dollhouse.records.store import ANSWERS, ARRAYS, HASHES, SCENE, RecordStore
from tests.teachers.made_records import assert_same, written


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
def test_damage_is_noticed_and_named(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    first, second = written(tmp_path, 2)
    damaged = tmp_path / second.id / name
    damage(damaged)
    records = RecordStore(tmp_path)
    (problem,) = records.check()
    assert str(damaged.parent) in problem
    assert name in problem
    assert "\n" not in problem
    with pytest.raises(StorageError, match=name):
        records.read(second.id)
    assert_same(records.read(first.id), first)


@pytest.mark.parametrize("name", [SCENE, HASHES])
def test_every_bit_counts(tmp_path: Path, name: str) -> None:
    (record,) = written(tmp_path)
    path = tmp_path / record.id / name
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.choice(len(content), 60, replace=False):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        assert len(RecordStore(tmp_path).check()) == 1, place


def test_a_record_under_another_name_is_named(tmp_path: Path) -> None:
    (record,) = written(tmp_path)
    (tmp_path / record.id).rename(tmp_path / ("0" * 32))
    (problem,) = RecordStore(tmp_path).check()
    assert "0" * 32 in problem


def test_strangers_in_the_folder_are_named(tmp_path: Path) -> None:
    (record,) = written(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / record.id / "more.bin").write_bytes(b"")
    problems = RecordStore(tmp_path).check()
    assert [problem.split(":")[0] for problem in problems] == [
        str(tmp_path / record.id / "more.bin"),
        str(tmp_path / "notes.txt"),
    ]


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(StorageError, match="dollhouse label"):
        RecordStore("nowhere")
