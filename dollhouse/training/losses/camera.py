"""Loss of predicted cameras. Axes: B batch, V views."""

from __future__ import annotations

from torch import Tensor

from dollhouse.models.dollhouse.heads import Cameras, headings


def camera_loss(
    cameras: Cameras, level_from_camera: Tensor, up: Tensor, focal: Tensor, posed: Tensor, metric: Tensor
) -> Tensor:
    """Return the L1 loss of position (metres), heading, up vector and log focal length.

    The targets are poses (B, V, 4, 4) in the first view's level frame and up vectors (B, V, 3) of the scenes that are
    ``posed`` (B,), positions only of those that are ``metric`` (B,) too, and focal (B, V), 0 where unknown.
    """
    position_error = (cameras.position - level_from_camera[..., :3, 3]).abs().mean((1, 2))
    heading_error = (cameras.heading - headings(level_from_camera)).abs().mean((1, 2))
    up_error = (cameras.up - up).abs().mean((1, 2))
    focal_error = (cameras.focal.log() - focal.clamp(min=1e-3).log()).abs()
    poses = _mean(2 * heading_error + 4 * up_error, posed) + _mean(position_error, posed & metric)
    return poses + _mean(focal_error, focal > 0)


def _mean(error: Tensor, counted: Tensor) -> Tensor:
    return (error * counted).sum() / counted.sum().clamp(min=1)
