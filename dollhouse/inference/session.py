"""Answer questions about one encoded scene, and return its predicted depth, cameras and boxes.

Axes: V views, H and W pixels, N object slots.
"""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import ModelError, QuestionError
from dollhouse.geometry import Array, back_project, intrinsics_from_fov, transform_points
from dollhouse.questions.refusals import NO_DESCRIPTION, OFF_TOPIC_ANSWER, mended_refusal
from dollhouse.questions.wording import normalise_question, views_named
from dollhouse.questions.written_steps import final_answer
from dollhouse.scenes.scale import ESTIMATED, Scale
from dollhouse.scenes.scene import Box, Scene
from dollhouse.system.text import one_line, storable

if TYPE_CHECKING:
    from dollhouse.inference.pipeline import DollhousePipeline


MIN_BOX_SCORE = 0.3  #: score from which a box is shown; evaluation uses all of them
MAX_VIEWS = 16  #: that a user can ask for; a student is trained on fewer
MAX_QUESTION_TOKENS = 256
MAX_QUESTION_CHARACTERS = 4000  #: checked first, since rewriting a question takes time
MAX_NEW_TOKENS = 48  #: of an answer
_LENGTH = re.compile(r"\b(\d+(?:\.\d+)?) m\b")


@dataclass(frozen=True)
class Answer:
    """One answer; its confidence is the geometric mean probability of its tokens, calibrated by the model's config."""

    question: str
    text: str  #: as generated, which evaluation scores
    confidence: float
    scale: Scale | None = None  #: of the lengths in the text; None where there is none
    unsure: bool = False  #: whether the confidence is below the model's ``min_confidence``
    refusal: str | None = None  #: what is shown instead of the text, see :mod:`dollhouse.questions.refusals`

    @property
    def shown(self) -> str:
        """The text for users."""
        return self.refusal or self.text

    @property
    def phrase(self) -> str:
        """The text for users, after a warning where it is unsure."""
        return f"not sure, perhaps: {self.shown}" if self.unsure else self.shown


@dataclass(frozen=True, eq=False)
class ObjectArrays:
    """Predicted objects, one row each; lengths in metres, angles in radians."""

    slot: NDArray[Any]  #: (N,) number of the slot
    label: NDArray[Any]  #: (N,) index of the label
    score: NDArray[Any]  #: (N,)
    colour: NDArray[Any]  #: (N,) index of the colour
    center: Array  #: (N, 3)
    size: Array  #: (N, 3)
    front: NDArray[Any]  #: (N,) angle of the front
    axis: NDArray[Any]  #: (N,) twice the angle of the box, for objects without a front


