"""Greedy generation for many questions over one shared prefix.

The prefix (system prompt and scene) is prefilled once; its keys and values are never copied. The questions of a group
follow in one row, and a mask lets each token attend to the prefix and its own question only, at the positions it would
have alone. Nothing is padded, and a finished answer leaves the row.

Axes: P prefix tokens, T tokens of one question, Q unfinished questions, D width, K alternatives a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from dollhouse.models.generation import GeneratedTokens, generate_greedy

_PREFIX = -1  #: owner of the tokens that every question attends to


class SharedPrefix:
    """Cached keys and values of a prefix, for any number of questions after it."""

    def __init__(self, language_model: Any, prefix: Tensor) -> None:
        """Prefill ``language_model``, a causal LM, with embeddings ``prefix`` (P, D)."""
        self.language_model = language_model
        self.length = len(prefix)
        self._cache = DynamicCache()
        with torch.inference_mode():
            language_model(inputs_embeds=prefix[None], past_key_values=self._cache, use_cache=True, logits_to_keep=1)

    def generate(
        self, questions: Sequence[Tensor], max_new_tokens: int, eos_token_id: int, top_k: int
    ) -> list[GeneratedTokens]:
        """Generate greedy answers to a group of questions.

        Each question is given as embeddings (T, D) that follow the prefix.
        ``eos_token_id`` ends an answer. Where two tokens are equally likely, the smaller id is chosen.
        """
        device = questions[0].device
        lengths = torch.tensor([len(question) for question in questions], device=device)
        rows = torch.arange(len(questions), device=device)
        owners = torch.cat([torch.full((self.length,), _PREFIX, device=device), rows.repeat_interleave(lengths)])
        own = [torch.arange(len(question), device=device) + self.length for question in questions]
        positions = torch.cat([torch.arange(self.length, device=device), *own])
        embed = self.language_model.get_input_embeddings()
        end = self.length + lengths  # position of each question's next token

        def next_logits(tokens: Tensor | None, open_rows: Tensor) -> Tensor:
            nonlocal owners, positions
            if tokens is None:
                return self._logits(torch.cat(list(questions)), owners, positions, lengths.cumsum(0) - 1)
            owners, positions = torch.cat([owners, open_rows]), torch.cat([positions, end[open_rows]])
            end[open_rows] += 1
            return self._logits(embed(tokens), owners, positions, torch.arange(len(tokens), device=device))

        with torch.inference_mode():
            try:
                return generate_greedy(
                    next_logits, len(questions), max_new_tokens, eos_token_id, top_k=top_k, device=device
                )
            finally:
                self._cache.crop(self.length - self._cache.get_seq_length())  # leaves the prefix

    def _logits(self, embeds: Tensor, owners: Tensor, positions: Tensor, last: Tensor) -> Tensor:
        """Compute logits (Q, vocabulary), in float32 at least, after the ``last`` of the new tokens.

        ``owners`` and ``positions`` are those of all tokens so far, the new ones at the end.
        """
        count = len(embeds)
        new_owners, new_positions = owners[-count:, None], positions[-count:, None]
        attended = (owners == _PREFIX) | ((owners == new_owners) & (positions <= new_positions))
        mask = torch.zeros(attended.shape, dtype=embeds.dtype, device=embeds.device).masked_fill_(
            ~attended, torch.finfo(embeds.dtype).min
        )
        output = self.language_model(
            inputs_embeds=embeds[None],
            attention_mask=mask[None, None],
            position_ids=positions[None, -count:],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=last,
        )
        logits = output.logits[0]
        return logits if logits.dtype == torch.float64 else logits.float()
