"""Question files as people write them: JSON lines, lists and objects, CSV, further fields, other values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dollhouse.errors import QuestionError
from dollhouse.questions.question_file import QuestionEntry, read_questions

ROWS = [
    {"question": "How many, e.g. \u2028 chairs?", "scene": "kitchen", "answer": "2"},
    {"question": "Is it; large?", "scene": None, "answer": "yes", "choices": ["yes", "no"]},
]
CSV = 'Question,scene,answer,choices\r\n"How many, e.g. \u2028 chairs?",kitchen,2,\r\nIs it; large?,,yes,yes | no\r\n'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", "\n".join(map(json.dumps, ROWS))),
        ("a.jsonl", "\ufeff" + "\r\n\r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)),
        ("a.json", json.dumps(ROWS)),
        ("a.json", json.dumps(ROWS, indent=1)),
        ("a.json", json.dumps({"questions": ROWS}, indent=1)),
        ("a.json", json.dumps({"questions": ROWS})),
        ("a.csv", CSV),
        ("a.csv", "\ufeff" + CSV),
        ("a.tsv", CSV.replace(",", "\t").replace("many\t", "many,")),
        ("a.CSV", CSV.replace(",", ";").replace("many;", "many,").replace("Is it; large?", '"Is it; large?"')),
    ],
)
def test_forms_of_files(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode())
    entries, ignored = read_questions(tmp_path / name)
    assert entries == [QuestionEntry(**row) for row in ROWS]
    assert ignored == []


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        (2, "2"),
        (1234567, "1234567"),
        (10**19, str(10**19)),
        (2.5, "2.5"),
        (2.0, "2"),
        (True, "yes"),
        (False, "no"),
        (["two", "2"], "two"),
        ([2], "2"),
        ("", ""),
    ],
)
def test_answers_of_other_types(answer: object, read: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"question": "?", "answer": answer, "choices": [1, "b"], "scene": 12}))
    ((entry,), _) = read_questions(path)
    assert (entry.answer, entry.choices, entry.scene) == (read, ("1", "b"), "12")


@pytest.mark.parametrize("text", ['{"questions": 5}', '{\n"questions": 5\n}', '\n"a"', "[1]", "[", "{"])
def test_other_json_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(QuestionError, match=r"a\.json: (line 1|line 2|question 1|the file): .*write a line for each"):
        read_questions(path)


def test_further_fields_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "?", "difficulty": 3}\n{"question": "!", "difficulty": 3, "author": "me"}')
    assert read_questions(path)[1] == ["difficulty", "author"]