class SceneSession(ABC):
    """One encoded scene. Geometry is in the level frame of the first view (:mod:`dollhouse.geometry`).

    Each engine has its own: :mod:`dollhouse.inference.torch_session` and :mod:`dollhouse.inference.onnx_session`.
    """

    def __init__(self, pipeline: DollhousePipeline, scene: Scene, scale: Scale = ESTIMATED) -> None:
        self.pipeline = pipeline
        self.scene = scene
        self.scale = scale  #: of depth, boxes, cameras and answers
        self.scale_factor = 1.0  #: by which :meth:`rescaled` has multiplied predicted lengths

    def rescaled(self, factor: float, scale: Scale) -> Self:
        """Return a session with all lengths multiplied by ``factor``, and their new scale.

        The language prefix stays, since the model was trained on rooms of usual size; lengths in answers are
        multiplied instead.
        """
        session = copy.copy(self)
        session._rescale(factor)
        session.scale, session.scale_factor = scale, self.scale_factor * factor
        session.__dict__.pop("depth", None)
        return session

    @abstractmethod
    def _rescale(self, factor: float) -> None:
        """Multiply all predicted lengths."""

    @property
    @abstractmethod
    def images(self) -> NDArray[np.uint8]:
        """The photos (V, H, W, 3) at the size that the model gets."""

    @cached_property
    @abstractmethod
    def depth(self) -> NDArray[np.float32]:
        """Predicted z-depth (V, H, W) in metres, computed on first use."""

    @property
    @abstractmethod
    def level_from_camera(self) -> Array:
        """Predicted poses (V, 4, 4)."""

    @property
    @abstractmethod
    def focal(self) -> Array:
        """Predicted focal lengths (V,) divided by the image's width."""

    @property
    def points(self) -> Array:
        """Predicted point of each pixel (V, H, W, 3) in the level frame of the first view."""
        height, width = self.depth.shape[1:]
        fovs = 2 * np.arctan(0.5 / self.focal)
        views = zip(self.level_from_camera, self.depth, fovs, strict=True)
        clouds = [(pose, back_project(depth, intrinsics_from_fov(fov, width, height))) for pose, depth, fov in views]
        return np.stack([transform_points(pose, cloud) for pose, cloud in clouds])

    @property
    def blind(self) -> bool:
        """Whether the student is blind, so that there are no boxes, depth or cameras."""
        return bool(self.pipeline.config.blind)

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Predicted boxes with scores, highest first."""
        objects, config = self._objects(), self.pipeline.config
        boxes = []
        for row, slot in enumerate(objects.slot.tolist()):
            name = config.labels[int(objects.label[row])]
            has_front = name in config.oriented_labels
            boxes.append(
                Box(
                    id=slot + 1,
                    label=name,
                    center=objects.center[row],
                    size=objects.size[row],
                    yaw=float(objects.front[row] if has_front else 0.5 * objects.axis[row]),
                    has_front=has_front,
                    colour=config.colours[int(objects.colour[row])] if config.colours else None,
                    score=float(objects.score[row]),
                )
            )
        return tuple(sorted(boxes, key=lambda box: -(box.score or 0.0)))

    @property
    def shown_boxes(self) -> tuple[Box, ...]:
        """The boxes from the score that users are shown; none of a blind student."""
        return () if self.blind else tuple(box for box in self.boxes if (box.score or 0.0) >= MIN_BOX_SCORE)

    @abstractmethod
    def _objects(self) -> ObjectArrays:
        """Return the predicted objects."""

    def _blind_error(self) -> ModelError:
        return ModelError(f"{self.pipeline.model_id} is a blind student: it has no depth, cameras or boxes")

    def ask(self, questions: str | Sequence[str]) -> list[str]:
        """Return the answers to one or several questions, in order, for users (:attr:`Answer.shown`)."""
        return [answer.shown for answer in self.answer([questions] if isinstance(questions, str) else questions)]

    def answer(self, questions: Sequence[str], max_new_tokens: int = MAX_NEW_TOKENS) -> list[Answer]:
        """Generate greedy answers with confidences.

        Raises:
            QuestionError: for a text instead of a list; for a question that is empty, no text in Unicode, or longer
                than ``MAX_QUESTION_TOKENS`` or ``MAX_QUESTION_CHARACTERS``.
        """
        if isinstance(questions, str):
            raise QuestionError("answer takes a list of questions, not one text: write answer([question])")
        prepared = [self.prepare(question) for question in questions]
        generated = iter(self._generate_texts([ids for ids in prepared if not isinstance(ids, Answer)], max_new_tokens))
        return [
            known if isinstance(known, Answer) else self.finish(question, *next(generated))
            for question, known in zip(questions, prepared, strict=True)
        ]

    def prepare(self, question: str) -> list[int] | Answer:
        """Return a question's token ids, or its answer where that needs no language model; raises QuestionError."""
        if not question.strip():
            raise QuestionError("an empty question cannot be answered: ask in words")
        if len(question) > MAX_QUESTION_CHARACTERS:
            raise QuestionError(f"the question is longer than {MAX_QUESTION_CHARACTERS} characters: ask in fewer words")
        if storable(question) != question:
            raise QuestionError(f"{one_line(storable(question), 60)}: a lone surrogate is no Unicode; leave it out")
        return self._refuse_view(question) or self._question_ids(question)

    def finish(self, question: str, text: str, confidence: float) -> Answer:
        """Return the answer of a generated text with its uncalibrated confidence."""
        config = self.pipeline.config
        confidence = calibrated_confidence(confidence, config.answer_temperature)
        text, refusal = final_answer(text).strip(), None
        if self.pipeline.normalises_questions:
            refusal = mended_refusal(question, text, lambda: {box.label for box in self.shown_boxes})
        unsure = confidence < config.min_confidence and refusal not in (NO_DESCRIPTION, OFF_TOPIC_ANSWER)
        return self._answer_in_scale(Answer(question, text, confidence, unsure=unsure, refusal=refusal))

    @property
    @abstractmethod
    def words_cache(self) -> Any:
        """The language model's cache of the scene, a row of :meth:`DollhousePipeline.word_batch`."""

    @abstractmethod
    def _generate_texts(self, ids: Sequence[list[int]], max_new_tokens: int) -> list[tuple[str, float]]:
        """Generate the answers to tokenized questions, in order, with uncalibrated confidences."""

    def _refuse_view(self, question: str) -> Answer | None:
        """Answer a question about a view that the scene does not have; None for other questions."""
        if not self.pipeline.normalises_questions:
            return None
        count = len(self.images)
        missing = [number for number in views_named(normalise_question(question)) if not 0 < number <= count]
        text = "there is 1 view" if count == 1 else f"there are {count} views"
        return Answer(question, text, 1.0) if missing else None

    def _answer_in_scale(self, answer: Answer) -> Answer:
        """Add the scale to an answer with a length, and multiply the length if the session is rescaled."""
        if not _LENGTH.search(answer.text):
            return answer
        text = answer.text
        if self.scale_factor != 1.0:
            text = _LENGTH.sub(lambda length: f"{float(length[1]) * self.scale_factor:.1f} m", text)
        return replace(answer, text=text, scale=self.scale)

    def _question_ids(self, question: str) -> list[int]:
        ids = self.pipeline.question_ids(question)
        if len(ids) > MAX_QUESTION_TOKENS:
            raise QuestionError(f"the question is longer than {MAX_QUESTION_TOKENS} tokens: ask in fewer words")
        return ids


def calibrated_confidence(confidence: float, temperature: float) -> float:
    """Divide the log odds of a confidence in [0, 1] by a temperature."""
    if temperature == 1.0:
        return confidence  # bit for bit
    right, wrong = confidence ** (1.0 / temperature), (1.0 - confidence) ** (1.0 / temperature)
    return right / (right + wrong)
