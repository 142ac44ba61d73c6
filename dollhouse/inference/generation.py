"""Greedy generation with a key-value cache: the decoder interface, the plain decoder and the decoding loop.

Axes: R rows (questions), T tokens, N prefix tokens, D text width, S vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from dollhouse.models.dollhouse.modeling_language import SceneLanguageModel, select_scenes


class Decoder(Protocol):
    """A language model that reads a scene once and goes on from it. ``scene`` and ``past`` are its own affair."""

    model: SceneLanguageModel

    def encode_prefix(self, prefix: Tensor) -> Any:
        """Language prefix (1, N, D) -> what stands before every question of a scene."""

    def open(self, scene: Any, rows: int, room: int) -> Any:
        """A past of its own for ``rows`` questions about ``scene``, to which up to ``room`` tokens will be added."""

    def step(self, past: Any, ids: Tensor, skip: int = 0) -> Tensor:
        """Tokens (R, T) are added to ``past``; logits (R, S) of what comes after the last, in float32.

        ``skip`` positions before them stay empty.
        """

    def cache(self, scene: Any, rows: int) -> DynamicCache:
        """The scene as Hugging Face's ``generate`` takes it, for ``rows`` questions."""


class PlainDecoder:
    """The model itself."""

    def __init__(self, model: SceneLanguageModel) -> None:
        self.model = model

    def encode_prefix(self, prefix: Tensor) -> DynamicCache:
        return self.model.encode_prefix(prefix)

    def open(self, scene: DynamicCache, rows: int, room: int) -> DynamicCache:
        return self.cache(scene, rows)

    def step(self, past: DynamicCache, ids: Tensor, skip: int = 0) -> Tensor:
        first = past.get_seq_length() + skip
        places = torch.arange(first, first + ids.shape[1], device=ids.device).unsqueeze(0) if skip else None
        # the whole model only where it has to go over thinking tokens again: no photo comes after the prefix
        speaks = self.model if self.model.config.thinking_passes > 1 else self.model.language_model
        told = speaks(input_ids=ids, position_ids=places, past_key_values=past, use_cache=True, logits_to_keep=1)
        logits: Tensor = told.logits[:, -1].float()
        return logits

    def cache(self, scene: DynamicCache, rows: int) -> DynamicCache:
        return select_scenes(scene, torch.zeros(rows, dtype=torch.long, device=self.model.device))


def generate(
    decoder: Decoder,
    past: Any,
    ids: Tensor,
    max_new_tokens: int,
    skip: int = 0,
    on_step: Callable[[Tensor, list[int]], None] | None = None,
) -> list[tuple[list[int], float]]:
    """Greedy answers to questions (R, T) of one length: tokens, and the geometric mean of their probabilities.

    ``past`` is the decoder's own: what stands before each question; it grows. ``skip`` positions before the question
    stay empty. ``on_step`` receives the log probabilities (R, S) of every token and the rows that are not finished.
    """
    never = torch.tensor(decoder.model.suppress_tokens(), device=ids.device)
    end = decoder.model.config.eos_token_id
    tokens: list[list[int]] = [[] for _ in ids]
    log_probability = [0.0] * len(ids)
    open_rows = set(range(len(ids)))
    feed = ids
    for _ in range(max_new_tokens):
        logits = decoder.step(past, feed, skip)
        logits[:, never] = -torch.inf
        log_probs = logits.log_softmax(-1)
        if on_step is not None:
            on_step(log_probs, sorted(open_rows))
        best, choice = log_probs.max(-1)
        chances, chosen = best.tolist(), choice.tolist()
        for row in list(open_rows):
            log_probability[row] += chances[row]
            tokens[row].append(chosen[row])
            if chosen[row] == end:
                open_rows.discard(row)
        if not open_rows:
            break
        feed = choice.unsqueeze(-1)
    return [(row, float(np.exp(total / max(len(row), 1)))) for row, total in zip(tokens, log_probability, strict=True)]
