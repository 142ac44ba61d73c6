"""The interface of a teacher.

A teacher of your own needs two methods; subclassing :class:`Teacher` supplies the other two::

    from dollhouse import open_scenes
    from dollhouse.questions.sources import open_question_source
    from dollhouse.records.types import TeacherAnswer
    from dollhouse.teachers.annotate import annotate_scenes
    from dollhouse.teachers.protocol import Teacher

    class CaptionTeacher(Teacher):
        def provenance(self):
            return {"teacher": "caption", "weights": "v1", "licence": "MIT", "settings": {}}

        def answer(self, scene, questions):
            photos = [view.image for view in scene.views]  # (H, W, 3) RGB, uint8
            return [TeacherAnswer(my_model(photos, question.text)) for question in questions]

    scenes = open_scenes("scans/")
    annotate_scenes(CaptionTeacher(), scenes, "records", questions=open_question_source("descriptions", scenes))
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from dollhouse.errors import QuestionError, TeacherError
from dollhouse.questions.generate import Question
from dollhouse.records.types import SceneGeometry, SpatialFeatures, TeacherAnswer
from dollhouse.scenes.scene import Scene


class TeacherUnavailableError(TeacherError):
    """The teacher can answer about no scene (no key, no such model, no server): the whole run stops.

    ``answers`` holds the answers about the current scene that were received before, by the index of the question.
    """

    def __init__(self, message: str, answers: Mapping[int, TeacherAnswer] | None = None) -> None:
        super().__init__(message)
        self.answers = dict(answers or {})


class AnswersMissingError(TeacherError):
    """Some questions of a scene got no answer; ``answers`` holds the others, by the index of the question."""

    def __init__(self, message: str, answers: Mapping[int, TeacherAnswer]) -> None:
        super().__init__(message)
        self.answers = dict(answers)


def prompt_text(question: Question, instruction: str) -> str:
    """Return a question's text followed by an instruction. Raises QuestionError for an empty question."""
    if not question.text.strip():
        raise QuestionError(f"question {question.id} is empty: write it in words")
    return f"{question.text} {instruction}" if instruction else question.text


def check_minimums(kind: str, settings: Any, **minimums: int) -> None:
    """Raise TeacherError for the first setting below its minimum."""
    for name, minimum in minimums.items():
        if getattr(settings, name) < minimum:
            raise TeacherError(f"settings of {kind}: {name} is {getattr(settings, name)}, must be at least {minimum}")


class Teacher(Protocol):
    """Answer questions about scenes, and optionally return features and geometry.

    All methods are deterministic: the same scene, questions and settings give the same record. They raise
    :class:`dollhouse.errors.TeacherError` for a scene that the teacher cannot use, such as one without poses.
    """

    def provenance(self) -> dict[str, Any]:
        """Return what produces the answers, JSON-able; it is part of every record's id, except ``software``.

        Required: ``teacher``, a name. Usual: ``weights`` (a hash), ``settings``, ``licence``, ``software`` (versions),
        and ``vocabulary`` (a hash) where a student with the same tokenizer may learn from token probabilities.
        """
        ...

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        """Return one answer per question, in order.

        Raises :class:`AnswersMissingError` where some could not be had, :class:`TeacherUnavailableError` where no
        scene can be answered about.
        """
        ...

    def features(self, scene: Scene) -> SpatialFeatures | None:
        """Return features of points in the scene's world, or None where the teacher has none."""
        return None

    def geometry(self, scene: Scene) -> SceneGeometry | None:
        """Return the teacher's own depth and boxes, or None where it has none."""
        return None


class StreamingTeacher(Teacher):
    """A teacher whose answers are stored as they arrive, because each costs money or time."""

    @abstractmethod
    def answer_each(
        self, scene: Scene, questions: Sequence[Question], on_answer: Callable[[int, TeacherAnswer], None]
    ) -> None:
        """Call ``on_answer`` with the index of each question and its answer, in any order and from any thread.

        Raises as :meth:`answer`; the errors need not hold the answers.
        """

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        answers: dict[int, TeacherAnswer] = {}
        try:
            self.answer_each(scene, questions, answers.__setitem__)
        except (AnswersMissingError, TeacherUnavailableError) as error:
            error.answers = answers
            raise
        return [answers[index] for index in range(len(questions))]
