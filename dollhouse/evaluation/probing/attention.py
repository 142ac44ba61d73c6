"""Attention of the thinking tokens and of the answer token, summed by kind of position.

Attention is a mean over heads, questions and scenes. Beside it, "uniform" is the share that a group would get if a
position attended to everything before it, and to itself, equally.

Axes: K thinking tokens, S positions, L labels.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dollhouse.evaluation.probing.activations import Activations
from dollhouse.geometry import Array

ANSWER = "answer"  #: the position whose output is the answer's first token
OBJECTS, EMPTY, PREFIX = "objects", "empty slots", "constant prefix"
ITSELF, THINKING, QUESTION = "itself", "thinking tokens", "question"


def groups_of(activations: Activations, place: int) -> dict[str, Tensor]:
    """Group the positions that ``place`` can attend to; ``thinking tokens`` excludes the position itself."""
    slots = {OBJECTS: activations.slots[activations.filled], EMPTY: activations.slots[~activations.filled]}
    if not bool(activations.filled.any()):
        slots = {PREFIX: activations.slots}
    groups = {
        **slots,
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
    _shares: dict[tuple[str, str], Array] = field(default_factory=dict)  #: (from, to) -> (layers,) summed
    _uniform: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    _by_label: Array | None = None  #: (K, L) attention summed over slots with the label, mean over layers
    _slots: Array | None = None  #: (L,) such slots

    def add(self, activations: Activations) -> None:
        """Count one question about one scene."""
        self.count += 1
        sources = {f"thinking token {number}": int(place) for number, place in enumerate(activations.thinking, 1)}
        for name, place in {**sources, ANSWER: activations.answer}.items():
            for group, places in groups_of(activations, place).items():
                share = activations.attention[:, place, places].sum(-1).numpy().astype(np.float64)
                self._shares[name, group] = self._shares.get((name, group), np.zeros(len(share))) + share
                self._uniform[name, group] += len(places) / (place + 1)
        filled = activations.filled
        to_slots = activations.attention[:, activations.thinking][:, :, activations.slots[filled]].mean(
            0
        )  # (K, filled)
        held = torch.nn.functional.one_hot(activations.labels[filled], len(self.labels)).to(to_slots.dtype)
        by_label, slots = (to_slots @ held).numpy().astype(np.float64), held.sum(0).numpy().astype(np.float64)
        self._by_label = by_label if self._by_label is None else self._by_label + by_label
        self._slots = slots if self._slots is None else self._slots + slots

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
        return {"questions": self.count, "sources": sources, "labels": self._label_ratios()}

    def _label_ratios(self) -> dict[str, Any]:
        if self._by_label is None or self._slots is None or not self._slots.any():
            return {}
        mean = self._by_label.sum(1) / self._slots.sum()  # (K,)
        return {
            label: {"slots": int(count), "ratio": (self._by_label[:, number] / count / mean).tolist()}
            for number, (label, count) in enumerate(zip(self.labels, self._slots, strict=True))
            if count
        }
