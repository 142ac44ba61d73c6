"""Consistency of predictions about the same point in two views.

Axes: B batch, V views, P patches of a view, H and W pixels, L labels, C correspondences.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dollhouse.data.correspondence import SharedPoints, patch_values, points_at
from dollhouse.models.dollhouse.heads import Cameras


def point_consistency(log_depth: Tensor, cameras: Cameras, shared: SharedPoints) -> Tensor:
    """Return the squared distance between both views' back-projections, over the product of their ranges.

    Dividing by the distances to both cameras keeps the loss from shrinking predicted depth: in metres, a smaller room
    is more consistent.

    ``log_depth`` (B, V, H, W) and ``cameras`` are predicted.
    """
    depth, poses = log_depth.clamp(-3, 4).exp(), cameras.level_from_camera
    first = points_at(depth, poses, cameras.focal, shared.scene, shared.view, shared.uv)
    second = points_at(depth, poses, cameras.focal, shared.scene, shared.other, shared.other_uv)
    scale = _range(first, poses, shared.scene, shared.view) * _range(second, poses, shared.scene, shared.other)
    return ((first - second).square().sum(-1) / scale).mean()


def label_consistency(label_logits: Tensor, grid: tuple[int, int], shared: SharedPoints) -> Tensor:
    """Return the squared distance of label distributions (B, V, P, L+1) at shared points, 0 to 2."""
    first, second = patch_values(label_logits.float().softmax(-1), grid, shared)
    return (first - second).square().sum(-1).mean()


def _range(points: Tensor, poses: Tensor, scene: Tensor, view: Tensor) -> Tensor:
    """Distance of points (C, 3) from the cameras of their views (C,), at least a decimetre."""
    return torch.linalg.vector_norm(points - poses[scene, view, :3, 3], dim=-1).clamp(min=0.1)
