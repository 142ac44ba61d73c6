"""Answer questions about one encoded scene, and return its predicted depth, cameras and boxes.

Axes: V views, H and W pixels, N prefix tokens, D text width, R questions, T tokens.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import DynamicCache

from dollhouse.errors import ModelError, QuestionError
from dollhouse.geometry import Array, back_project, intrinsics_from_fov, transform_points
from dollhouse.inference.confidence import calibrated_confidence
from dollhouse.inference.generation import Decoder, equal_length_batches, generate
from dollhouse.models.dollhouse.modeling import PerceptionOutput
from dollhouse.models.dollhouse.rgbd_embedding import RGBDInputs
from dollhouse.models.generation import GeneratedTokens
from dollhouse.questions.wording import normalise_question, views_named
from dollhouse.scenes.scale import ESTIMATED, Scale
from dollhouse.scenes.scene import Box, Scene

if TYPE_CHECKING:
    from dollhouse.inference.pipeline import DollhousePipeline

MIN_BOX_SCORE = 0.3  #: score from which a box is shown; evaluation uses all of them
MAX_QUESTION_TOKENS = 256
_LENGTH = re.compile(r"\b(\d+(?:\.\d+)?) m\b")


@dataclass(frozen=True)
class Answer:
    """One answer; its confidence is the geometric mean probability of its tokens, calibrated by the model's config."""

    question: str
    text: str
    confidence: float
    scale: Scale | None = None  #: of the lengths in the text; None where there is none
    unsure: bool = False  #: whether the confidence is below the model's ``min_confidence``


