"""Logit lens: the vocabulary's likeliest tokens at the thinking positions, the paper's diagnostic mode.

No loss trains these outputs, so the tokens are an untrained readout and not a chain of thought.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

TITLE = "untrained readout"
TOP_K = 5
MAX_EXAMPLES = 3  #: scenes whose own tokens are stored
MOST_COMMON = 3  #: of the likeliest tokens over all scenes, how many are reported


@dataclass
class LogitLens:
    """Accumulates logits (K, vocabulary) at the thinking positions over scenes."""

    tokenizer: PreTrainedTokenizerBase
    scenes: int = 0
    _probabilities: Any = 0.0
    _likeliest: dict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    _examples: dict[str, list[list[dict[str, Any]]]] = field(default_factory=dict)

    def add(self, scene: str, logits: Tensor) -> None:
        """Count one scene."""
        probabilities = logits.softmax(-1)
        self.scenes += 1
        self._probabilities = self._probabilities + probabilities
        for number, token in enumerate(logits.argmax(-1).tolist()):
            self._likeliest[number][token] += 1
        if len(self._examples) < MAX_EXAMPLES:
            self._examples[scene] = [self._top(row) for row in probabilities]

    def result(self) -> dict[str, Any]:
        """Return ``tokens``, a row for each thinking token over all scenes, and ``examples``: scene -> top tokens."""
        tokens = [
            {
                "argmax": [
                    {"token": self._decode(token), "scenes": n} for token, n in counter.most_common(MOST_COMMON)
                ],
                "distinct": len(counter),
                "top": self._top(self._probabilities[number] / self.scenes),
            }
            for number, counter in self._likeliest.items()
        ]
        return {"title": TITLE, "scenes": self.scenes, "tokens": tokens, "examples": self._examples}

    def _top(self, probabilities: Tensor) -> list[dict[str, Any]]:
        best = zip(*(part.tolist() for part in torch.topk(probabilities, min(TOP_K, len(probabilities)))), strict=True)
        return [{"token": self._decode(token), "probability": probability} for probability, token in best]

    def _decode(self, token: int) -> str:
        text = str(self.tokenizer.decode([token]))
        return text.strip() or repr(text)
