"""A file of answers as a teacher: JSONL with ``scene``, ``question`` and ``answer``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dollhouse.errors import TeacherError
from dollhouse.questions.generate import Question
from dollhouse.questions.sources import QuestionFile
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.scene import Scene
from dollhouse.system.hashing import files_hash
from dollhouse.teachers.protocol import Teacher


@dataclass(frozen=True)
class FileSettings:
    """Whose answers these are, and under what licence; both are stored in the records."""

    name: str = ""
    licence: str = ""


class FileTeacher(Teacher):
    """Return the answers of a file, whose questions :func:`annotate` asks unless others are given."""

    def __init__(self, path: str | Path, settings: FileSettings | None = None) -> None:
        """Raises QuestionError where the file cannot be used, or gives one question two answers."""
        self.path = Path(path)
        self.settings = settings or FileSettings()
        self.file = QuestionFile(self.path)

    def provenance(self) -> dict[str, Any]:
        return {
            "teacher": "file",
            "name": self.settings.name or self.path.name,
            "weights": files_hash([self.path]),
            "licence": self.settings.licence or "unknown",
            "settings": {},
        }

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        """Return the file's answers to questions of the same words. Raises TeacherError where one is missing."""
        answers = {question.text.strip(): question.answer for question in self.file.for_scene(scene) if question.answer}
        missing = [question for question in questions if question.text.strip() not in answers]
        if missing:
            raise TeacherError(
                f"{self.path}: answers {len(questions) - len(missing)} of {len(questions)} questions about scene "
                f"{scene.name}; none to {missing[0].text!r}"
            )
        return [TeacherAnswer(answers[question.text.strip()]) for question in questions]
