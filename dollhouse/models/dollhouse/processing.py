"""Processor of the student: photos and questions to model inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from dollhouse.models.dollhouse.image_processing import DollhouseImageProcessor, Photo
from dollhouse.models.dollhouse.special_tokens import question_text, scene_text
from dollhouse.questions.wording import normalise_question


class DollhouseProcessor(ProcessorMixin):
    """Image processor and tokenizer; prompts are ``[V][T1..TK][Q]<answer>`` (or T after Q).

    Args:
        image_processor, tokenizer: the two parts.
        prefix_length: tokens of the visual prefix, without those of the views.
        grid_size: side of the grid of cells of each view, whose tokens follow in the prefix.
        num_thinking_tokens, thinking_placement: Hidden CoT, see :mod:`dollhouse.models.dollhouse.special_tokens`.
        normalise_questions: whether questions are rewritten by :mod:`dollhouse.questions.wording` first.
        chat_format: texts of a chat template before and after the question; None: none.
    """

    def __init__(
        self,
        image_processor: DollhouseImageProcessor | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        prefix_length: int = 16,
        num_thinking_tokens: int = 8,
        thinking_placement: str = "before_question",
        normalise_questions: bool = False,
        grid_size: int = 0,
        chat_format: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.prefix_length = prefix_length
        self.num_thinking_tokens = num_thinking_tokens
        self.thinking_placement = thinking_placement
        self.normalise_questions = normalise_questions
        self.grid_size = grid_size
        self.chat_format = chat_format and list(chat_format)
        super().__init__(image_processor, tokenizer, **kwargs)

    def __call__(
        self,
        images: Sequence[Photo] | None = None,
        text: str | Sequence[str] | None = None,
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare photos of one scene and questions: ``input_ids``, ``attention_mask``, ``pixel_values``.

        The photos are repeated for every question, as ``generate`` needs them; to encode a scene once, use
        :class:`dollhouse.inference.session.SceneSession`.
        """
        data: dict[str, Any] = {}
        pixels = None if images is None else self.image_processor(images)["pixel_values"]
        questions = [text] if isinstance(text, str) else list(text or [])
        if questions:
            prompts = [self.prompt(question, 0 if pixels is None else pixels.shape[1]) for question in questions]
            data.update(self.tokenizer(prompts, add_special_tokens=False, padding=True, return_tensors="np"))
            data.pop("token_type_ids", None)
        if pixels is not None:
            data["pixel_values"] = np.repeat(pixels, max(len(questions), 1), axis=0)
        return BatchFeature(data, tensor_type=return_tensors)

    def prompt(self, question: str, views: int = 0) -> str:
        """Return the whole prompt of a question about a scene of ``views`` photos."""
        count, placement = self.num_thinking_tokens, self.thinking_placement
        length = self.prefix_length + views * self.grid_size**2
        return scene_text(length, count, placement) + self._question_text(question)

    def question_ids(self, question: str) -> list[int]:
        """Return the ids of the question's part of the prompt."""
        return list(self.tokenizer(self._question_text(question), add_special_tokens=False)["input_ids"])

    def _question_text(self, question: str) -> str:
        question = normalise_question(question) if self.normalise_questions else question
        return question_text(question, self.num_thinking_tokens, self.thinking_placement, self.chat_format)
