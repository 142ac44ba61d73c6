"""VGGT's transformer block and its two-dimensional rotary position embedding (``docs/specs/vggt.md``, section 2).

Axes: B batch, N tokens, C width, H heads, D head width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from dollhouse.models.attention import attention
from dollhouse.models.onednn_linear import Linear


class RotaryTable(NamedTuple):
    """Cosines and signed sines (N, D) of each token's rotation."""

    cosines: Tensor
    sines: Tensor

    def repeat(self, times: int) -> RotaryTable:
        """Tile the table for ``times`` equal sequences: (times x N, D)."""
        return RotaryTable(self.cosines.repeat(times, 1), self.sines.repeat(times, 1))

    def take(self, tokens: slice) -> RotaryTable:
        """Select the rotations of some tokens."""
        return RotaryTable(self.cosines[tokens], self.sines[tokens])


def rotary_table(positions: Tensor, head_width: int, theta: float, dtype: torch.dtype) -> RotaryTable:
    """Compute rotations for integer (y, x) ``positions`` (N, 2): half of a head rotates with y, half with x.

    Within a half of width d, frequency j is theta^(-2j/d) and channel j is paired with channel j + d/2. Angles are
    computed in float32 at least, as in the official code; cosines and sines are rounded to ``dtype`` at the end.
    """
    half = head_width // 2
    exponents = torch.arange(0, half, 2, device=positions.device, dtype=torch.float32) / half
    angles = positions.float()[:, :, None] * (1.0 / theta**exponents)  # (N, 2, d/2)
    angles = angles.to(torch.promote_types(dtype, torch.float32))
    cosines, sines = angles.cos(), angles.sin()
    cosines = torch.cat([cosines, cosines], -1).flatten(1)
    sines = torch.cat([-sines, sines], -1).flatten(1)
    return RotaryTable(cosines.to(dtype), sines.to(dtype))


def rotate(tokens: Tensor, table: RotaryTable) -> Tensor:
    """Apply rotary positions to ``tokens`` (..., N, D) in their own dtype."""
    y_low, y_high, x_low, x_high = tokens.chunk(4, -1)
    swapped = torch.cat([y_high, y_low, x_high, x_low], -1)  # several times faster than flip on a CPU
    return torch.addcmul(tokens * table.cosines, swapped, table.sines)


class Attention(nn.Module):
    """Multi-head self-attention; ``qk_norm`` layer-normalises queries and keys per head before the rotation."""

    def __init__(self, width: int, heads: int, qk_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.q_norm = nn.LayerNorm(width // heads) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(width // heads) if qk_norm else nn.Identity()
        self.proj = Linear(width, width)

    def forward(self, tokens: Tensor, rotary: RotaryTable | None = None) -> Tensor:
        """Attend over ``tokens`` (B, N, C) -> (B, N, C)."""
        return self.attend(*self.project_qkv(tokens, rotary))

    def project_qkv(self, tokens: Tensor, rotary: RotaryTable | None) -> tuple[Tensor, Tensor, Tensor]:
        """Project ``tokens`` (B, N, C) to queries, keys and values (B, H, N, D)."""
        batch, length, width = tokens.shape
        qkv = self.qkv(tokens).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        query, key = self.q_norm(query), self.k_norm(key)
        if rotary is not None:
            query, key = rotate(query, rotary), rotate(key, rotary)
        return query, key, value

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend with queries (B, H, N, D) over keys and values (B, H, M, D) -> (B, N, C)."""
        return self.proj(attention(query, key, value).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, out)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(tokens)))


class LayerScale(nn.Module):
    """Add a residual branch scaled by a learned factor per channel."""

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.initial = initial
        self.gamma = nn.Parameter(torch.full((width,), initial))

    def forward(self, tokens: Tensor, branch: Tensor) -> Tensor:
        """Return ``tokens`` plus the scaled ``branch``."""
        return torch.addcmul(tokens, branch, self.gamma)


class Block(GradientCheckpointingLayer):
    """Pre-norm self-attention and MLP, each on a residual branch with a layer scale."""

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: float,
        layerscale_value: float,
        qk_norm: bool = False,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads, qk_norm)
        self.ls1 = LayerScale(width, layerscale_value)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, int(width * mlp_ratio), width)
        self.ls2 = LayerScale(width, layerscale_value)

    def forward(self, tokens: Tensor, rotary: RotaryTable | None = None) -> Tensor:
        """Transform ``tokens`` (B, N, C) -> (B, N, C)."""
        tokens = self.ls1(tokens, self.attn(self.norm1(tokens), rotary))
        return self.ls2(tokens, self.mlp(self.norm2(tokens)))

    def forward_chunked(self, tokens: Tensor, rotary: RotaryTable, chunk: int) -> Tensor:
        """Compute ``forward`` in place on ``tokens`` (B, N, C), ``chunk`` tokens at a time, without gradient.

        Only queries, keys and values are held for all tokens.
        """
        parts = [slice(start, start + chunk) for start in range(0, tokens.shape[1], chunk)]
        qkv: list[Tensor] = []
        for part in parts:
            projected = self.attn.project_qkv(self.norm1(tokens[:, part]), rotary.take(part))
            if not qkv:
                qkv = [tensor.new_empty(*tensor.shape[:2], tokens.shape[1], tensor.shape[3]) for tensor in projected]
            for whole, tensor in zip(qkv, projected, strict=True):
                whole[:, :, part] = tensor
        query, key, value = qkv
        for part in parts:
            attended = self.ls1(tokens[:, part], self.attn.attend(query[:, :, part], key, value))
            tokens[:, part] = self.ls2(attended, self.mlp(self.norm2(attended)))
        return tokens
