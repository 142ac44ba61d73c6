"""Greedy generation for many questions over one shared prefix.

The prefix (system prompt and scene) is prefilled once; its keys and values are never copied. The questions of a group
follow in one row, and a mask lets each token attend to the prefix and its own question only, at the positions it would
have alone. Nothing is padded, and a finished answer leaves the row.

Axes: P prefix tokens, T tokens of one question, Q unfinished questions, D width, K alternatives a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

_PREFIX = -1  #: owner of the tokens that every question attends to


@dataclass(eq=False)
class GeneratedAnswer:
    """One answer, the end token included where it was generated."""

    token_ids: list[int] = field(default_factory=list)
    top_ids: list[NDArray[np.int32]] = field(default_factory=list)  #: (K,) a token, most likely (and chosen) first
    top_log_probs: list[NDArray[np.float32]] = field(default_factory=list)  #: (K,) natural logarithms


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
    ) -> list[GeneratedAnswer]:
        """Generate greedy answers to a group of questions.

        Each question is given as embeddings (T, D) that follow the prefix.
        ``eos_token_id`` ends an answer. Where two tokens are equally likely, the smaller id is chosen.
        """
        with torch.inference_mode():
            try:
                return self._generate(questions, max_new_tokens, eos_token_id, top_k)
            finally:
                self._cache.crop(self.length - self._cache.get_seq_length())  # leaves the prefix

    def _generate(
        self, questions: Sequence[Tensor], max_new_tokens: int, eos_token_id: int, top_k: int
    ) -> list[GeneratedAnswer]:
        answers = [GeneratedAnswer() for _ in questions]
        device = questions[0].device
        lengths = torch.tensor([len(question) for question in questions], device=device)
        rows = torch.arange(len(questions), device=device)
        owners = torch.cat([torch.full((self.length,), _PREFIX, device=device), rows.repeat_interleave(lengths)])
        own = [torch.arange(len(question), device=device) + self.length for question in questions]
        positions = torch.cat([torch.arange(self.length, device=device), *own])
        embeds = torch.cat(list(questions))
        last = lengths.cumsum(0) - 1  # of each question, in ``embeds``
        embed = self.language_model.get_input_embeddings()
        for step in range(max_new_tokens):
            logits = self._logits(embeds, owners, positions, last)
            # a stable sort, so that ties go to the smaller id on every machine
            best = logits.sort(descending=True, stable=True)
            log_probs = best.values - logits.logsumexp(-1, keepdim=True)
            top_ids = best.indices[:, :top_k].int().cpu().numpy()
            top_log_probs = log_probs[:, :top_k].float().cpu().numpy()
            chosen = best.indices[:, 0]
            for place, row in enumerate(rows.tolist()):
                answers[row].token_ids.append(int(chosen[place]))
                answers[row].top_ids.append(top_ids[place])
                answers[row].top_log_probs.append(top_log_probs[place])
            unfinished = chosen != eos_token_id
            if step + 1 == max_new_tokens or not unfinished.any():
                break
            rows, chosen = rows[unfinished], chosen[unfinished]
            embeds = embed(chosen)
            last = torch.arange(len(chosen), device=device)
            owners = torch.cat([owners, rows])
            positions = torch.cat([positions, self.length + lengths[rows] + step])
        return answers

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
