"""Teachers and questions by name, files of questions and answers, and the commands."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dollhouse import cli
from dollhouse.errors import DollhouseError, QuestionError, TeacherError
from dollhouse.questions.sources import QuestionFile, open_question_source
from dollhouse.records.store import ANSWERS, RecordStore
from dollhouse.scenes.open import open_scenes
from dollhouse.scenes.readers.saved import save_scene
from dollhouse.teachers.file import FileTeacher
from dollhouse.teachers.geometry import SensorGeometry, TeacherGeometry
from dollhouse.teachers.registry import open_geometry_teachers, open_teacher
from tests.records.small_scenes import small_scene, small_scenes


def lines(path: Path, *entries: object) -> Path:
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("oracle", {}, "no teacher 'oracle'; there are annotations"),
        ("annotations", {"top_k": "3"}, "annotations has no settings"),
        ("huggingface", {}, "needs a model folder"),
        ("huggingface:nowhere", {}, "nowhere: holds no model"),
        ("endpoint:http://localhost/v1", {}, "model is missing"),
        ("endpoint:http://localhost/v1", {"api_key": "x"}, "keys come from the environment only"),
        ("endpoint:http://localhost/v1", {"model": "m", "timeout": "soon"}, "setting timeout of endpoint"),
        ("llava3d:nowhere", {}, "nowhere"),
        ("llava3d:nowhere", {"dtype": "int8"}, "dtype"),
        ("llava3d:nowhere", {"visual_input": "elsewhere"}, "visual_input"),
        ("checkpoint:nowhere", {}, "no model folder nowhere"),
        ("file:nowhere.jsonl", {}, "nowhere.jsonl"),
    ],
)
def test_invalid_names_and_settings(name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(DollhouseError, match=message) as caught:
        open_teacher(name, settings)
    assert "\n" not in str(caught.value)


def test_geometry_teachers_by_name() -> None:
    teacher = open_teacher("annotations")
    assert open_geometry_teachers(["own", "scene", "sensor"], teacher) == [
        TeacherGeometry(teacher),
        SensorGeometry(),
        SensorGeometry(boxes=False),
    ]
    assert open_geometry_teachers(["none"], teacher) == []
    with pytest.raises(TeacherError, match="no geometry teacher 'radar'"):
        open_geometry_teachers(["radar"], teacher)
    with pytest.raises(TeacherError, match=r"detect\.threshold: no geometry teacher of that name"):
        open_geometry_teachers(["scene"], teacher, {"detect.threshold": "0.3"})
    with pytest.raises(TeacherError, match="needs a path"):
        open_geometry_teachers(["vggt"], teacher)


def test_file_gives_questions_and_answers(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "answers.jsonl",
        {"scene": "small/0", "question": "What is it?", "answer": "a room", "family": "description"},
        {"scene": "small/1", "question": "What is it?", "answer": "a hall"},
        {"question": "Is it large?", "answer": "yes", "choices": ["yes", "no"]},
    )
    teacher = FileTeacher(path)
    source = open_question_source(str(path), small_scenes(2))
    for scene, expected in zip(small_scenes(2), (["a room", "yes"], ["a hall", "yes"]), strict=True):
        questions = source(scene)
        assert [answer.text for answer in teacher.answer(scene, questions)] == expected
    assert questions[1].choices == ("yes", "no")
    assert questions[0].scene == "small/1"
    with pytest.raises(TeacherError, match="answers 0 of 1 questions"):
        teacher.answer(small_scene(), [replace(questions[0], text="Who lives here?")])
    with pytest.raises(QuestionError, match="no questions about scene small/7"):
        open_question_source(str(lines(path, {"scene": "small/0", "question": "?"})), [])(small_scene(7))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no questions"),
        ("{", "line 1"),
        ('{"question": "a?"}\n{"question": ""}', "line 2: question"),
        ('{"question": "a?", "reply": "b"}', "line 1: reply is no field; rename it to answer"),
        ('{"question": "a?", "scnee": "b"}', "line 1: scnee is no field; rename it to scene"),
        ('{"question": "a?", "answer": {"b": 1}}', r"line 1: answer: .*; write a line for each question"),
        ("[" * 100_000, "nested"),
        ("How many chairs?", "line 1: is not JSON.*; write a line for each question"),
        ('{"Frage": "a?"}', r"line 1: question: Field required \(it has Frage\)"),
        ("[3]", "question 1"),
        ('{"question": "a?", "answer": "b"}\n{"question": "a?", "answer": "c"}', "in two ways"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_invalid_question_files(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(QuestionError, match=message) as caught:
        QuestionFile(path)
    assert "\n" not in str(caught.value)


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["dollhouse", *map(str, arguments)])
    code = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_annotate_show_and_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        save_scene(replace(small_scene(number), name=f"s{number}"), tmp_path / "scenes" / f"s{number}")
    answers = lines(
        tmp_path / "answers.jsonl",
        *({"scene": f"s{number}", "question": "What is it?", "answer": f"room {number}"} for number in range(2)),
    )
    records = tmp_path / "records"
    annotate = ["annotate", "--teacher", f"file:{answers}", "--scenes", tmp_path / "scenes", "--out", records]
    code, out, err = run(capsys, monkeypatch, *annotate)
    assert code == 1
    assert "2 written with 2 answers, 0 existing, 1 scenes failed" in out
    assert f"failed: {tmp_path / 'scenes' / 's2'}: {answers}: has no questions about scene s2" in err
    with answers.open("a") as file:
        file.write('{"scene": "s2", "question": "What is it?", "answer": "room 2"}\n')
    code, out, err = run(capsys, monkeypatch, *annotate)
    assert (code, err) == (0, "")
    assert "3 written" in out  # another file is another teacher
    assert "3 existing" in run(capsys, monkeypatch, *annotate)[1]
    code, out, _ = run(capsys, monkeypatch, "records", "show", records)
    assert code == 0
    assert "5 records" in out
    assert "1 answers, 2 views, 3 boxes, 3 relations" in out
    code, out, _ = run(capsys, monkeypatch, "records", "show", records, "s2")
    assert code == 0
    assert "room 2" in out
    assert run(capsys, monkeypatch, "records", "check", records)[0] == 0
    id = RecordStore(records).ids()[0]
    (records / id / ANSWERS).write_bytes(b"gone")
    code, out, _ = run(capsys, monkeypatch, "records", "check", records)
    assert code == 1
    assert str(records / id / ANSWERS) in out
    assert "1 problem\n" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["annotate", "--teacher", "oracle", "--scenes", "rooms:train/0", "--out", "x"],
        ["annotate", "--teacher", "annotations", "--scenes", "rooms:attic/0", "--out", "x"],
        ["annotate", "--teacher", "annotations", "--scenes", "rooms:train/0", "--out", "/proc/no"],
        ["annotate", "--teacher", "annotations", "--scenes", "rooms:train/0", "--out", "x", "--teacher-arg", "k"],
        ["records", "show", "nowhere"],
        ["records", "check", "nowhere"],
    ],
)
def test_errors_are_one_line(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, monkeypatch, *arguments)
    assert code in (1, 2)
    assert err.count("\n") == 1


def test_scene_sources_open_the_scenes(tmp_path: Path) -> None:
    from dollhouse.records.scene_source import scene_sources
    from dollhouse.scenes.open import open_scene

    save_scene(replace(small_scene(), name="a"), tmp_path / "a")
    listed = open_scenes(tmp_path)
    assert open_scene(scene_sources(listed, str(tmp_path))[0]).name == "a"
