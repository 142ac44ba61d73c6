"""What a teacher is asked about a scene: questions made of its boxes, those of a file, or a few descriptive ones.

Knows no teacher. Whatever is asked is the same each time for the same scene and settings.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dollhouse.errors import QuestionError
from dollhouse.questions.answer_balance import AnswerBalance
from dollhouse.questions.generate import Question, generate_questions
from dollhouse.scenes.scene import Scene

QuestionSource = Callable[[Scene], Sequence[Question]]

#: asked of scenes that nobody annotated, unless the user brings questions
DESCRIPTIVE_QUESTIONS = (
    "Describe this room in one or two sentences.",
    "What objects are in this room?",
    "What is the largest object in this room?",
    "What kind of room is this?",
    "Which objects stand next to each other?",
    "What is on top of something else in this room?",
    "How is the furniture arranged?",
    "What is the room used for?",
)


class _Line(BaseModel):
    """One line of a question file."""

    model_config = ConfigDict(extra="forbid")

    question: str = Field(min_length=1)
    scene: str | None = None  #: name; None: asked of every scene
    answer: str = ""
    id: str | None = None
    family: str = "asked"
    form: str = "asked"
    choices: tuple[str, ...] = ()
    objects: tuple[int, ...] = ()
    view: int | None = None


class QuestionFile:
    """JSONL, a question a line: ``{"question": ..., "scene": ..., "answer": ...}``; only the first is needed."""

    def __init__(self, path: str | Path) -> None:
        """Raises QuestionError naming the line that cannot be used, and where one question has two answers."""
        self.path = Path(path)
        self._lines = _read(self.path)
        told: dict[tuple[str | None, str], str] = {}
        for line in self._lines:
            if told.setdefault((line.scene, line.question.strip()), line.answer) != line.answer:
                raise QuestionError(f"{self.path}: answers {line.question!r} of scene {line.scene} in two ways")

    def for_scene(self, scene: Scene) -> tuple[Question, ...]:
        """The questions of a scene, in the file's order; those it asks twice, once."""
        lines = {line.question.strip(): line for line in self._lines if line.scene in (None, scene.name)}
        return tuple(
            Question(
                id=line.id or f"{scene.name}#{line.form}#{number}",
                scene=scene.name,
                family=line.family,
                form=line.form,
                text=line.question.strip(),
                answer=line.answer,
                choices=line.choices,
                objects=line.objects,
                view=line.view,
            )
            for number, line in enumerate(lines.values())
        )

    def __call__(self, scene: Scene) -> tuple[Question, ...]:
        asked = self.for_scene(scene)
        if not asked:
            raise QuestionError(f"{self.path}: has no questions about scene {scene.name}; add some, or leave it out")
        return asked


class GeneratedQuestions:
    """Questions made of a scene's boxes (:func:`dollhouse.questions.generate.generate_questions`)."""

    def __init__(self, scenes: Sequence[Scene], limit: int | None = None, seed: int = 0) -> None:
        """Other than rooms, ``scenes`` are all looked through once, to tell which answers are common."""
        self.scenes = scenes
        self.limit = limit
        self.seed = seed
        self._balance: AnswerBalance | None = None

    def __call__(self, scene: Scene) -> tuple[Question, ...]:
        if scene.boxes is None:
            raise QuestionError(f"scene {scene.name}: has no boxes to make questions of; give a question file")
        asked = generate_questions(scene, balance=self._balance_of(scene), limit=self.limit, seed=self.seed)
        if not asked:
            raise QuestionError(f"scene {scene.name}: nothing can be asked of its boxes; give a question file")
        return asked

    def _balance_of(self, scene: Scene) -> AnswerBalance | None:
        if scene.metadata.get("source") == "rooms":
            return None
        if self._balance is None:
            self._balance = AnswerBalance.measure(one for one in self.scenes if one.boxes is not None)
        return self._balance


def descriptive_questions(scene: Scene) -> tuple[Question, ...]:
    """The descriptive questions, the same of every scene."""
    form = "description.open"
    return tuple(
        Question(f"{scene.name}#{form}#{number}", scene.name, "description", form, text, "", (), (), None)
        for number, text in enumerate(DESCRIPTIVE_QUESTIONS)
    )


def open_question_source(
    source: str | None, scenes: Sequence[Scene], limit: int | None = None, seed: int = 0
) -> QuestionSource:
    """``source`` is "generated", "descriptions" or a JSONL file; None: generated where a scene has boxes, else
    descriptions. At most ``limit`` of a scene, drawn by ``seed``. Raises QuestionError.
    """
    if limit is not None and limit < 1:
        raise QuestionError(f"a limit of {limit} questions asks nothing; give at least 1")
    generated = GeneratedQuestions(scenes, limit, seed)
    if source is None:
        return lambda scene: (
            generated(scene) if scene.boxes is not None else _drawn(descriptive_questions(scene), limit, seed)
        )
    if source == "generated":
        return generated
    if source == "descriptions":
        return lambda scene: _drawn(descriptive_questions(scene), limit, seed)
    file = QuestionFile(source)
    return lambda scene: _drawn(file(scene), limit, seed)


def _drawn(questions: tuple[Question, ...], limit: int | None, seed: int) -> tuple[Question, ...]:
    """At most ``limit`` of the questions, in their order."""
    if limit is None or len(questions) <= limit:
        return questions
    chosen = random.Random(f"{questions[0].scene}|{seed}").sample(range(len(questions)), limit)
    return tuple(questions[index] for index in sorted(chosen))


def _read(path: Path) -> list[_Line]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise QuestionError(f"{path}: questions cannot be read ({why}); give a JSONL file") from error
    read = []
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            read.append(_Line.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise QuestionError(f"{path}: line {number + 1}: {where}: {first['msg']}") from error
    if not read:
        raise QuestionError(f'{path}: holds no questions; write a line for each, such as {{"question": "..."}}')
    return read
