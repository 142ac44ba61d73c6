"""Per-view heads on the trunk: depth maps, depth bins of patches, and cameras.

Axes: B batch, V views, P = h*w patches of a view, D trunk width, H and W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.tensors import Tensors
from dollhouse.models.vggt.efficientnet import MAP_CHANNELS


class DepthHead(nn.Module):
    """Predict log depth at full resolution from patch tokens and the image.

    Each token is projected to a 7x7 grid of features, two pixels a cell at patch size 14; the image at half resolution
    lets the convolutions align depth edges with colour edges.
    """

    def __init__(self, width: int, patch_size: int, channels: int = 32, features: int = 16) -> None:
        super().__init__()
        self.cells = patch_size // 2
        self.features = features
        self.proj = nn.Linear(width, features * self.cells**2)
        self.convs = nn.Sequential(
            nn.Conv2d(features + 3, channels, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(channels, 4, 1),
        )

    def forward(self, patches: Tensor, pixel_values: Tensor) -> Tensor:
        """``patches`` (B, V, P, D), ``pixel_values`` (B, V, 3, H, W) -> log metres (B, V, H, W), float32."""
        batch, views, _, height, width = pixel_values.shape
        rows, columns = height // (2 * self.cells), width // (2 * self.cells)
        field = self.proj(patches).view(batch * views, rows, columns, self.features, self.cells, self.cells)
        field = field.permute(0, 3, 1, 4, 2, 5).reshape(batch * views, self.features, height // 2, width // 2)
        small = F.avg_pool2d(pixel_values.flatten(0, 1), 2).to(field.dtype) - 0.5
        maps = self.convs(torch.cat([field, small], 1))
        return F.pixel_shuffle(maps, 2).view(batch, views, height, width).float() + 1.0


MAP_SCALE = 0.25  #: brings the finer maps of an EfficientNet to about unit variance


class ConvResidual(nn.Module):
    """Two 3x3 convolutions on a residual branch: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.conv2(F.relu(self.conv1(F.relu(maps))))


class StemDepthHead(nn.Module):
    """Predict log depth at full resolution from patch tokens and the finer maps of an EfficientNet stem.

    The maps of a patch's, half a patch's and a quarter's resolution are fused, coarsest first; the output has four
    pixels for each of the finest, and is resized to the photo. Computed in float32, as the stem is.
    """

    def __init__(self, width: int, embed_width: int, channels: int = 64) -> None:
        super().__init__()
        narrow = channels // 2
        self.proj = nn.Linear(width + embed_width, channels)
        self.middle = nn.Conv2d(MAP_CHANNELS[8], channels, 1)
        self.fine = nn.Conv2d(MAP_CHANNELS[4], narrow, 1)
        self.narrow = nn.Conv2d(channels, narrow, 1)
        self.mix = nn.ModuleList([ConvResidual(channels), ConvResidual(channels), ConvResidual(narrow)])
        self.out = nn.Conv2d(narrow, 4, 1)
        for parameter in self.out.parameters():  # else depth of random features, far too rough, drives the first steps
            nn.init.zeros_(parameter)

    def forward(self, patches: Tensor, embedded: tuple[Tensor, ...], image_size: tuple[int, int]) -> Tensor:
        """Predict (B, V, H, W), float32, around 1.

        Args:
            patches: (B, V, P, D).
            embedded: of the encoder: tokens (B*V, P, C) before its first round, and maps (B*V, channels, 2h, 2w) and
                (B*V, channels, 4h, 4w).
            image_size: (H, W) of the photos.
        """
        tokens, middle, fine = embedded[0], *(MAP_SCALE * maps for maps in embedded[1:])
        with torch.autocast(patches.device.type, enabled=False):
            field = self.proj(torch.cat([patches.flatten(0, 1).float(), tokens], -1))
            rows, columns = middle.shape[-2] // 2, middle.shape[-1] // 2
            maps = self.mix[0](field.transpose(1, 2).unflatten(2, (rows, columns)))
            maps = self.mix[1](_doubled(maps) + self.middle(middle))
            maps = self.mix[2](_doubled(self.narrow(maps)) + self.fine(fine))
            small = F.pixel_shuffle(self.out(F.relu(maps)), 2)
            log_depth = F.interpolate(small, image_size, mode="bilinear")
        return log_depth.squeeze(1).unflatten(0, patches.shape[:2]) + 1.0


def _doubled(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2, mode="bilinear")


