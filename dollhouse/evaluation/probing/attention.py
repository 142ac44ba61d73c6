"""What the thinking tokens look at, and how much the answer looks at them.

Knows scans, nothing of models. Attention is a mean over heads, questions and scenes. "even" beside it is what a
position would give that group if it looked at everything before it, and at itself, alike.

Axes: K thinking tokens, S positions, L labels.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dollhouse.evaluation.probing.activations import Scan
from dollhouse.geometry import Array

ANSWER = "answer"  #: the row of the position from which the answer is said
OBJECTS, EMPTY, PREFIX, ITSELF, THOUGHTS, QUESTION = (
    "objects",
    "empty slots",
    "constant prefix",
    "itself",
    "thinking tokens",
    "question",
)


def groups_of(scan: Scan, place: int) -> dict[str, Tensor]:
    """The positions that ``place`` may look at, by kind; ``thinking tokens`` are the others where it is one itself."""
    slots = {OBJECTS: scan.slots[scan.filled], EMPTY: scan.slots[~scan.filled]}
    if not bool(scan.filled.any()):
        slots = {PREFIX: scan.slots}
    seen = {
        **slots,
        THOUGHTS: scan.thinking[scan.thinking < place],
        QUESTION: scan.question[scan.question < place],
        ITSELF: torch.tensor([place]),
    }
    return {name: places for name, places in seen.items() if len(places)}


@dataclass
class AttentionTally:
    """Gathers scans; keeps sums only."""

    labels: tuple[str, ...]
    count: int = 0
    _shares: dict[tuple[str, str], Array] = field(default_factory=dict)  #: (row, group) -> (blocks,) summed
    _even: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    _by_label: Array | None = None  #: (K, L) attention summed over slots that hold the label, mean over blocks
    _slots: Array | None = None  #: (L,) such slots

    def add(self, scan: Scan) -> None:
        """Count one question about one scene."""
        self.count += 1
        rows = {f"thought {number}": int(place) for number, place in enumerate(scan.thinking, 1)}
        for name, place in {**rows, ANSWER: scan.answer}.items():
            for group, places in groups_of(scan, place).items():
                share = scan.attention[:, place, places].sum(-1).numpy().astype(np.float64)
                key = (name, group)
                self._shares[key] = self._shares.get(key, np.zeros(len(share))) + share
                self._even[key] += len(places) / (place + 1)
        to_slots = scan.attention[:, scan.thinking][:, :, scan.slots[scan.filled]].mean(0)  # (K, filled)
        held = torch.nn.functional.one_hot(scan.labels[scan.filled], len(self.labels)).to(to_slots.dtype)
        by_label, slots = (to_slots @ held).numpy().astype(np.float64), held.sum(0).numpy().astype(np.float64)
        self._by_label = by_label if self._by_label is None else self._by_label + by_label
        self._slots = slots if self._slots is None else self._slots + slots

    def result(self) -> dict[str, Any]:
        """``rows``: who looks -> at what -> ``{mean, even, blocks}``; ``mean`` sums to 1 over what is looked at.

        ``labels``: label -> ``slots`` that held it, and for each thinking token how many ``times`` as much it looks at
        such a slot as at a filled slot on the mean.
        """
        rows: dict[str, dict[str, Any]] = {}
        for (name, group), shares in self._shares.items():
            rows.setdefault(name, {})[group] = {
                "mean": float(shares.mean() / self.count),
                "even": self._even[name, group] / self.count,
                "blocks": (shares / self.count).tolist(),
            }
        return {"questions": self.count, "rows": rows, "labels": self._label_table()}

    def _label_table(self) -> dict[str, Any]:
        if self._by_label is None or self._slots is None or not self._slots.any():
            return {}
        each = self._by_label.sum(1, keepdims=True) / self._slots.sum()  # a filled slot's mean, (K, 1)
        return {
            label: {
                "slots": int(self._slots[number]),
                "times": (self._by_label[:, number] / self._slots[number] / each[:, 0]).tolist(),
            }
            for number, label in enumerate(self.labels)
            if self._slots[number]
        }
