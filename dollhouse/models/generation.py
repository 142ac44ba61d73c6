"""Greedy decoding with top-k log-probabilities, shared by all language models.

Axes: R sequences, Q open sequences, S vocabulary, K alternatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: ``next_logits(tokens, open_rows)``: append ``tokens`` (Q,) to the open sequences (Q,), None before the first token,
#: and return logits (Q, S) of the next one, in float32 or float64.
NextLogits = Callable[[Tensor | None, Tensor], Tensor]


@dataclass(eq=False)
class GeneratedTokens:
    """One generated sequence, including the end token where it came before the limit."""

    token_ids: list[int] = field(default_factory=list)
    top_ids: list[NDArray[np.int32]] = field(default_factory=list)  #: (K,) a token, best first; the first was chosen
    top_log_probs: list[NDArray[np.float32]] = field(default_factory=list)  #: (K,) natural logarithms

    @property
    def confidence(self) -> float:
        """Geometric mean of the probabilities of the chosen tokens."""
        return float(np.exp(sum(float(values[0]) for values in self.top_log_probs) / max(len(self.token_ids), 1)))


def generate_greedy(
    next_logits: NextLogits,
    rows: int,
    max_new_tokens: int,
    eos_token_id: int | None,
    suppress_tokens: Sequence[int] = (),
    top_k: int = 1,
    device: torch.device | str | None = None,
) -> list[GeneratedTokens]:
    """Generate ``rows`` sequences, each token the likeliest one, until all have ended.

    Where several tokens are equally likely, the smallest id is chosen.
    """
    sequences = [GeneratedTokens() for _ in range(rows)]
    open_rows = torch.arange(rows, device=device)
    suppressed = torch.tensor(list(suppress_tokens), dtype=torch.long, device=device)
    tokens = None
    for _ in range(max_new_tokens if rows else 0):
        logits = next_logits(tokens, open_rows)
        logits[:, suppressed] = -torch.inf
        log_probs, ids = top_tokens(logits, top_k)
        top_ids, values = ids.int().cpu().numpy(), log_probs.float().cpu().numpy()
        for place, row in enumerate(open_rows.tolist()):
            sequences[row].token_ids.append(int(top_ids[place, 0]))
            sequences[row].top_ids.append(top_ids[place])
            sequences[row].top_log_probs.append(values[place])
        tokens = ids[:, 0]
        if eos_token_id is not None:
            unfinished = tokens != eos_token_id
            open_rows, tokens = open_rows[unfinished], tokens[unfinished]
        if not len(open_rows):
            break
    return sequences


def top_tokens(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Return log-probabilities and ids (Q, K) of the likeliest tokens, best first."""
    log_probs = logits.log_softmax(-1)
    if top_k == 1:
        best = log_probs.max(-1, keepdim=True)
        return best.values, best.indices
    ordered = log_probs.sort(descending=True, stable=True)  # stable: ties go to the smaller id on every machine
    return ordered.values[:, :top_k], ordered.indices[:, :top_k]
