"""VGGT's DPT heads: a value and a confidence for every pixel (``docs/specs/vggt.md``, section 5).

Depth is z-depth in each view's own camera, points are in the camera of view 0; both are up to the model's own scale.

Axes: B batch, V views, N images (B x V), P patches (h rows, w columns), W token width (2C), H, W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dollhouse.models.vggt.configuration import VggtConfig

POSITION_WEIGHT = 0.1  #: factor of the position embedding that is added to feature maps


def add_positions(maps: Tensor, aspect: float) -> Tensor:
    """Add weighted sinusoidal embeddings of pixel positions to ``maps`` (N, channels, rows, columns) in place.

    ``aspect`` is the image's width/height. The first half of the channels gets the embedding of x, the second that of
    y. It is never held whole: at full resolution it is as large as the maps.
    """
    channels, rows, columns = maps.shape[1:]
    half, diagonal = channels // 2, math.hypot(aspect, 1.0)  # positions span the image; its diagonal has length 2
    x = _sinusoids(aspect / diagonal, columns, channels, maps.device)[:, None, :]
    y = _sinusoids(1.0 / diagonal, rows, channels, maps.device)[:, :, None]
    for part, embedding in ((maps[:, :half], x), (maps[:, half:], y)):
        part += (POSITION_WEIGHT * embedding).to(maps.dtype)
    return maps


def _sinusoids(half_span: float, count: int, channels: int, device: torch.device) -> Tensor:
    """Compute [sin, cos] of ``count`` positions at frequencies 100^(-k/K), k < K, in float64: (channels / 2, count)."""
    edge = half_span * (count - 1) / count
    positions = torch.linspace(-edge, edge, count, dtype=torch.float64, device=device)
    frequencies = torch.arange(channels // 4, dtype=torch.float64, device=device) / (channels // 4)
    angles = positions * 100.0 ** -frequencies[:, None]
    return torch.cat([angles.sin(), angles.cos()]).float()


class ResidualConvUnit(nn.Module):
    """Two convolutions with a skip connection of relu(x): the official ReLU is in place."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        positive = maps.relu()
        return self.conv2(self.conv1(positive).relu()) + positive


class Fusion(nn.Module):
    """Add a finer map, if any, to a coarser one and upsample the sum."""

    def __init__(self, features: int, has_skip: bool = True) -> None:
        super().__init__()
        if has_skip:
            self.resConfUnit1 = ResidualConvUnit(features)
        self.resConfUnit2 = ResidualConvUnit(features)
        self.out_conv = nn.Conv2d(features, features, 1)

    def forward(self, coarse: Tensor, fine: Tensor | None, size: Sequence[int]) -> Tensor:
        fused = coarse if fine is None else coarse + self.resConfUnit1(fine)
        fused = functional.interpolate(self.resConfUnit2(fused), tuple(size), mode="bilinear", align_corners=True)
        return self.out_conv(fused)


class Scratch(nn.Module):
    """Project four levels to one width, fuse them coarsest first, and predict ``outputs`` channels."""

    def __init__(self, features: int, channels: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.layer1_rn = nn.Conv2d(channels[0], features, 3, padding=1, bias=False)
        self.layer2_rn = nn.Conv2d(channels[1], features, 3, padding=1, bias=False)
        self.layer3_rn = nn.Conv2d(channels[2], features, 3, padding=1, bias=False)
        self.layer4_rn = nn.Conv2d(channels[3], features, 3, padding=1, bias=False)
        self.refinenet1 = Fusion(features)
        self.refinenet2 = Fusion(features)
        self.refinenet3 = Fusion(features)
        self.refinenet4 = Fusion(features, has_skip=False)
        half = features // 2
        self.output_conv1 = nn.Conv2d(features, half, 3, padding=1)
        self.output_conv2 = nn.Sequential(nn.Conv2d(half, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, outputs, 1))

    def fuse(self, levels: Sequence[Tensor]) -> Tensor:
        """Fuse four maps, finest first, to (N, features / 2, 2h, 2w), twice the size of the finest."""
        first, second, third, fourth = (
            narrow(level)
            for narrow, level in zip(
                (self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn), levels, strict=True
            )
        )
        fused = self.refinenet4(fourth, None, third.shape[-2:])
        fused = self.refinenet3(fused, third, second.shape[-2:])
        fused = self.refinenet2(fused, second, first.shape[-2:])
        fused = self.refinenet1(fused, first, [2 * side for side in first.shape[-2:]])
        return self.output_conv1(fused)


class DPTHead(nn.Module):
    """Predict ``outputs`` raw channels per pixel, the confidence last, from the tokens of four rounds."""

    def __init__(self, config: VggtConfig, outputs: int) -> None:
        super().__init__()
        assert config.dpt_head is not None  # filled by the config
        width, channels = 2 * config.hidden_size, config.dpt_head["out_channels"]
        self.patch_size = config.patch_size
        self.layers: list[int] = config.dpt_head["layers"]
        self.norm = nn.LayerNorm(width)
        self.projects = nn.ModuleList(nn.Conv2d(width, count, 1) for count in channels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(channels[0], channels[0], 4, stride=4),
                nn.ConvTranspose2d(channels[1], channels[1], 2, stride=2),
                nn.Identity(),
                nn.Conv2d(channels[3], channels[3], 3, stride=2, padding=1),
            ]
        )
        self.scratch = Scratch(config.dpt_head["features"], channels, outputs)

    def forward(self, patches: Sequence[Tensor], image_size: tuple[int, int]) -> Tensor:
        """Predict (N, outputs, H, W) before activation from patch tokens (N, P, W) of the rounds ``layers``."""
        height, width = image_size
        levels = []
        for tokens, project, resize in zip(patches, self.projects, self.resize_layers, strict=True):
            grid = self.norm(tokens).transpose(1, 2).unflatten(2, (height // self.patch_size, width // self.patch_size))
            levels.append(resize(add_positions(project(grid), width / height)))
        fused = functional.interpolate(self.scratch.fuse(levels), image_size, mode="bilinear", align_corners=True)
        return self.scratch.output_conv2(add_positions(fused, width / height))


def activate_depth(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Convert raw (N, 2, H, W) to positive depth (N, H, W, 1) and confidence (N, H, W) above 1."""
    return raw[:, :1].exp().permute(0, 2, 3, 1), 1 + raw[:, 1].exp()


def activate_points(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Convert raw (N, 4, H, W) to points (N, H, W, 3) and confidence (N, H, W) above 1."""
    points = raw[:, :3].sign() * raw[:, :3].abs().expm1()
    return points.permute(0, 2, 3, 1), 1 + raw[:, 3].exp()
