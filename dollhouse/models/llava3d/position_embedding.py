"""Places in metres -> embeddings: for patches of a scene, and for clicks (``specs/llava3d.md``, sections 4 and 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PositionEmbedding(nn.Module):
    """Linear, LayerNorm, ReLU, Linear on raw coordinates: metres are neither clipped nor normalised."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # the official name; its index 2 is the ReLU
        self.position_embedding_head = nn.Sequential(
            nn.Linear(3, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width)
        )

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def forward(self, points: Tensor) -> Tensor:
        """Points (..., 3) in metres, world axes -> (..., width), in the weights' dtype."""
        return self.position_embedding_head(points.to(self.dtype))
