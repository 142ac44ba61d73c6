"""A teacher is judged by geometry on the very questions that a model is asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dollhouse.cli.app import app
from dollhouse.evaluation.benchmark_runner import evaluate_teacher
from dollhouse.evaluation.verify import verify_report
from dollhouse.questions.generate import generate_questions
from dollhouse.scenes.open import open_scenes
from dollhouse.teachers.annotations import AnnotationsTeacher


class AlwaysYes(AnnotationsTeacher):
    def answer(self, scene: Any, questions: Any) -> Any:
        return [replace(answer, text="yes") for answer in super().answer(scene, questions)]


def test_annotations_are_all_right_and_yes_is_not(tmp_path: Path) -> None:
    scenes = open_scenes("rooms:validation/0-1")
    right = evaluate_teacher(
        AnnotationsTeacher(), scenes, questions_per_scene=12, out=tmp_path / "right", progress=False
    )
    assert right.scores["overall"]["value"] == 1.0
    expected = [question.id for scene in scenes for question in generate_questions(scene, limit=12)]
    assert [row["id"] for row in right.rows] == expected
    wrong = evaluate_teacher(AlwaysYes(), scenes, questions_per_scene=12, progress=False)
    assert wrong.scores["overall"]["value"] < 0.8
    report = json.loads((tmp_path / "right" / "report.json").read_text())
    assert report["model"]["teacher"] == AnnotationsTeacher().provenance()["teacher"]
    assert verify_report(tmp_path / "right" / "report.json").agrees


@pytest.mark.parametrize("name", ["annotations", "nobody"])
def test_the_command_asks_a_teacher(name: str, tmp_path: Path) -> None:
    arguments = [
        "--teacher",
        name,
        "--scenes",
        "rooms:validation/0",
        "--questions",
        "5",
        "--out",
        str(tmp_path / "out"),
    ]
    ran = CliRunner().invoke(app, ["evaluate", *arguments])
    if name == "nobody":
        assert "no teacher 'nobody'" in str(ran.exception)
    else:
        assert ran.exit_code == 0, ran.output
        assert (tmp_path / "out" / "report.json").is_file()
