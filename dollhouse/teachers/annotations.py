"""The annotations as a teacher: answers are read off the boxes, depth and boxes are the scene's own.

Knows no model. It answers only questions that came with an answer, as those made of annotated scenes do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dollhouse.errors import TeacherError
from dollhouse.questions.generate import Question
from dollhouse.records.types import SceneGeometry, TeacherAnswer
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.geometry import SensorGeometry


class AnnotationsTeacher:
    """A teacher in the sense of :class:`dollhouse.teachers.protocol.Teacher`."""

    def provenance(self) -> dict[str, Any]:
        return {"teacher": "annotations", "weights": "none", "settings": {}}

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        """The answers that the questions carry. Raises TeacherError where one carries none."""
        silent = [question for question in questions if not question.answer]
        if silent:
            raise TeacherError(
                f"scene {scene.name}: {len(silent)} of {len(questions)} questions carry no answer "
                f"({silent[0].text!r}); ask generated ones, or another teacher"
            )
        return [TeacherAnswer(question.answer) for question in questions]

    def features(self, scene: Scene) -> None:
        return None

    def geometry(self, scene: Scene) -> SceneGeometry | None:
        """The scene's depth, boxes and object ids, as far as it has them."""
        return SensorGeometry().geometry(scene, SceneGeometry())
