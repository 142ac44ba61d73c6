"""``dollhouse benchmark``: the definition, and a run with a teacher."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import photos, run

TEMPLATE = "What is beside the bed? Answer the question using one word or one phrase."


def test_definition_needs_no_files(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, output, _ = run(capsys, monkeypatch, "benchmark", "scanqa")
    assert code == 0
    assert "frames:" in output
    code, _, error = run(capsys, monkeypatch, "benchmark", "scanqb")
    assert code == 2
    assert "scanqa" in error


def test_a_teacher_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scans" / "scene0000_00").mkdir(parents=True)
    photos(tmp_path / "scans" / "scene0000_00")
    row = {"question_id": "q0", "scene_id": "scene0000_00", "question": "What is beside the bed?", "answers": ["lamp"]}
    (tmp_path / "val.json").write_text(json.dumps([row]))
    (tmp_path / "answers.jsonl").write_text(json.dumps({"question": TEMPLATE, "answer": "lamp"}))
    arguments = ["--annotations", str(tmp_path / "val.json"), "--scenes", str(tmp_path / "scans")]
    arguments += ["--teacher", f"file:{tmp_path / 'answers.jsonl'}", "--teacher-arg", "name=by hand"]
    code, output, error = run(capsys, monkeypatch, "benchmark", "scanqa", *arguments, "--out", str(tmp_path / "out"))
    assert code == 0, error
    assert "1 same" in output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"]["name"] == "by hand"
    code, _, error = run(capsys, monkeypatch, "benchmark", "scanqa", *arguments, "--teacher-arg", "licence")
    assert code == 2
    assert "licence" in error
