"""RGB-D inputs of teachers (``config.use_rgbd``): measured depth and poses, embedded into the patch tokens.

Axes: B batch, V views, H and W pixels, P patches of a view, M = V*P, C width of a patch token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dollhouse.models.dollhouse.heads import Cameras, headings
from dollhouse.models.fourier_features import FOURIER_WIDTH, fourier_features
from dollhouse.models.tensors import Tensors

SNAP = 0.12  #: standard deviation, in log metres, around the predicted depth within which measured pixels count


@dataclass
class RGBDInputs(Tensors):
    """Depth maps and camera poses in the level frame of the first view."""

    depth: Tensor  #: (B, V, H, W) z-depth in metres, aligned with the photos, 0 unknown
    cameras: Cameras

    @classmethod
    def from_poses(cls, depth: Tensor, level_from_camera: Tensor, up: Tensor, focal: Tensor) -> RGBDInputs:
        """Build from depth (B, V, H, W), poses (B, V, 4, 4), ``up`` (B, V, 3) in camera frames, ``focal`` (B, V)."""
        return cls(depth, Cameras(up, headings(level_from_camera), level_from_camera[..., :3, 3], focal))

    def own_points(self) -> Tensor:
        """Return every pixel's point in its own view's level frame (B, V, H, W, 3); zeros at unknown depth."""
        rows, columns = self.depth.shape[-2:]
        points = self.cameras.patch_rays(rows, columns) * self.depth.flatten(2).unsqueeze(-1)
        points = points @ self.cameras.own_level_from_camera.transpose(-1, -2)
        return points.unflatten(2, (rows, columns))

    def patch_points(self, patch: int) -> Tensor:
        """Return the mean point of each patch's measured pixels in the first view's level frame (B, V, P, 3)."""
        own = in_patches(self.own_points(), patch)
        known = (in_patches(self.depth.unsqueeze(-1), patch) > 0).to(own.dtype)
        mean = (own * known).sum(3) / known.sum(3).clamp(min=1)
        turned = mean @ self.cameras.level_from_own_level.transpose(-1, -2) + self.cameras.position.unsqueeze(2)
        return turned * (known.sum(3) > 0)


class RGBDPatchEmbedding(nn.Module):
    """Embed measured points as offsets of the patch tokens (B, V, P, C)."""

    CHANNELS = 32
    REACH = 3.0  # metres per unit of the inputs

    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.conv1 = nn.Conv2d(5, self.CHANNELS, kernel_size=5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(self.CHANNELS, self.CHANNELS, kernel_size=3, padding=1)
        side = patch_size // 2
        self.proj = nn.Conv2d(self.CHANNELS, width, kernel_size=side, stride=side)
        self.point_proj = nn.Linear(3 + FOURIER_WIDTH, width)

    def forward(self, rgbd: RGBDInputs) -> Tensor:
        known = (rgbd.depth > 0).float()
        measured = torch.stack([rgbd.depth.clamp(min=1e-3).log() * known, known], -1)
        maps = torch.cat([rgbd.own_points() / self.REACH, measured], -1)
        maps = maps.permute(0, 1, 4, 2, 3).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        maps = F.gelu(self.conv1(maps))
        maps = F.gelu(maps + self.conv2(maps))
        shapes = self.proj(maps).flatten(2).transpose(1, 2).unflatten(0, rgbd.depth.shape[:2])
        points = rgbd.patch_points(self.patch_size)
        return shapes + self.point_proj(torch.cat([points / self.REACH, fourier_features(points)], -1))


def refine_depth(predicted: Tensor, depth: Tensor, patch: int) -> Tensor:
    """Replace predicted log depth of patches (B, M) by the mean of the patch's measured pixels near it.

    ``depth`` (B, V, H, W) metres. Without a measured pixel within about ``SNAP`` the prediction stays.
    """
    pixels = in_patches(depth.unsqueeze(-1), patch).flatten(1, 2).squeeze(-1)
    measured = pixels.clamp(min=1e-3).log()
    weight = torch.exp(-0.5 * ((measured - predicted.unsqueeze(-1)) / SNAP) ** 2) * (pixels > 0)
    total = weight.sum(-1)
    return torch.where(total > 1e-3, (weight * measured).sum(-1) / total.clamp(min=1e-6), predicted)


def in_patches(maps: Tensor, patch: int) -> Tensor:
    """Split maps (B, V, H, W, F) into patches (B, V, P, patch*patch, F), row by row."""
    batch, views, height, width, fields = maps.shape
    cells = maps.view(batch, views, height // patch, patch, width // patch, patch, fields)
    return cells.transpose(3, 4).reshape(batch, views, -1, patch * patch, fields)
