"""The thinking tokens in words: what the vocabulary gives at their positions.

No loss ever taught these positions to say anything, so this is an UNTRAINED READ-OUT: words of a part of the network
that was never asked to speak. It is the paper's diagnostic mode. Knows logits and a tokenizer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

TITLE = "untrained read-out"
TOP = 5
EXAMPLES = 3  #: scenes whose own words are kept
COMMON = 3  #: of the likeliest words over all scenes, how many are told


@dataclass
class ReadOut:
    """Gathers logits (K, vocabulary) at the thinking positions, scene by scene."""

    tokenizer: PreTrainedTokenizerBase
    scenes: int = 0
    _chances: Tensor | None = None
    _likeliest: list[Counter[int]] = field(default_factory=list)
    _examples: dict[str, list[list[dict[str, Any]]]] = field(default_factory=dict)

    def add(self, scene: str, logits: Tensor) -> None:
        """Count one scene."""
        chances = logits.softmax(-1)
        self.scenes += 1
        self._chances = chances if self._chances is None else self._chances + chances
        self._likeliest = self._likeliest or [Counter() for _ in logits]
        for counter, token in zip(self._likeliest, logits.argmax(-1).tolist(), strict=True):
            counter[token] += 1
        if len(self._examples) < EXAMPLES:
            self._examples[scene] = [self._top(row) for row in chances]

    def result(self) -> dict[str, Any]:
        """``tokens``: each thinking token's likeliest words over all scenes; ``examples``: scene -> token -> top 5."""
        tokens = [
            {
                "argmax": [
                    {"word": self._word(token), "scenes": count} for token, count in counter.most_common(COMMON)
                ],
                "different": len(counter),
                "top": self._top(row / self.scenes),
            }
            for counter, row in zip(self._likeliest, self._chances if self._chances is not None else (), strict=True)
        ]
        return {"title": TITLE, "scenes": self.scenes, "tokens": tokens, "examples": self._examples}

    def _top(self, chances: Tensor) -> list[dict[str, Any]]:
        best = torch.topk(chances, min(TOP, len(chances)))
        return [
            {"word": self._word(int(token)), "chance": float(chance)}
            for chance, token in zip(best.values, best.indices, strict=True)
        ]

    def _word(self, token: int) -> str:
        return str(self.tokenizer.decode([token])).strip() or repr(self.tokenizer.decode([token]))
