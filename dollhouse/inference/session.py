"""Answer questions about one encoded scene, and read its predicted depth, cameras and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import DynamicCache

from dollhouse.errors import ModelError, QuestionError
from dollhouse.geometry import Array
from dollhouse.inference.generation import Decoder, generate
from dollhouse.models.dollhouse.modeling import PerceptionOutput
from dollhouse.models.dollhouse.proposal_head import ProposalOutput
from dollhouse.scenes.scene import Box, Scene

if TYPE_CHECKING:
    from dollhouse.inference.pipeline import DollhousePipeline

MIN_BOX_SCORE = 0.3  #: score from which a box is shown; evaluation uses all of them
MAX_QUESTION_TOKENS = 256


@dataclass(frozen=True)
class Answer:
    """One answer and how sure the student was: the geometric mean probability of its tokens."""

    question: str
    text: str
    confidence: float


class SceneSession:
    """What a student made of one scene. 3D is in the level frame of the first view (:mod:`dollhouse.geometry`)."""

    def __init__(
        self,
        pipeline: DollhousePipeline,
        scene: Scene,
        images: NDArray[np.uint8],
        prefix: Tensor,
        perception: PerceptionOutput | None,
    ) -> None:
        self.pipeline = pipeline
        self.scene = scene
        self.images = images  #: (V, H, W, 3) as the student saw them
        self.prefix = prefix  #: (1, N, D) what the language model reads first
        self.perception = perception
        with torch.inference_mode():
            self._scene = self.decoder.encode_prefix(prefix)

    @property
    def decoder(self) -> Decoder:
        """What goes on from this scene."""
        return self.pipeline.decoder

    @property
    def depth(self) -> NDArray[np.float32]:
        """Predicted z-depth (V, H, W) in metres; made when it is first asked for."""
        with torch.inference_mode():
            return self._eyes.log_depth[0].exp().cpu().numpy()

    @property
    def level_from_camera(self) -> Array:
        """Predicted poses (V, 4, 4)."""
        return self._eyes.cameras.level_from_camera[0].double().cpu().numpy()

    @property
    def focal(self) -> Array:
        """Predicted focal lengths (V,) divided by the image's width."""
        return self._eyes.cameras.focal[0].double().cpu().numpy()

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Predicted objects with their scores, surest first."""
        config = self.pipeline.model.config
        return boxes_from_proposals(self._eyes.objects, config.labels, config.colours, config.oriented_labels)

    @property
    def _eyes(self) -> PerceptionOutput:
        if self.perception is None:
            raise ModelError(f"{self.pipeline.model_id} is a blind student: it has no depth, cameras or boxes")
        return self.perception

    def ask(self, questions: str | Sequence[str]) -> list[str]:
        """Answers to one or many questions, in their order."""
        return [answer.text for answer in self.answer([questions] if isinstance(questions, str) else questions)]

    def answer(self, questions: Sequence[str], max_new_tokens: int = 48) -> list[Answer]:
        """Greedy answers with confidences. Raises QuestionError for an empty or endless question."""
        ids = [self.pipeline.processor.question_ids(self._checked(question)) for question in questions]
        if not ids:
            return []
        with torch.inference_mode():
            return [
                Answer(question, *told)
                for question, told in zip(questions, self._decode(ids, max_new_tokens), strict=True)
            ]

    def dynamic_cache(self, questions: int) -> DynamicCache:
        """Keys and values of all that stands before the question, once a question, in Hugging Face's form."""
        return self.decoder.cache(self._scene, questions)

    def prefill(self, questions: Tensor, max_new_tokens: int) -> Any:
        """The same as :attr:`decoder` goes on from, with room for questions (R, T) of one length and their answers."""
        return self.decoder.open(self._scene, len(questions), questions.shape[1] + max_new_tokens)

    def _checked(self, question: str) -> str:
        if not question.strip():
            raise QuestionError("an empty question cannot be answered: ask in words")
        if len(self.pipeline.processor.question_ids(question)) > MAX_QUESTION_TOKENS:
            raise QuestionError(f"the question is longer than {MAX_QUESTION_TOKENS} tokens: ask in fewer words")
        return question

    def _decode(self, ids: list[list[int]], max_new_tokens: int) -> list[tuple[str, float]]:
        """Greedy decoding of all questions at once; questions of one length share a batch, so none is padded."""
        told: list[tuple[str, float]] = [("", 0.0)] * len(ids)
        for length in sorted({len(one) for one in ids}):
            rows = [row for row, one in enumerate(ids) if len(one) == length]
            batch = torch.tensor([ids[row] for row in rows], device=self.pipeline.model.device)
            spoken = generate(self.decoder, self.prefill(batch, max_new_tokens), batch, max_new_tokens)
            for row, (tokens, confidence) in zip(rows, spoken, strict=True):
                text = self.pipeline.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
                told[row] = (text, confidence)
        return told


def boxes_from_proposals(
    objects: ProposalOutput, labels: Sequence[str], colours: Sequence[str], oriented_labels: Sequence[str]
) -> tuple[Box, ...]:
    """The first scene's slots as boxes, surest first; several labels never share a slot."""
    found = []
    score, label = objects.label_logits[0].float().sigmoid().max(-1)
    colour = objects.colour_logits[0].argmax(-1)
    for slot in objects.present[0].nonzero().squeeze(-1).tolist():
        name = labels[int(label[slot])]
        has_front = name in oriented_labels
        if has_front:
            yaw = torch.atan2(objects.front[0, slot, 1], objects.front[0, slot, 0])
        else:
            yaw = 0.5 * torch.atan2(objects.axis[0, slot, 1], objects.axis[0, slot, 0])
        found.append(
            Box(
                id=slot + 1,
                label=name,
                center=objects.center[0, slot].double().cpu().numpy(),
                size=objects.log_size[0, slot].double().exp().clamp(0.01, 20).cpu().numpy(),
                yaw=float(yaw),
                has_front=has_front,
                colour=colours[int(colour[slot])] if colours else None,
                score=float(score[slot]),
            )
        )
    return tuple(sorted(found, key=lambda box: -(box.score or 0.0)))
