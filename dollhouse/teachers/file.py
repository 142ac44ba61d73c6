"""Answers that the user already has, as a teacher: a JSONL file with ``scene``, ``question`` and ``answer``.

Knows no model. The same file says what is asked (:mod:`dollhouse.questions.sources`), so it labels on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dollhouse.errors import TeacherError
from dollhouse.questions.generate import Question
from dollhouse.questions.sources import QuestionFile
from dollhouse.system.hashing import files_hash
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.scene import Scene


@dataclass(frozen=True)
class FileSettings:
    """``name``: who the answers are by; ``licence``: what they may be used for. Both are kept in the records."""

    name: str = ""
    licence: str = ""


class FileTeacher:
    """A teacher in the sense of :class:`dollhouse.teachers.protocol.Teacher`."""

    def __init__(self, path: str | Path, settings: FileSettings | None = None) -> None:
        """Raises QuestionError where the file cannot be used, or answers one question twice in two ways."""
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
        """The file's answers to these words about this scene. Raises TeacherError where it has none."""
        told = {question.text.strip(): question.answer for question in self.file.for_scene(scene) if question.answer}
        silent = [question for question in questions if question.text.strip() not in told]
        if silent:
            raise TeacherError(
                f"{self.path}: answers {len(questions) - len(silent)} of {len(questions)} questions about scene "
                f"{scene.name}; none to {silent[0].text!r}"
            )
        return [TeacherAnswer(told[question.text.strip()]) for question in questions]

    def features(self, scene: Scene) -> None:
        return None

    def geometry(self, scene: Scene) -> None:
        return None
