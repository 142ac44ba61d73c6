"""A Dollhouse model as a teacher: a larger student teaches a smaller one.

Alone among the teachers, with the VGGT depth head, it knows the student's code; it is imported only when asked for.

Axes: V views, P patches of a view, D trunk width, T answer tokens, K kept alternatives.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from dollhouse.errors import TeacherError
from dollhouse.geometry import back_project, transform_points
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.session import MIN_BOX_SCORE, SceneSession
from dollhouse.models.dollhouse.tokenization import vocabulary_hash
from dollhouse.questions.generate import Question
from dollhouse.records.types import SceneGeometry, SpatialFeatures, TeacherAnswer
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.geometry import pad_to_photo, world_from_first_level


@dataclass(frozen=True)
class DollhouseTeacherSettings:
    """How the model looks and speaks; decoding is greedy. It looks at all views of a scene."""

    max_new_tokens: int = 48
    top_k: int = 16  #: alternatives kept a token
    sure: float = MIN_BOX_SCORE  #: score from which a box is told
    licence: str = "Apache-2.0"

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "top_k"):
            if getattr(self, name) < 1:
                raise TeacherError(f"settings of checkpoint: {name} is {getattr(self, name)}, must be at least 1")


class DollhouseTeacher:
    """A teacher in the sense of :class:`dollhouse.teachers.protocol.Teacher`."""

    def __init__(self, pipeline: DollhousePipeline, settings: DollhouseTeacherSettings | None = None) -> None:
        self.pipeline = pipeline
        self.settings = settings or DollhouseTeacherSettings()
        self._seen: tuple[Scene, SceneSession] | None = None  # the scene looked at last

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str] | None, settings: DollhouseTeacherSettings | None = None
    ) -> DollhouseTeacher:
        """The teacher of a model folder; None: the shipped student. Raises ModelError where it is none."""
        return cls(DollhousePipeline.from_pretrained(None if folder is None else os.fspath(folder)), settings)

    def provenance(self) -> dict[str, Any]:
        name, _, weights = self.pipeline.model_id.partition("@")
        settings = asdict(self.settings)
        return {
            "teacher": "checkpoint",
            "name": name,
            "weights": weights,
            "vocabulary": vocabulary_hash(self.pipeline.processor.tokenizer),
            "licence": settings.pop("licence"),
            "settings": {**settings, "decoding": "greedy"},
            "software": {"torch": torch.__version__, "transformers": transformers.__version__},
        }

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        """One greedy answer a question, with token ids and alternatives. Questions of one length go together."""
        memory = self._look(scene)
        processor = self.pipeline.processor
        ids = [processor.question_ids(question.text) for question in questions]
        answers: list[TeacherAnswer | None] = [None] * len(ids)
        with torch.inference_mode():
            for length in sorted({len(one) for one in ids}):
                rows = [row for row, one in enumerate(ids) if len(one) == length]
                batch = torch.tensor([ids[row] for row in rows], device=self.pipeline.model.device)
                for row, answer in zip(rows, self._speak(memory, batch), strict=True):
                    answers[row] = answer
        return [answer for answer in answers if answer is not None]

    def features(self, scene: Scene) -> SpatialFeatures | None:
        """Trunk features (V*P, D) of every patch, at the place that the patch's predicted depth gives it.

        With them, what each patch votes for: the chances of its labels.
        """
        memory = self._look(scene)
        if memory.perception is None:
            return None
        return SpatialFeatures(
            features=memory.perception.patches[0].flatten(0, 1).float().cpu().numpy(),
            points=transform_points(world_from_first_level(scene), self._patch_points(memory)),
            label_probs=memory.perception.votes.label_logits[0].float().softmax(-1).cpu().numpy(),
            labels=tuple(self.pipeline.model.config.labels),
        )

    def geometry(self, scene: Scene) -> SceneGeometry | None:
        """Predicted depth in metres, as large as the student sees it, and boxes of which it is sure enough."""
        if self.pipeline.model.config.blind:
            return None
        memory = self._look(scene)
        world_from_level = world_from_first_level(scene)
        boxes = [box.transformed(world_from_level) for box in memory.boxes if (box.score or 0.0) >= self.settings.sure]
        depth = zip(memory.depth, scene.views, strict=True)
        return SceneGeometry(
            depth=tuple(pad_to_photo(one, view) for one, view in depth),
            metric=True,
            boxes=tuple(replace(box, id=number + 1) for number, box in enumerate(boxes)),
        )

    def _look(self, scene: Scene) -> SceneSession:
        if self._seen is None or self._seen[0] is not scene:
            self._seen = scene, self.pipeline.encode_scene(scene, views=len(scene.views))
        return self._seen[1]

    def _patch_points(self, memory: SceneSession) -> np.ndarray:
        """Points (V*P, 3) in the first view's level frame: the middle of each patch at its median depth."""
        patch = int(self.pipeline.model.config.get_vision_config().patch_size)
        depth = memory.depth.astype(np.float64)
        views, height, width = depth.shape
        blocks = depth.reshape(views, height // patch, patch, width // patch, patch)
        median = np.median(blocks, axis=(2, 4))
        points = []
        for one, focal, pose in zip(median, memory.focal, memory.level_from_camera, strict=True):
            length = focal * width / patch  # in patches
            pinhole = np.array([[length, 0, one.shape[1] / 2], [0, length, one.shape[0] / 2], [0, 0, 1.0]])
            points.append(transform_points(pose, back_project(one, pinhole)).reshape(-1, 3))
        return np.concatenate(points)

    def _speak(self, memory: SceneSession, ids: Tensor) -> list[TeacherAnswer]:
        """Greedy answers to questions (R, T) of one length."""
        model = self.pipeline.model
        past = memory.prefill(ids, self.settings.max_new_tokens)
        never = torch.tensor(model.suppress_tokens(), device=ids.device)
        tokens: list[list[int]] = [[] for _ in ids]
        kept: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in ids]
        open_rows = set(range(len(ids)))
        feed = ids
        for _ in range(self.settings.max_new_tokens):
            logits = memory.decoder.step(past, feed)
            logits[:, never] = -torch.inf
            best = logits.log_softmax(-1).sort(descending=True, stable=True)
            top_ids = best.indices[:, : self.settings.top_k].int().cpu().numpy()
            chances = best.values[:, : self.settings.top_k].cpu().numpy()
            for row in sorted(open_rows):
                tokens[row].append(int(top_ids[row, 0]))
                kept[row].append((top_ids[row], chances[row]))
                if tokens[row][-1] == model.config.eos_token_id:
                    open_rows.discard(row)
            if not open_rows:
                break
            feed = best.indices[:, :1]
        decode = self.pipeline.processor.tokenizer.decode
        return [
            TeacherAnswer(
                text=decode(row, skip_special_tokens=True).strip(),
                token_ids=np.array(row, dtype=np.int32),
                top_ids=np.stack([ids for ids, _ in told]),
                top_log_probs=np.stack([chances for _, chances in told]),
            )
            for row, told in zip(tokens, kept, strict=True)
        ]
