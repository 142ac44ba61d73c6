"""What is said about the same place from two views should be the same.

Axes: B batch, V views, P patches of a view, H and W pixels, L labels, C shared points.
"""

from __future__ import annotations

from torch import Tensor

from dollhouse.distill.correspondence import SharedPoints, patch_values, seen_points
from dollhouse.student.heads import Cameras


def point_disagreement(log_depth: Tensor, cameras: Cameras, shared: SharedPoints) -> Tensor:
    """Squared distance in square metres between where the two views put a shared point; mean over C.

    A view puts it where its predicted depth (``log_depth`` (B, V, H, W)) along its ray leads, by its predicted camera.
    """
    depth, poses = log_depth.clamp(-3, 4).exp(), cameras.level_from_camera
    one = seen_points(depth, poses, cameras.focal, shared.scene, shared.view, shared.place)
    other = seen_points(depth, poses, cameras.focal, shared.scene, shared.other, shared.other_place)
    return (one - other).square().sum(-1).mean()


def label_disagreement(label_logits: Tensor, grid: tuple[int, int], shared: SharedPoints) -> Tensor:
    """Squared distance between the label distributions (B, V, P, L+1) of two views at shared points, 0 to 2."""
    one, other = patch_values(label_logits.float().softmax(-1), grid, shared)
    return (one - other).square().sum(-1).mean()
