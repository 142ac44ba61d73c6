"""Depth as a choice among bins: what the paper's second depth head tells of every patch.

Bins are equally wide in log depth, so that a step costs the same near and far. Knows nothing of losses.

Axes: B batch, V views, P patches of a view, D trunk width, N bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class DepthBins:
    """``count`` bins from ``near`` to ``far`` metres; what lies beyond belongs to the first or the last one."""

    count: int
    near: float
    far: float

    def of(self, depth: Tensor) -> Tensor:
        """The bin (...) of each depth (...) in metres > 0."""
        place = (depth / self.near).log() / math.log(self.far / self.near) * self.count
        return place.floor().long().clamp(0, self.count - 1)

    def middles(self) -> Tensor:
        """Depth (N) in the logarithmic middle of each bin, metres."""
        share = (torch.arange(self.count) + 0.5) / self.count
        return self.near * (self.far / self.near) ** share


class DepthBinHead(nn.Module):
    """Patch tokens (B, V, P, D) -> logits of bins (B, V, P, N), float32."""

    def __init__(self, width: int, bins: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, bins))

    def forward(self, patches: Tensor) -> Tensor:
        told: Tensor = self.mlp(patches)
        return told.float()
