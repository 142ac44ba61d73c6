"""Language models over the encoded scene: the decoder interface, its reference implementation, greedy generation.

Axes: R questions, T tokens, N prefix tokens, D text width, S vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from dollhouse.models.dollhouse.modeling_language import SceneLanguageModel, select_scenes
from dollhouse.models.generation import GeneratedTokens, generate_greedy


class Decoder(Protocol):
    """Language model with a key-value cache of its own type for the scene, and one for questions about it."""

    model: SceneLanguageModel

    def encode_prefix(self, prefix: Tensor) -> Any:
        """Compute the scene's cache from the language prefix (1, N, D)."""

    def expand(self, scene: Any, rows: int, max_tokens: int) -> Any:
        """Copy the scene's cache for ``rows`` questions, with room for ``max_tokens`` more tokens."""

    def step(self, past: Any, ids: Tensor, skip: int = 0) -> Tensor:
        """Append tokens (R, T) to ``past`` and return the next token's logits (R, S) in float32.

        ``skip`` positions before the tokens stay empty.
        """

    def dynamic_cache(self, scene: Any, rows: int) -> DynamicCache:
        """Return the scene's cache for ``rows`` questions in transformers' format."""

    def continued(self, cache: DynamicCache, max_tokens: int) -> Any:
        """Return a cache of transformers' format as the decoder's own, with room for ``max_tokens`` more tokens."""


class PlainDecoder:
    """Run the language model's own forward pass: the reference, and the path of every architecture."""

    def __init__(self, model: SceneLanguageModel) -> None:
        self.model = model

    def encode_prefix(self, prefix: Tensor) -> DynamicCache:
        return self.model.encode_prefix(prefix)

    def expand(self, scene: DynamicCache, rows: int, max_tokens: int) -> DynamicCache:
        return self.dynamic_cache(scene, rows)

    def step(self, past: DynamicCache, ids: Tensor, skip: int = 0) -> Tensor:
        first = past.get_seq_length() + skip
        positions = torch.arange(first, first + ids.shape[1], device=ids.device).unsqueeze(0) if skip else None
        # the whole model is needed only for several passes over the thinking tokens: no photo comes after the prefix
        forward = self.model if self.model.config.thinking_passes > 1 else self.model.language_model
        output = forward(input_ids=ids, position_ids=positions, past_key_values=past, use_cache=True, logits_to_keep=1)
        logits: Tensor = output.logits[:, -1].float()
        return logits

    def dynamic_cache(self, scene: DynamicCache, rows: int) -> DynamicCache:
        return select_scenes(scene, torch.zeros(rows, dtype=torch.long, device=self.model.device))

    def continued(self, cache: DynamicCache, max_tokens: int) -> DynamicCache:
        return cache


def generate(
    decoder: Decoder, past: Any, ids: Tensor, max_new_tokens: int, skip: int = 0, top_k: int = 1
) -> list[GeneratedTokens]:
    """Generate greedy answers to questions (R, T) of one length, with ``top_k`` alternatives of each token.

    ``past``, the decoder's cache of everything before the questions, grows; ``skip`` positions before them stay empty.
    """
    feed = ids

    def next_logits(tokens: Tensor | None, open_rows: Tensor) -> Tensor:
        nonlocal feed
        if tokens is not None:  # finished rows stay in the batch; what they are fed has no effect
            feed = feed[:, -1:].index_put((open_rows,), tokens.unsqueeze(-1))
        return decoder.step(past, feed, skip)[open_rows]

    model = decoder.model
    return generate_greedy(
        next_logits, len(ids), max_new_tokens, model.config.eos_token_id, model.suppress_tokens(), top_k, ids.device
    )


def equal_length_batches(ids: Sequence[Sequence[int]], device: torch.device) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the rows of ``ids`` that have one length, and these as a tensor (R, T), so that nothing is padded."""
    for length in sorted({len(row) for row in ids}):
        rows = [number for number, row in enumerate(ids) if len(row) == length]
        yield rows, torch.tensor([ids[row] for row in rows], device=device)
