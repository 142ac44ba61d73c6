"""Many questions about one scene, answered greedily together over one shared prefix.

Everything before the questions (system words and scene) is read once; its keys and values are never copied. The
questions of a group then follow in one row, one after the other, and a mask lets each token see the prefix and its
own question only, at the positions it would have alone. Nothing is padded, a finished answer drops out, and a step
reads the prefix once for all questions. Knows a causal language model, no images and no words.

Axes: P prefix tokens, T tokens of one question, Q open questions, D width, K kept alternatives.
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

_PREFIX = -1  #: owner of the tokens that every question may see


@dataclass(eq=False)
class GeneratedAnswer:
    """One answer, the end token included where it came before the limit."""

    token_ids: list[int] = field(default_factory=list)
    top_ids: list[NDArray[np.int32]] = field(default_factory=list)  #: (K,) a token, best first; the first was chosen
    top_log_probs: list[NDArray[np.float32]] = field(default_factory=list)  #: (K,) natural logarithms


class SharedPrefix:
    """What a language model remembers of a prefix, ready for any number of questions after it."""

    def __init__(self, language_model: Any, prefix: Tensor) -> None:
        """``language_model`` has a causal head; ``prefix`` are embeddings (P, D)."""
        self.language_model = language_model
        self.length = len(prefix)
        self._cache = DynamicCache()
        with torch.inference_mode():
            language_model(inputs_embeds=prefix[None], past_key_values=self._cache, use_cache=True, logits_to_keep=1)

    def generate(
        self, questions: Sequence[Tensor], max_new_tokens: int, eos_token_id: int, top_k: int
    ) -> list[GeneratedAnswer]:
        """Greedy answers to one group of questions, each the embeddings (T, D) of what follows the prefix.

        ``eos_token_id`` ends an answer. Where two tokens are equally likely, the smaller id is chosen.
        """
        with torch.inference_mode():
            try:
                return self._generate(questions, max_new_tokens, eos_token_id, top_k)
            finally:
                self._cache.crop(self.length - self._cache.get_seq_length())  # forget the questions, keep the prefix

    def _generate(
        self, questions: Sequence[Tensor], max_new_tokens: int, eos_token_id: int, top_k: int
    ) -> list[GeneratedAnswer]:
        answers = [GeneratedAnswer() for _ in questions]
        device = questions[0].device
        lengths = torch.tensor([len(question) for question in questions], device=device)
        open_rows = torch.arange(len(questions), device=device)
        owners = torch.cat([torch.full((self.length,), _PREFIX, device=device), open_rows.repeat_interleave(lengths)])
        own = [torch.arange(len(question), device=device) + self.length for question in questions]
        positions = torch.cat([torch.arange(self.length, device=device), *own])
        fed = torch.cat(list(questions))
        last = lengths.cumsum(0) - 1  # of each question, among what is fed
        embed = self.language_model.get_input_embeddings()
        for step in range(max_new_tokens):
            logits = self._logits(fed, owners, positions, last)
            # a stable sort, so that ties go to the smaller id on every machine
            best = logits.sort(descending=True, stable=True)
            log_probs = best.values - logits.logsumexp(-1, keepdim=True)
            kept, chances = best.indices[:, :top_k].int().cpu().numpy(), log_probs[:, :top_k].float().cpu().numpy()
            chosen = best.indices[:, 0]
            for place, row in enumerate(open_rows.tolist()):
                answers[row].token_ids.append(int(chosen[place]))
                answers[row].top_ids.append(kept[place])
                answers[row].top_log_probs.append(chances[place])
            going_on = chosen != eos_token_id
            if step + 1 == max_new_tokens or not going_on.any():
                break
            open_rows, chosen = open_rows[going_on], chosen[going_on]
            fed = embed(chosen)
            last = torch.arange(len(chosen), device=device)
            owners = torch.cat([owners, open_rows])
            positions = torch.cat([positions, self.length + lengths[open_rows] + step])
        return answers

    def _logits(self, fed: Tensor, owners: Tensor, positions: Tensor, last: Tensor) -> Tensor:
        """Logits (Q, vocabulary), in float32 at least, after the ``last`` of the fed tokens.

        ``owners`` and ``positions`` are those of all tokens so far, the fed ones at the end.
        """
        count = len(fed)
        whose, where = owners[-count:, None], positions[-count:, None]
        seen = (owners == _PREFIX) | ((owners == whose) & (positions <= where))
        mask = torch.zeros(seen.shape, dtype=fed.dtype, device=fed.device).masked_fill_(
            ~seen, torch.finfo(fed.dtype).min
        )
        output = self.language_model(
            inputs_embeds=fed[None],
            attention_mask=mask[None, None],
            position_ids=positions[None, -count:],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=last,
        )
        logits = output.logits[0]
        return logits if logits.dtype == torch.float64 else logits.float()
