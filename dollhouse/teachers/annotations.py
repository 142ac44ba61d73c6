"""A scene's annotations as a teacher: answers generated from its boxes, and its own depth and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dollhouse.errors import TeacherError
from dollhouse.questions.generate import Question
from dollhouse.records.types import SceneGeometry, TeacherAnswer
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.geometry import SensorGeometry
from dollhouse.teachers.protocol import Teacher


class AnnotationsTeacher(Teacher):
    """Return the answers that generated questions carry, and the scene's depth, boxes and instance maps."""

    def provenance(self) -> dict[str, Any]:
        return {"teacher": "annotations", "weights": "none", "settings": {}}

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        """Return the answers of the questions themselves. Raises TeacherError where one has none."""
        open_questions = [question for question in questions if not question.answer]
        if open_questions:
            raise TeacherError(
                f"scene {scene.name}: {len(open_questions)} of {len(questions)} questions carry no answer "
                f"({open_questions[0].text!r}); use generated questions, or another teacher"
            )
        return [TeacherAnswer(question.answer) for question in questions]

    def geometry(self, scene: Scene) -> SceneGeometry | None:
        return SensorGeometry().geometry(scene, SceneGeometry())
