"""What a teacher is: whoever answers questions about a scene, and may say more about it.

Knows nothing of any one teacher, of how its answers are kept or of who learns from them.

Axes: T answer tokens, K kept alternatives a token, M places, D width, L labels, V views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import TeacherError
from dollhouse.geometry import Array
from dollhouse.scenes.questions import Question
from dollhouse.scenes.scene import Box, Scene


@dataclass(frozen=True, eq=False)
class TeacherAnswer:
    """What was said to one question. A teacher that shows no tokens or probabilities leaves them None."""

    text: str
    token_ids: NDArray[np.int32] | None = None  #: (T,) in the teacher's own vocabulary, end token included
    top_ids: NDArray[np.int32] | None = None  #: (T, K) the most likely tokens at each place, best first
    top_log_probs: NDArray[np.float32] | None = None  #: (T, K) natural logarithms of their probabilities


@dataclass(frozen=True, eq=False)
class SpatialFeatures:
    """What a teacher knows about places in the scene."""

    features: NDArray[np.float32]  #: (M, D)
    points: Array  #: (M, 3) where each place is, in the scene's world frame
    label_chances: NDArray[np.float32] | None = None  #: (M, L+1) of what is seen there, the last one "no object"
    labels: tuple[str, ...] = ()  #: (L) whose chances those are, lower case

    def __post_init__(self) -> None:
        chances, places = self.label_chances, len(self.features)
        if chances is not None and chances.shape != (places, len(self.labels) + 1):
            raise TeacherError(
                f"a teacher told label chances of shape {chances.shape} for {places} places and "
                f"{len(self.labels)} labels: they must be {(places, len(self.labels) + 1)}, no object last"
            )


@dataclass(frozen=True, eq=False)
class SceneGeometry:
    """Depth and boxes as a geometry teacher sees them."""

    depth: tuple[NDArray[np.float32], ...] | None = None  #: a map a view (H, W), z-depth, 0 unknown
    metric: bool = True  #: whether that depth is in metres
    boxes: tuple[Box, ...] | None = None  #: in the scene's world frame; without poses: the first view's level frame
    instances: tuple[NDArray[np.int32], ...] | None = None  #: a map a view (H, W) of box ids, 0 no object


class TeacherGoneError(TeacherError):
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
