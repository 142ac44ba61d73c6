"""Depth classification per patch, the paper's second depth head; bins are equally wide in log depth.

Axes: B batch, V views, P patches of a view, D trunk width, N bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class DepthBins:
    """``count`` bins from ``near`` to ``far`` metres; depths beyond belong to the first or last bin."""

    count: int
    near: float
    far: float

    def of(self, depth: Tensor) -> Tensor:
        """Return the bin (...) of each depth (...) in metres > 0."""
        place = (depth / self.near).log() / math.log(self.far / self.near) * self.count
        return place.floor().long().clamp(0, self.count - 1)

    def middles(self) -> Tensor:
        """Return the logarithmic middle (N) of each bin in metres."""
        share = (torch.arange(self.count) + 0.5) / self.count
        return self.near * (self.far / self.near) ** share


class DepthBinHead(nn.Module):
    """Predict logits of depth bins (B, V, P, N), float32, from patch tokens (B, V, P, D)."""

    def __init__(self, width: int, bins: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, bins))

    def forward(self, patches: Tensor) -> Tensor:
        logits: Tensor = self.mlp(patches)
        return logits.float()