class MetricDepth(nn.Module):
    """Scale the encoder's depth to metres by one factor per scene, predicted from the first view."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.log_scale = nn.Linear(width, 1)

    def forward(self, camera_tokens: Tensor, depth: Tensor) -> Tensor:
        """``camera_tokens`` (B, V, D), ``depth`` (B, V, H, W, 1) > 0 -> log metres (B, V, H, W), float32."""
        log_scale = self.log_scale(camera_tokens[:, 0]).float()
        return depth.squeeze(-1).float().clamp(min=1e-6).log() + log_scale[:, None, None]


def build_depth_head(config: DollhouseConfig) -> nn.Module:
    """Build the depth head that ``config.depth_from`` names."""
    vision, width = config.get_vision_config(), config.trunk_width
    if config.depth_from == "stem":
        return StemDepthHead(width, vision.hidden_size)
    return MetricDepth(width) if config.depth_from == "encoder" else DepthHead(width, vision.patch_size)


@dataclass
class Cameras(Tensors):
    """Cameras in the level frame of the first view (:mod:`dollhouse.geometry`)."""

    up: Tensor  #: (B, V, 3) unit vector against gravity, in each camera's frame
    heading: Tensor  #: (B, V, 2) cosine and sine of the turn from the first view's heading, counter-clockwise
    position: Tensor  #: (B, V, 3) metres
    focal: Tensor  #: (B, V) focal length divided by the image's width

    @property
    def own_level_from_camera(self) -> Tensor:
        """(B, V, 3, 3): rotation from the camera's frame to its own level frame."""
        forward = torch.zeros_like(self.up)
        forward[..., 2] = 1.0
        ahead = F.normalize(forward - self.up * self.up[..., 2:], dim=-1, eps=1e-4)
        return torch.stack([torch.linalg.cross(ahead, self.up), ahead, self.up], dim=-2)

    @property
    def level_from_own_level(self) -> Tensor:
        """(B, V, 3, 3): rotation about the vertical from each view's level frame to the first one's."""
        cos, sin = self.heading.unbind(-1)
        zero, unit = torch.zeros_like(cos), torch.ones_like(cos)
        return torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, unit], -1).unflatten(-1, (3, 3))

    @property
    def level_from_camera(self) -> Tensor:
        """(B, V, 4, 4) poses."""
        poses = torch.zeros(*self.focal.shape, 4, 4, dtype=self.up.dtype, device=self.up.device)
        poses[..., :3, :3] = self.level_from_own_level @ self.own_level_from_camera
        poses[..., :3, 3] = self.position
        poses[..., 3, 3] = 1.0
        return poses

    def patch_rays(self, rows: int, columns: int) -> Tensor:
        """Return rays (B, V, rows*columns, 3) through the patch centres in each camera's frame, z = 1."""
        u = (torch.arange(columns, device=self.focal.device) + 0.5) / columns - 0.5
        v = ((torch.arange(rows, device=self.focal.device) + 0.5) / rows - 0.5) * (rows / columns)
        plane = torch.stack(torch.meshgrid(v, u, indexing="ij"), -1).flip(-1).reshape(-1, 2)
        return F.pad(plane / self.focal[..., None, None], (0, 1), value=1.0)


def headings(level_from_camera: Tensor) -> Tensor:
    """Return the headings (..., 2) of poses (..., 4, 4), as in :class:`Cameras`: the first view's is the y axis."""
    ahead = F.normalize(level_from_camera[..., :2, 2], dim=-1)
    return torch.stack([ahead[..., 1], -ahead[..., 0]], -1)


class LevelCameraHead(nn.Module):
    """Predict :class:`Cameras` from camera tokens (B, V, D). The first view is the origin by definition."""

    TYPICAL_FOCAL = 0.7  # of the image's width: a horizontal field of view of 71 degrees

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 9))

    def forward(self, camera_tokens: Tensor) -> Cameras:
        fields = self.mlp(self.norm(camera_tokens)).float()
        up = fields[..., :3] + fields.new_tensor([0.0, -1.0, 0.0])
        heading = fields[..., 3:5] + fields.new_tensor([1.0, 0.0])
        later = torch.ones_like(fields[..., :1])
        later[:, 0] = 0.0
        heading = later * F.normalize(heading, dim=-1, eps=1e-4) + (1 - later) * fields.new_tensor([1.0, 0.0])
        return Cameras(
            up=F.normalize(up, dim=-1, eps=1e-4),
            heading=heading,
            position=fields[..., 5:8] * later,
            focal=self.TYPICAL_FOCAL * torch.exp(fields[..., 8].clamp(-1, 1)),
        )


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
