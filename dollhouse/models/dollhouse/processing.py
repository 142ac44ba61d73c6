"""Photos and text -> the student's inputs.

Knows the sequence's layout and how photos are brought to size; nothing of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor

from dollhouse.models.dollhouse.special_tokens import question_text, scene_text
from dollhouse.scenes.view_preprocessing import preprocess_image

Photo = np.ndarray | Image.Image


class DollhouseImageProcessor(BaseImageProcessor):
    """Photos of one place -> ``pixel_values``, as VGGT's official "crop" preprocessing (spec, section 7).

    Args:
        image_size: width in pixels, a multiple of 14.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012

    def __init__(self, image_size: int = 518, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.image_size = image_size

    def preprocess(
        self, images: Sequence[Photo] | Photo, return_tensors: str | None = None, **kwargs: Any
    ) -> BatchFeature:
        """One scene's photos, each (H, W, 3) uint8 or a PIL image -> ``pixel_values`` (1, V, 3, h, w) in [0, 1].

        Raises ValueError where photos of one scene come out in different shapes.
        """
        photos = [images] if isinstance(images, (np.ndarray, Image.Image)) else list(images)
        framed = [preprocess_image(np.asarray(photo), self.image_size) for photo in photos]
        if len({photo.shape for photo in framed}) > 1:
            raise ValueError(
                "the photos of one scene must have one shape: " + ", ".join(str(p.shape[:2]) for p in framed)
            )
        pixels = np.stack(framed).transpose(0, 3, 1, 2)[None].astype(np.float32) / 255
        return BatchFeature({"pixel_values": pixels}, tensor_type=return_tensors)


class DollhouseProcessor(ProcessorMixin):
    """Image processor and tokenizer in one; lays out ``[V][T1..TK][Q]<answer>`` (or T after Q).

    Args:
        image_processor, tokenizer: the two halves.
        prefix_length: tokens that the visual prefix takes.
        num_thinking_tokens, thinking_placement: Hidden CoT, see :mod:`dollhouse.models.dollhouse.special_tokens`.
    """

    def __init__(
        self,
        image_processor: DollhouseImageProcessor | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        prefix_length: int = 16,
        num_thinking_tokens: int = 8,
        thinking_placement: str = "before_question",
        **kwargs: Any,
    ) -> None:
        self.prefix_length = prefix_length
        self.num_thinking_tokens = num_thinking_tokens
        self.thinking_placement = thinking_placement
        super().__init__(image_processor, tokenizer, **kwargs)

    def __call__(
        self,
        images: Sequence[Photo] | None = None,
        text: str | Sequence[str] | None = None,
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Photos of one scene and questions about it -> ``input_ids``, ``attention_mask``, ``pixel_values``.

        The photos are repeated for every question, as ``generate`` wants them; to encode a scene once, use
        :class:`dollhouse.inference.session.SceneSession`.
        """
        data: dict[str, Any] = {}
        questions = [text] if isinstance(text, str) else list(text or [])
        if questions:
            prompts = [self.prompt(question) for question in questions]
            data.update(self.tokenizer(prompts, add_special_tokens=False, padding=True, return_tensors="np"))
            data.pop("token_type_ids", None)
        if images is not None:
            pixels = self.image_processor(images)["pixel_values"]
            data["pixel_values"] = np.repeat(pixels, max(len(questions), 1), axis=0)
        return BatchFeature(data, tensor_type=return_tensors)

    def prompt(self, question: str) -> str:
        """The whole text that stands before the answer."""
        count, placement = self.num_thinking_tokens, self.thinking_placement
        return scene_text(self.prefix_length, count, placement) + question_text(question, count, placement)

    def question_ids(self, question: str) -> list[int]:
        """The ids of one question's own part of the sequence."""
        text = question_text(question, self.num_thinking_tokens, self.thinking_placement)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
