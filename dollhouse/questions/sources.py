"""Sources of a scene's questions: generated from its boxes, read from a file, or a few descriptive ones."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from dollhouse.errors import QuestionError
from dollhouse.questions.answer_balance import OBVIOUS_SHARE, AnswerBalance, SceneAnswers, shipped_balance
from dollhouse.questions.facts import unanswerable
from dollhouse.questions.generate import Question, generate_questions
from dollhouse.questions.question_file import read_questions
from dollhouse.questions.scene_index import IndexedScenes
from dollhouse.scenes.scene import Scene

_OPEN = "description.open"
QuestionSource = Callable[[Scene], Sequence[Question]]  #: deterministic
#: Questions about scenes without boxes, unless the user gives a file.
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


class QuestionFile:
    """File of questions: ``{"question": ..., "scene": ..., "answer": ...}``; only the first is required.

    JSONL, a JSON list, or CSV (:mod:`dollhouse.questions.question_file`).
    """

    def __init__(self, path: str | Path) -> None:
        """Read the file; QuestionError on an invalid line (named), or where one question has two answers."""
        self.path = Path(path)
        self._lines, ignored = read_questions(self.path)
        if ignored:
            logging.getLogger(__name__).warning("%s: fields not used: %s", self.path, ", ".join(ignored))
        answers: dict[tuple[str | None, str], str] = {}
        for line in self._lines:
            if answers.setdefault((line.scene, line.question.strip()), line.answer) != line.answer:
                raise QuestionError(f"{self.path}: answers {line.question!r} of scene {line.scene} in two ways")

    def for_scene(self, scene: Scene) -> tuple[Question, ...]:
        """Return the questions of a scene in the file's order, without duplicates."""
        lines = {line.question.strip(): line for line in self._lines if line.scene in (None, scene.name)}
        return tuple(
            Question(
                id=line.id or f"{scene.name}#{line.form}#{number}",
                scene=scene.name,
                text=line.question.strip(),
                **line.model_dump(exclude={"id", "scene", "question"}),
            )
            for number, line in enumerate(lines.values())
        )

    def __call__(self, scene: Scene) -> tuple[Question, ...]:
        """Return the questions of a scene; QuestionError where there are none."""
        if not (questions := self.for_scene(scene)):
            raise QuestionError(f"{self.path}: has no questions about scene {scene.name}; add some, or leave it out")
        return questions


class GeneratedQuestions:
    """Questions generated from a scene's boxes (:func:`dollhouse.questions.generate.generate_questions`)."""

    def __init__(
        self, scenes: Sequence[Scene], limit: int | None = None, seed: int = 0, photos: bool | None = None
    ) -> None:
        """Take the whole data set: unless they are synthetic rooms, its answer balance is measured on first use.

        ``photos``: also ask open questions, as people ask about photos; None: about scenes of ``homes:`` only.
        """
        self.scenes, self.limit, self.seed, self.photos = scenes, limit, seed, photos
        self._balance: AnswerBalance | None = None

    def __call__(self, scene: Scene) -> tuple[Question, ...]:
        if scene.boxes is None:
            raise QuestionError(f"scene {scene.name}: has no boxes to generate questions from; give a question file")
        shipped = scene.metadata.get("source") == "rooms"
        if self._balance is None and not shipped:
            self._balance = balance_scenes(self.scenes)
        balance = None if shipped else self._balance
        if self.photos:
            balance = (balance or shipped_balance(scene)).with_floor(OBVIOUS_SHARE)
        questions = generate_questions(scene, balance=balance, limit=self.limit, seed=self.seed, photos=self.photos)
        if not questions:
            raise QuestionError(f"scene {scene.name}: its boxes give no questions; give a question file")
        return questions


def balance_scenes(scenes: Sequence[Scene]) -> AnswerBalance:
    """Return the answer balance of a data set: that of its index, or counted over its scenes.

    Rooms, whose balance is shipped, and scenes without true answers are not counted.
    """
    if isinstance(scenes, IndexedScenes):
        return scenes.scan_index.balance
    usable = [scene for scene in scenes if scene.metadata.get("source") != "rooms" and not unanswerable(scene)]
    return AnswerBalance.of_data_set(map(SceneAnswers.count, usable), len(usable))


def descriptive_questions(scene: Scene) -> tuple[Question, ...]:
    """Return the descriptive questions, the same for every scene."""
    return tuple(
        Question(f"{scene.name}#{_OPEN}#{number}", scene.name, "description", _OPEN, text, "", (), (), None)
        for number, text in enumerate(DESCRIPTIVE_QUESTIONS)
    )


def open_question_source(
    source: str | None, scenes: Sequence[Scene], limit: int | None = None, seed: int = 0
) -> QuestionSource:
    """Open the questions of a data set: "generated", "photos", "descriptions", "none", or a JSONL file.

    "photos" are "generated" and open ones, as people ask about photos.

    None generates questions for scenes with boxes and gives descriptive ones for the others. At most ``limit`` a scene
    are drawn by ``seed``. Raises QuestionError where ``limit`` is below 1 or the file cannot be used.
    """
    if limit is not None and limit < 1:
        raise QuestionError(f"a limit of {limit} questions leaves none; give at least 1")
    generated = GeneratedQuestions(scenes, limit, seed)

    def described(scene: Scene) -> Sequence[Question]:
        return _sample(descriptive_questions(scene), limit, seed)

    if source is None:
        return lambda scene: described(scene) if scene.boxes is None else generated(scene)
    if source == "generated":
        return generated
    if source == "photos":
        return GeneratedQuestions(scenes, limit, seed, photos=True)
    if source == "descriptions":
        return described
    if source == "none":
        return lambda scene: ()
    file = QuestionFile(source)
    return lambda scene: _sample(file(scene), limit, seed)


def _sample(questions: tuple[Question, ...], limit: int | None, seed: int) -> tuple[Question, ...]:
    """Sample at most ``limit`` of the questions, in their order."""
    if limit is None or len(questions) <= limit:
        return questions
    chosen = random.Random(f"{questions[0].scene}|{seed}").sample(range(len(questions)), limit)
    return tuple(questions[index] for index in sorted(chosen))
