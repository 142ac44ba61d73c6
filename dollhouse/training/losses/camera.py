"""Where the cameras stand: the camera head against known poses.

Axes: B batch, V views.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dollhouse.models.dollhouse.heads import Cameras


def camera_loss(cameras: Cameras, level_from_camera: Tensor, up: Tensor, focal: Tensor) -> Tensor:
    """L1 of position (metres), heading, up vector and log focal length. Targets (B, V, 4, 4), (B, V, 3), (B, V)."""
    forward = level_from_camera[..., :2, 2]
    ahead = F.normalize(forward, dim=-1)
    heading = torch.stack([ahead[..., 1], -ahead[..., 0]], -1)  # the first view's heading is the y axis
    position = (cameras.position - level_from_camera[..., :3, 3]).abs().mean()
    turn = (cameras.heading - heading).abs().mean()
    tilt = (cameras.up - up).abs().mean()
    return position + 2 * turn + 4 * tilt + (cameras.focal.log() - focal.log()).abs().mean()