class SceneSession:
    """One encoded scene. Geometry is in the level frame of the first view (:mod:`dollhouse.geometry`)."""

    def __init__(
        self,
        pipeline: DollhousePipeline,
        scene: Scene,
        pixel_values: Tensor,
        prefix: Tensor,
        perception: PerceptionOutput | None,
        rgbd: RGBDInputs | None = None,
        scale: Scale = ESTIMATED,
    ) -> None:
        self.pipeline = pipeline
        self.scene = scene
        self.pixel_values = pixel_values  #: (1, V, 3, H, W) in [0, 1]
        self.perception = perception  #: None for a blind student
        self.rgbd = rgbd
        self.scale = scale  #: of depth, boxes, cameras and answers
        self.scale_factor = 1.0  #: by which :meth:`rescaled` has multiplied predicted lengths
        self._encode_prefix(prefix)

    def _encode_prefix(self, prefix: Tensor) -> None:
        self.prefix = prefix  #: (1, N, D) input embeddings of the language model
        with torch.inference_mode():
            self._scene_cache = self.decoder.encode_prefix(prefix)

    def with_prefix(self, prefix: Tensor) -> SceneSession:
        """Return a session on the same scene with another language prefix (1, N, D)."""
        session = copy.copy(self)
        session._encode_prefix(prefix)
        return session

    def rescaled(self, factor: float, scale: Scale) -> SceneSession:
        """Return a session with all lengths multiplied by ``factor``, and their new scale.

        The language prefix stays, since the model was trained on rooms of usual size; lengths in answers are
        multiplied instead.
        """
        session = copy.copy(self)
        session.perception = self._require_perception().scaled(factor)
        session.scale, session.scale_factor = scale, self.scale_factor * factor
        session.__dict__.pop("depth", None)
        return session

    @property
    def decoder(self) -> Decoder:
        """The pipeline's decoder."""
        return self.pipeline.decoder

    @property
    def images(self) -> NDArray[np.uint8]:
        """The photos (V, H, W, 3) at the size that the model gets."""
        return (self.pixel_values[0].permute(0, 2, 3, 1) * 255).round().to(torch.uint8).cpu().numpy()

    @cached_property
    def depth(self) -> NDArray[np.float32]:
        """Predicted z-depth (V, H, W) in metres, computed on first use."""
        with torch.inference_mode():
            log_depth = self.pipeline.model.predict_log_depth(self._require_perception(), self.pixel_values, self.rgbd)
            return log_depth[0].exp().cpu().numpy()

    @property
    def level_from_camera(self) -> Array:
        """Predicted poses (V, 4, 4)."""
        return self._require_perception().cameras.level_from_camera[0].double().cpu().numpy()

    @property
    def focal(self) -> Array:
        """Predicted focal lengths (V,) divided by the image's width."""
        return self._require_perception().cameras.focal[0].double().cpu().numpy()

    @property
    def points(self) -> Array:
        """Predicted point of each pixel (V, H, W, 3) in the level frame of the first view."""
        height, width = self.depth.shape[1:]
        fovs = 2 * np.arctan(0.5 / self.focal)
        views = zip(self.level_from_camera, self.depth, fovs, strict=True)
        clouds = [(pose, back_project(depth, intrinsics_from_fov(fov, width, height))) for pose, depth, fov in views]
        return np.stack([transform_points(pose, cloud) for pose, cloud in clouds])

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Predicted boxes with scores, highest first."""
        objects, config = self._require_perception().objects, self.pipeline.model.config
        boxes = []
        score, label = objects.label_logits[0].float().sigmoid().max(-1)
        colour = objects.colour_logits[0].argmax(-1)
        front, axis = (torch.atan2(field[0, :, 1], field[0, :, 0]) for field in (objects.front, objects.axis))
        for slot in objects.present[0].nonzero().squeeze(-1).tolist():
            name = config.labels[int(label[slot])]
            has_front = name in config.oriented_labels
            boxes.append(
                Box(
                    id=slot + 1,
                    label=name,
                    center=objects.center[0, slot].double().cpu().numpy(),
                    size=objects.log_size[0, slot].double().exp().clamp(0.01, 20).cpu().numpy(),
                    yaw=float(front[slot] if has_front else 0.5 * axis[slot]),
                    has_front=has_front,
                    colour=config.colours[int(colour[slot])] if config.colours else None,
                    score=float(score[slot]),
                )
            )
        return tuple(sorted(boxes, key=lambda box: -(box.score or 0.0)))

    def _require_perception(self) -> PerceptionOutput:
        if self.perception is None:
            raise ModelError(f"{self.pipeline.model_id} is a blind student: it has no depth, cameras or boxes")
        return self.perception

    def ask(self, questions: str | Sequence[str]) -> list[str]:
        """Return the answers to one or several questions, in order."""
        return [answer.text for answer in self.answer([questions] if isinstance(questions, str) else questions)]

    def answer(self, questions: Sequence[str], max_new_tokens: int = 48) -> list[Answer]:
        """Generate greedy answers with confidences.

        Raises:
            QuestionError: for a question that is empty or longer than ``MAX_QUESTION_TOKENS``.
        """
        answers = {row: refused for row, text in enumerate(questions) if (refused := self._refuse_view(text))}
        asked = [row for row in range(len(questions)) if row not in answers]
        ids = [self._question_ids(questions[row]) for row in asked]
        config = self.pipeline.model.config
        for places, batch in equal_length_batches(ids, self.pipeline.model.device):
            for place, generated in zip(places, self.generate(batch, max_new_tokens), strict=True):
                text = self.pipeline.processor.tokenizer.decode(generated.token_ids, skip_special_tokens=True).strip()
                row = asked[place]
                confidence = calibrated_confidence(generated.confidence, config.answer_temperature)
                answer = Answer(questions[row], text, confidence, unsure=confidence < config.min_confidence)
                answers[row] = self._answer_in_scale(answer)
        return [answers[row] for row in range(len(questions))]

    def _refuse_view(self, question: str) -> Answer | None:
        """Answer a question about a view that the scene does not have; None for other questions."""
        count, processor = len(self.pixel_values[0]), self.pipeline.processor
        if not processor.normalise_questions:
            return None
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

    def generate(self, ids: Tensor, max_new_tokens: int, top_k: int = 1) -> list[GeneratedTokens]:
        """Generate greedy answers to tokenized questions (R, T) of one length."""
        with torch.inference_mode():
            return generate(self.decoder, self.prefill(ids, max_new_tokens), ids, max_new_tokens, top_k=top_k)

    def prefill(self, ids: Tensor, max_new_tokens: int) -> Any:
        """Return the decoder's cache of the scene, with room for questions (R, T) and their answers."""
        return self.decoder.expand(self._scene_cache, len(ids), ids.shape[1] + max_new_tokens)

    def dynamic_cache(self, rows: int) -> DynamicCache:
        """Return the key-value cache of the scene for ``rows`` questions in transformers' format."""
        return self.decoder.dynamic_cache(self._scene_cache, rows)

    def _question_ids(self, question: str) -> list[int]:
        if not question.strip():
            raise QuestionError("an empty question cannot be answered: ask in words")
        ids = self.pipeline.processor.question_ids(question)
        if len(ids) > MAX_QUESTION_TOKENS:
            raise QuestionError(f"the question is longer than {MAX_QUESTION_TOKENS} tokens: ask in fewer words")
        return ids
