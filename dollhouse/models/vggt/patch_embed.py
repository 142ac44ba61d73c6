"""Patch embeddings of normalised images: a DINOv2 vision transformer, one convolution, or a convolutional stem.

The DINOv2 is not transformers' ``Dinov2WithRegistersModel``, so that parameters keep the official checkpoint's names:
transformers has renamed its own between supported versions. A test compares both.

Axes: B images, N tokens, P patches (row by row), C width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.layers import Block


class ConvPatchEmbed(nn.Module):
    """Embed patches by one strided convolution: images (B, 3, H, W) -> (B, P, C)."""

    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class ConvStem(nn.Module):
    """Embed patches by three convolutions, for small encoders trained from scratch: (B, 3, H, W) -> (B, P, C).

    It has no position embedding: positions come from the rotary embedding and the zero padding at the borders.
    """

    def __init__(self, width: int, channels: int = 32) -> None:
        super().__init__()
        self.edges = nn.Conv2d(3, channels, kernel_size=5, stride=2, padding=2)
        self.norm = nn.GroupNorm(1, channels)
        self.texture = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.proj = nn.Conv2d(channels, width, kernel_size=7, stride=7)

    def forward(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        maps = functional.gelu(self.norm(self.edges(images)))
        maps = functional.gelu(maps + self.texture(maps))
        return self.proj(maps).flatten(2).transpose(1, 2)


class DinoPatchEmbed(nn.Module):
    """Embed patches by DINOv2 with registers: images (B, 3, H, W) -> normalised tokens (B, P, C).

    See ``docs/specs/vggt.md``, section 3.
    """

    def __init__(self, config: VggtConfig) -> None:
        super().__init__()
        dino, width = config.dino, config.hidden_size
        assert dino is not None  # filled by the config
        self.grid = config.image_size // config.patch_size
        self.patch_size = config.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid**2, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, dino["num_register_tokens"], width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))  # in the checkpoint, never used
        self.patch_embed = ConvPatchEmbed(width, config.patch_size)
        self.blocks = nn.ModuleList(
            Block(width, dino["num_attention_heads"], dino["mlp_ratio"], dino["layerscale_value"], eps=1e-6)
            for _ in range(dino["num_hidden_layers"])
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        rows, columns = images.shape[-2] // self.patch_size, images.shape[-1] // self.patch_size
        patches = self.patch_embed(images)
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(images), -1, -1)
        registers = self.register_tokens.expand(len(images), -1, -1)
        tokens = torch.cat([first, registers, patches + self.patch_positions(rows, columns)], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens[:, 1 + registers.shape[1] :])

    def patch_positions(self, rows: int, columns: int) -> Tensor:
        """Resize the stored square grid of position embeddings in float32 to (1, rows x columns, C)."""
        stored = self.pos_embed[:, 1:]
        if (rows, columns) == (self.grid, self.grid):
            return stored
        square = stored.float().unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)
        resized = functional.interpolate(square, (rows, columns), mode="bicubic", antialias=True, align_corners=False)
        return resized.flatten(2).transpose(1, 2).to(stored.dtype)
