"""VGGT's dense heads: a value and a confidence for every pixel, by a dense prediction transformer head (DPT).

Knows nothing of cameras: depth is z-depth in each view's own camera, points are in the camera of view 0, and both
are up to the model's own scale (``specs/vggt.md``, section 5).

Axes: B batch, V views, N images (B x V), P patches (h rows, w columns), W token width (2C), H, W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dollhouse.models.vggt.configuration import VggtConfig

POSITION_WEIGHT = 0.1  #: of the position embedding beside the features it is added to


def position_embedding(rows: int, columns: int, channels: int, aspect: float, device: torch.device) -> Tensor:
    """Sines and cosines of pixel positions (channels, rows, columns), float32: first x, then y; see :func:`_waves`."""
    across, down = _across_and_down(rows, columns, channels, aspect, device)
    return torch.cat([across.expand(-1, rows, -1), down.expand(-1, -1, columns)])


def add_positions(maps: Tensor, aspect: float) -> Tensor:
    """Adds the weighted :func:`position_embedding` to ``maps`` (N, channels, rows, columns) in place.

    Without ever holding it whole: at full resolution it is as large as the maps.
    """
    channels, rows, columns = maps.shape[1:]
    halves = maps[:, : channels // 2], maps[:, channels // 2 :]
    for half, waves in zip(halves, _across_and_down(rows, columns, channels, aspect, maps.device), strict=True):
        half += (POSITION_WEIGHT * waves).to(maps.dtype)
    return maps


def _across_and_down(
    rows: int, columns: int, channels: int, aspect: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """(channels / 2, 1, columns) and (channels / 2, rows, 1), for an image of width/height ``aspect``."""
    diagonal = math.hypot(aspect, 1.0)  # positions span the image such that its diagonal has length 2
    across = _waves(aspect / diagonal, columns, channels, device)[:, None, :]
    return across, _waves(1.0 / diagonal, rows, channels, device)[:, :, None]


def _waves(half_span: float, count: int, channels: int, device: torch.device) -> Tensor:
    """[sin, cos] of ``count`` places by frequencies 100^(-k/K), k = 0..K-1, made in float64: (channels / 2, count)."""
    edge = half_span * (count - 1) / count
    positions = torch.linspace(-edge, edge, count, dtype=torch.float64, device=device)
    frequencies = torch.arange(channels // 4, dtype=torch.float64, device=device) / (channels // 4)
    angles = positions * 100.0 ** -frequencies[:, None]
    return torch.cat([angles.sin(), angles.cos()]).float()


class ResidualConvUnit(nn.Module):
    """Two convolutions beside a skip connection that carries relu(x), as the official in-place ReLU makes it."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        positive = maps.relu()
        return self.conv2(self.conv1(positive).relu()) + positive


class Fusion(nn.Module):
    """Adds a finer map to a coarser one and enlarges the sum; the coarsest level has nothing to add."""

    def __init__(self, features: int, adds: bool = True) -> None:
        super().__init__()
        if adds:
            self.resConfUnit1 = ResidualConvUnit(features)
        self.resConfUnit2 = ResidualConvUnit(features)
        self.out_conv = nn.Conv2d(features, features, 1)

    def forward(self, coarse: Tensor, fine: Tensor | None, size: Sequence[int]) -> Tensor:
        fused = coarse if fine is None else coarse + self.resConfUnit1(fine)
        fused = functional.interpolate(self.resConfUnit2(fused), tuple(size), mode="bilinear", align_corners=True)
        return self.out_conv(fused)


class Scratch(nn.Module):
    """The convolutions that bring four levels to one width and fuse them, coarsest first.

    Without ``outputs`` it ends at the fused map, in full width, as the track head's features do.
    """

    def __init__(self, features: int, channels: Sequence[int], outputs: int | None) -> None:
        super().__init__()
        self.layer1_rn = nn.Conv2d(channels[0], features, 3, padding=1, bias=False)
        self.layer2_rn = nn.Conv2d(channels[1], features, 3, padding=1, bias=False)
        self.layer3_rn = nn.Conv2d(channels[2], features, 3, padding=1, bias=False)
        self.layer4_rn = nn.Conv2d(channels[3], features, 3, padding=1, bias=False)
        self.refinenet1 = Fusion(features)
        self.refinenet2 = Fusion(features)
        self.refinenet3 = Fusion(features)
        self.refinenet4 = Fusion(features, adds=False)
        fused = features if outputs is None else features // 2
        self.output_conv1 = nn.Conv2d(features, fused, 3, padding=1)
        if outputs is not None:
            self.output_conv2 = nn.Sequential(nn.Conv2d(fused, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, outputs, 1))

    def fuse(self, levels: Sequence[Tensor]) -> Tensor:
        """Four maps, finest first -> one map (N, features / 2, 2h, 2w) at twice the finest one's size."""
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


class DenseHead(nn.Module):
    """Tokens of four rounds -> ``outputs`` raw numbers for every pixel; the last one is the confidence's."""

    def __init__(self, config: VggtConfig, outputs: int | None, features: int | None = None) -> None:
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
        self.scratch = Scratch(features or config.dpt_head["features"], channels, outputs)

    def forward(self, patches: Sequence[Tensor], image_size: tuple[int, int]) -> Tensor:
        """Patch tokens (N, P, W) of the four rounds ``layers`` -> (N, outputs, H, W), before activation."""
        height, width = image_size
        levels = []
        for tokens, project, resize in zip(patches, self.projects, self.resize_layers, strict=True):
            grid = self.norm(tokens).transpose(1, 2).unflatten(2, (height // self.patch_size, width // self.patch_size))
            levels.append(resize(add_positions(project(grid), width / height)))
        fused = functional.interpolate(self.scratch.fuse(levels), image_size, mode="bilinear", align_corners=True)
        return self.scratch.output_conv2(add_positions(fused, width / height))


def activate_depth(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Raw (N, 2, H, W) -> depth (N, H, W, 1), positive, and its confidence (N, H, W), above 1."""
    return raw[:, :1].exp().permute(0, 2, 3, 1), 1 + raw[:, 1].exp()


def activate_points(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Raw (N, 4, H, W) -> points (N, H, W, 3) and their confidence (N, H, W), above 1."""
    points = raw[:, :3].sign() * raw[:, :3].abs().expm1()
    return points.permute(0, 2, 3, 1), 1 + raw[:, 3].exp()
