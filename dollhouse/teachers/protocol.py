"""What a teacher is: whoever answers questions about a scene, and may say more about it.

Knows nothing of any one teacher, of how its answers are kept or of who learns from them.

Axes: T answer tokens, K kept alternatives a token, M places, D width, L labels, V views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from dollhouse.errors import TeacherError
from dollhouse.questions.generate import Question
from dollhouse.records.types import SceneGeometry, SpatialFeatures, TeacherAnswer
from dollhouse.scenes.scene import Scene


class TeacherUnavailableError(TeacherError):
    """The teacher can answer about no scene at all (no key, no such model, nobody there): labelling stops.

    ``answers`` holds what it still said about the scene in hand, by the place of the question.
    """

    def __init__(self, message: str, answers: Mapping[int, TeacherAnswer] | None = None) -> None:
        super().__init__(message)
        self.answers = dict(answers or {})


class AnswersMissingError(TeacherError):
    """Some questions of a scene were not answered; ``answers`` holds those that were, by their place."""

    def __init__(self, message: str, answers: Mapping[int, TeacherAnswer]) -> None:
        super().__init__(message)
        self.answers = dict(answers)


class Teacher(Protocol):
    """Answers questions; features and geometry are None where the teacher has none to give.

    All three are deterministic: the same scene, questions and settings give the same record. A scene that this
    teacher cannot look at (no poses, no depth) raises :class:`dollhouse.errors.TeacherError`.
    """

    def provenance(self) -> dict[str, Any]:
        """What produces the answers, JSON-able: ``teacher``, ``weights`` (hash), ``settings``, ``licence``, ..."""
        ...

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        """One answer a question, in order. The teacher chooses which of the scene's views it looks at."""
        ...

    def features(self, scene: Scene) -> SpatialFeatures | None: ...

    def geometry(self, scene: Scene) -> SceneGeometry | None: ...
