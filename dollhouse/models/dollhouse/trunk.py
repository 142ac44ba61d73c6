"""The trunk: transformer blocks over the encoder's tokens, shared by the language prefix and every head.

Axes: B batch, V views, S special tokens of a view (camera and registers), P patches of a view, D trunk width.
"""

from __future__ import annotations

from torch import Tensor, nn

from dollhouse.models.attention import attention
from dollhouse.models.onednn_linear import Linear


class TrunkBlock(nn.Module):
    """Pre-norm self-attention over all tokens of a scene, then a two-layer MLP."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        hidden = int(width * mlp_ratio)
        self.mlp = nn.Sequential(Linear(width, hidden), nn.GELU(), Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens`` (B, N, D) -> (B, N, D)."""
        batch, length, width = tokens.shape
        qkv = self.qkv(self.norm1(tokens)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = attention(query, key, value).transpose(1, 2).reshape(batch, length, width)
        tokens = tokens + self.proj(attended)
        return tokens + self.mlp(self.norm2(tokens))


class Trunk(nn.Module):
    """Encoder tokens (B, V, S+P, 2C) -> camera tokens (B, V, D) and patch tokens (B, V, P, D).

    With ``shortcut_width``, embedded patches (B*V, P, shortcut_width) are projected and added to the patch tokens: a
    pretrained embedding has the labels of patches already, long before the encoder's rounds pass them on.
    """

    def __init__(
        self, encoder_width: int, width: int, layers: int, heads: int, special_tokens: int, shortcut_width: int = 0
    ) -> None:
        super().__init__()
        self.shortcut = Linear(shortcut_width, width) if shortcut_width else None
        self.special_tokens = special_tokens
        self.norm_in = nn.LayerNorm(encoder_width)
        self.proj_in = Linear(encoder_width, width)
        self.blocks = nn.ModuleList(TrunkBlock(width, heads) for _ in range(layers))
        self.norm_out = nn.LayerNorm(width)

    def forward(self, encoded: Tensor, embedded: Tensor | None = None) -> tuple[Tensor, Tensor]:
        tokens = self.proj_in(self.norm_in(encoded))
        batch, views, length, width = tokens.shape
        tokens = tokens.reshape(batch, views * length, width)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm_out(tokens).view(batch, views, length, width)
        patches = tokens[:, :, self.special_tokens :]
        if self.shortcut is not None and embedded is not None:
            patches = patches + self.shortcut(embedded).view_as(patches)
        return tokens[:, :, 0], patches
