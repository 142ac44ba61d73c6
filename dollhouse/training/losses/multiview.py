"""What is said about the same place from two views should be the same.

Axes: B batch, V views, P patches of a view, H and W pixels, L labels, C shared points.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dollhouse.data.correspondence import SharedPoints, patch_values, points_at
from dollhouse.models.dollhouse.heads import Cameras


def point_disagreement(log_depth: Tensor, cameras: Cameras, shared: SharedPoints) -> Tensor:
    """Squared distance between where the two views put a shared point, relative to how far it is; mean over C.

    A view puts it where its predicted depth (``log_depth`` (B, V, H, W)) along its ray leads, by its predicted camera.
    How far: the product of its distances from both cameras, so that a smaller room does not agree better: in metres,
    predicted depth shrank while the cameras were still wrong, and never learnt to be right.
    """
    depth, poses = log_depth.clamp(-3, 4).exp(), cameras.level_from_camera
    one = points_at(depth, poses, cameras.focal, shared.scene, shared.view, shared.uv)
    other = points_at(depth, poses, cameras.focal, shared.scene, shared.other, shared.other_uv)
    far = _distance(one, poses, shared.scene, shared.view) * _distance(other, poses, shared.scene, shared.other)
    return ((one - other).square().sum(-1) / far).mean()


def label_disagreement(label_logits: Tensor, grid: tuple[int, int], shared: SharedPoints) -> Tensor:
    """Squared distance between the label distributions (B, V, P, L+1) of two views at shared points, 0 to 2."""
    one, other = patch_values(label_logits.float().softmax(-1), grid, shared)
    return (one - other).square().sum(-1).mean()


def _distance(points: Tensor, poses: Tensor, scene: Tensor, view: Tensor) -> Tensor:
    """How far points (C, 3) are from the cameras of their views (C,), a decimetre at least."""
    return torch.linalg.vector_norm(points - poses[scene, view, :3, 3], dim=-1).clamp(min=0.1)
