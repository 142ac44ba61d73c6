"""A Dollhouse model as a teacher: a larger student teaches a smaller one.

Axes: V views, P patches of a view, D trunk width.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dollhouse.errors import TeacherError
from dollhouse.geometry import Array, back_project, transform_points
from dollhouse.inference.generation import equal_length_batches
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.session import MIN_BOX_SCORE
from dollhouse.inference.torch_session import TorchSession, torch_session
from dollhouse.models.dollhouse.tokenization import vocabulary_hash
from dollhouse.questions.generate import Question
from dollhouse.records.types import SceneGeometry, SpatialFeatures, TeacherAnswer
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.geometry import world_from_first_level
from dollhouse.teachers.local_model import model_provenance, token_answer
from dollhouse.teachers.protocol import Teacher, check_minimums
from dollhouse.teachers.reconstruction import Cameras

MAX_VIEWS = 64  #: photos that are encoded together, eight times those of a usual student; they share memory


@dataclass(frozen=True)
class DollhouseTeacherSettings:
    """Generation settings; decoding is greedy, and all views of a scene are encoded."""

    max_new_tokens: int = 48
    top_k: int = 16  #: alternatives stored per token
    min_box_score: float = MIN_BOX_SCORE  #: boxes with lower scores are left out
    licence: str = "Apache-2.0"

    def __post_init__(self) -> None:
        check_minimums("checkpoint", self, max_new_tokens=1, top_k=1)


class DollhouseTeacher(Teacher):
    """Answer with a Dollhouse model; returns tokens, trunk features, predicted depth and boxes."""

    def __init__(self, pipeline: DollhousePipeline, settings: DollhouseTeacherSettings | None = None) -> None:
        self.pipeline = pipeline
        self.settings = settings or DollhouseTeacherSettings()
        self._latest: tuple[Scene, TorchSession] | None = None

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str] | None, settings: DollhouseTeacherSettings | None = None
    ) -> DollhouseTeacher:
        """Load the model of a folder; None: the shipped student. Raises ModelError where the folder is none."""
        return cls(DollhousePipeline.from_pretrained(None if folder is None else os.fspath(folder)), settings)

    def provenance(self) -> dict[str, Any]:
        name, _, weights = self.pipeline.model_id.partition("@")
        settings = {
            "max_new_tokens": self.settings.max_new_tokens,
            "top_k": self.settings.top_k,
            "sure": self.settings.min_box_score,  # the key is part of record ids
            "decoding": "greedy",
        }
        vocabulary = vocabulary_hash(self.pipeline.processor.tokenizer)
        return model_provenance("checkpoint", name, weights, self.settings.licence, settings, vocabulary=vocabulary)

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        """Return one greedy answer per question; questions of equal length share a batch, so none is padded."""
        session = self._encode(scene)
        ids = [self.pipeline.processor.question_ids(question.text) for question in questions]
        answers: dict[int, TeacherAnswer] = {}
        for rows, batch in equal_length_batches(ids, self.pipeline.model.device):
            generated = session.generate(batch, self.settings.max_new_tokens, self.settings.top_k)
            tokenizer = self.pipeline.processor.tokenizer
            batch_answers = [token_answer(tokenizer, tokens, [tokenizer.eos_token_id]) for tokens in generated]
            answers |= dict(zip(rows, batch_answers, strict=True))
        return [answers[row] for row in range(len(ids))]

    def features(self, scene: Scene) -> SpatialFeatures | None:
        """Return trunk features (V*P, D) and label probabilities of all patches, at their predicted positions."""
        session = self._encode(scene)
        if session.perception is None:
            return None
        return SpatialFeatures(
            features=session.perception.patches[0].flatten(0, 1).float().cpu().numpy(),
            points=transform_points(world_from_first_level(scene), self._patch_points(session)),
            label_probs=session.perception.votes.label_logits[0].float().softmax(-1).cpu().numpy(),
            labels=tuple(self.pipeline.model.config.labels),
        )

    def geometry(self, scene: Scene) -> SceneGeometry | None:
        """Return predicted depth in metres at the model's input size, and boxes of sufficient score."""
        if self.pipeline.model.config.blind:
            return None
        session = self._encode(scene)
        world_from_level = world_from_first_level(scene)
        boxes = [box for box in session.boxes if (box.score or 0.0) >= self.settings.min_box_score]
        return SceneGeometry(
            depth=tuple(session.depth),
            metric=True,
            boxes=tuple(
                replace(box.transformed(world_from_level), id=number) for number, box in enumerate(boxes, start=1)
            ),
        )

    def cameras(self, scene: Scene, depth: Sequence[Array] | None) -> Cameras:
        """Return predicted cameras and depth in metres by the model's estimate; ``depth`` is not used.

        Raises ModelError for a blind student.
        """
        session = self._encode(scene)
        intrinsics = np.zeros((len(scene.views), 3, 3))
        for pinhole, focal, view in zip(intrinsics, session.focal, scene.views, strict=True):
            height, width = view.image.shape[:2]
            pinhole[:] = [[focal * width, 0, 0.5 * width], [0, focal * width, 0.5 * height], [0, 0, 1]]
        return Cameras(session.level_from_camera, intrinsics, tuple(session.depth), metric=True)

    def _encode(self, scene: Scene) -> TorchSession:
        if len(scene.views) > MAX_VIEWS:
            count = len(scene.views)
            raise TeacherError(
                f"scene {scene.name}: {count} photos are too many to encode at once; give --views {MAX_VIEWS}"
            )
        if self._latest is None or self._latest[0] is not scene:
            self._latest = scene, torch_session(self.pipeline.encode_scene(scene, views=len(scene.views)))
        return self._latest[1]

    def _patch_points(self, session: TorchSession) -> np.ndarray:
        """Return points (V*P, 3) in the first view's level frame: each patch's centre at its median depth."""
        patch = int(self.pipeline.model.config.get_vision_config().patch_size)
        views, height, width = session.depth.shape
        blocks = session.depth.astype(np.float64).reshape(views, height // patch, patch, width // patch, patch)
        points = []
        medians = np.median(blocks, axis=(2, 4))
        for depth, focal, pose in zip(medians, session.focal, session.level_from_camera, strict=True):
            length = focal * width / patch  # focal length in patches
            pinhole = np.array([[length, 0, depth.shape[1] / 2], [0, length, depth.shape[0] / 2], [0, 0, 1.0]])
            points.append(transform_points(pose, back_project(depth, pinhole)).reshape(-1, 3))
        return np.concatenate(points)
