"""Answers are stored one by one; a line that a kill cut short loses one answer and no other."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import StorageError
from dollhouse.records.partial_answers import PartialAnswers
from dollhouse.records.types import TeacherAnswer
from tests.records.record_fixtures import ANSWERS


def test_answers_come_back(tmp_path: Path) -> None:
    partial = PartialAnswers(tmp_path)
    given = [*ANSWERS, TeacherAnswer("", failure="refused: no"), TeacherAnswer("one\u2028two\x85three")]
    threads = [threading.Thread(target=partial.add, args=("a", n, answer)) for n, answer in enumerate(given)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    read = PartialAnswers(tmp_path).read("a")
    assert sorted(read) == [0, 1, 2, 3, 4]
    for number, answer in enumerate(given):
        np.testing.assert_equal(vars(read[number]), vars(answer))
    assert partial.read("b") == {}
    partial.delete("a")
    assert partial.read("a") == {}


def test_a_torn_line_loses_one_answer(tmp_path: Path) -> None:
    partial = PartialAnswers(tmp_path)
    for number in range(3):
        partial.add("a", number, TeacherAnswer(f"answer {number}"))
    path = tmp_path / ".parts" / "a.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert sorted(partial.read("a")) == [0, 1]
    partial.add("a", 3, TeacherAnswer("answer 3"))
    assert {number: answer.text for number, answer in partial.read("a").items()} == {
        0: "answer 0",
        1: "answer 1",
        3: "answer 3",
    }


@pytest.mark.parametrize("line", ["[]", "3", '{"index": "x", "text": ""}', '{"text": ""}'])
def test_damage_is_a_one_line_error(line: str, tmp_path: Path) -> None:
    (tmp_path / ".parts").mkdir()
    (tmp_path / ".parts" / "a.jsonl").write_text(line)
    with pytest.raises(StorageError, match=r"is not a whole file.*delete it and annotate again"):
        PartialAnswers(tmp_path).read("a")


def test_full_disk_stops_at_once(tmp_path: Path) -> None:
    (tmp_path / ".parts").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"cannot write .*free some space"):
        PartialAnswers(tmp_path).add("a", 0, TeacherAnswer("yes"))
