"""Attention of the thinking tokens and of the answer token, summed by kind of position.

Attention is a mean over heads, questions and scenes. "Uniform" is the share of a group if a position attended equally
to itself and everything before it. Axes: K thinking tokens, S positions, L labels.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dollhouse.evaluation.probing.activations import Activations

ANSWER = "answer"  #: the position whose output is the answer's first token
OBJECTS, EMPTY, PREFIX, CELLS = "objects", "empty slots", "constant prefix", "cells of the views"
ITSELF, THINKING, QUESTION = "itself", "thinking tokens", "question"


def groups_of(activations: Activations, place: int) -> dict[str, Tensor]:
    """Group the positions that ``place`` can attend to; ``thinking tokens`` excludes the position itself."""
    slots, filled = activations.slots, activations.filled
    groups = {
        **({OBJECTS: slots[filled], EMPTY: slots[~filled]} if filled.any() else {PREFIX: slots}),
        CELLS: activations.cells,
        THINKING: activations.thinking[activations.thinking < place],
        QUESTION: activations.question[activations.question < place],
        ITSELF: torch.tensor([place]),
    }
    return {name: places for name, places in groups.items() if len(places)}


@dataclass
class AttentionSummary:
    """Accumulates sums over questions."""

    labels: tuple[str, ...]
    count: int = 0
    _shares: dict[tuple[str, str], Any] = field(default_factory=lambda: defaultdict(float))  #: (from, to) -> (layers,)
    _uniform: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    _by_label: Any = 0.0  #: (K, L) attention summed over slots with the label, mean over layers
    _slots: Any = 0.0  #: (L,) such slots

    def add(self, activations: Activations) -> None:
        """Count one question about one scene."""
        self.count += 1
        sources = {f"thinking token {number}": int(place) for number, place in enumerate(activations.thinking, 1)}
        for name, place in {**sources, ANSWER: activations.answer}.items():
            for group, places in groups_of(activations, place).items():
                self._shares[name, group] += activations.attention[:, place, places].sum(-1).double().numpy()
                self._uniform[name, group] += len(places) / (place + 1)
        filled = activations.filled
        to_slots = activations.attention[:, activations.thinking][:, :, activations.slots[filled]].mean(0)
        held = torch.nn.functional.one_hot(activations.labels[filled], len(self.labels)).float()
        self._by_label = self._by_label + (to_slots @ held).double().numpy()
        self._slots = self._slots + held.sum(0).double().numpy()

    def result(self) -> dict[str, Any]:
        """Return ``{questions, sources, labels}``.

        ``sources``: attending position -> attended group -> ``{mean, uniform, layers}``; ``mean`` sums to 1 over
        groups. ``labels``: label -> ``slots`` that held it, and for each thinking token the ``ratio`` of the attention
        to such a slot and to a filled slot on average.
        """
        sources: dict[str, dict[str, Any]] = {}
        for (name, group), shares in self._shares.items():
            sources.setdefault(name, {})[group] = {
                "mean": float(shares.mean() / self.count),
                "uniform": self._uniform[name, group] / self.count,
                "layers": (shares / self.count).tolist(),
            }
        labels = {}
        if np.any(self._slots):
            mean = self._by_label.sum(1) / self._slots.sum()  # (K,)
            labels = {
                label: {"slots": int(count), "ratio": (by_label / count / mean).tolist()}
                for label, count, by_label in zip(self.labels, self._slots, self._by_label.T, strict=True)
                if count
            }
        return {"questions": self.count, "sources": sources, "labels": labels}
