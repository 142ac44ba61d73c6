"""Corresponding points of the views of a scene, by depth and poses.

The middle of every patch of a view is back-projected and then projected into every other view. It corresponds if it
lies in front of that camera, within its image, and at that view's depth (else it is occluded).

Axes: B batch, V views, H and W pixels, P patches of a view, C correspondences, F any width.
Image coordinates (``uv``) run from 0 to 1, rightwards and downwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dollhouse.data.collator import Batch
from dollhouse.models.dollhouse.modeling_perception import PerceptionOutput
from dollhouse.models.dollhouse.voting_head import full_precision

TOLERANCE = 0.03  #: share of its depth by which a point may miss the other view's surface
EDGE = 0.15  #: likewise for each of the four pixels around it; beyond, they lie on both sides of an edge
NEAR_PLANE = 0.05  #: metres in front of a camera


@dataclass
class SharedPoints:
    """Points visible in two views of one scene; every pair of views comes in both orders."""

    scene: Tensor  #: (C,)
    view: Tensor  #: (C,)
    patch: Tensor  #: (C,) of that view, with the point in its middle
    uv: Tensor  #: (C, 2) of the point in that view
    other: Tensor  #: (C,) the other view
    other_patch: Tensor  #: (C,) of the other view, with the point anywhere in it
    other_uv: Tensor  #: (C, 2) of the point in the other view

    def __len__(self) -> int:
        return len(self.scene)


@torch.no_grad()
def shared_points(depth: Tensor, level_from_camera: Tensor, focal: Tensor, patch_size: int) -> SharedPoints:
    """Find the points that pairs of views share.

    ``depth`` (B, V, H, W) is in metres, 0 unknown; ``focal`` (B, V) over the image's width.
    """
    batch, views, height, width = depth.shape
    rows, columns = height // patch_size, width // patch_size
    patches, size = rows * columns, depth.new_tensor([width, height])
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    middle = (torch.stack([column, row], -1).view(-1, 2) * patch_size + patch_size // 2 + 0.5).to(depth) / size
    index = [torch.arange(count, device=depth.device) for count in (batch, views, patches, views)]
    scene, view, patch, other = (axis.flatten() for axis in torch.meshgrid(*index, indexing="ij"))
    column, row = (middle[patch] * size).long().unbind(-1)
    own = depth[scene, view, row, column]
    known = (own > 0) & (view != other)
    scene, view, patch, other, own = (axis[known] for axis in (scene, view, patch, other, own))
    uv = middle[patch]

    with full_precision(depth):
        point = back_project_uv(own, level_from_camera[scene, view], focal[scene, view], uv, height / width)
        pose = level_from_camera[scene, other]
        in_other = (pose[:, :3, :3].transpose(1, 2) @ (point - pose[:, :3, 3]).unsqueeze(-1)).squeeze(-1)
        z = in_other[:, 2]
        plane = in_other[:, :2] / z.clamp(min=NEAR_PLANE).unsqueeze(-1) * focal[scene, other].unsqueeze(-1)
        other_uv = plane * plane.new_tensor([1.0, width / height]) + 0.5
    inside = (z > NEAR_PLANE) & (other_uv >= 0).all(-1) & (other_uv < 1).all(-1)
    around, weight = corners(depth.unsqueeze(-1), scene, other, other_uv.clamp(0, 1))
    around = around.squeeze(-1)
    surface = 1 / (weight / around.clamp(min=1e-6)).sum(-1)  # on a plane, one over depth is linear in the image
    whole = ((around > 0) & ((around - z.unsqueeze(-1)).abs() < EDGE * z.unsqueeze(-1))).all(-1)
    visible = inside & whole & ((surface - z).abs() < TOLERANCE * z)
    cell = (other_uv * depth.new_tensor([columns, rows])).long()
    other_patch = cell[:, 1] * columns + cell[:, 0]
    return SharedPoints(*(axis[visible] for axis in (scene, view, patch, uv, other, other_patch, other_uv)))


def shared_in(batch: Batch, perception: PerceptionOutput, patch_size: int) -> SharedPoints:
    """Find the points that views of a batch share, by its depth and poses or else by the student's predictions."""
    assert perception.log_depth is not None
    has_targets = batch.posed & batch.metric & (batch.depth > 0).flatten(1).any(-1)

    def either(known: Tensor, own: Tensor) -> Tensor:
        return torch.where(has_targets.view(-1, *[1] * (known.ndim - 1)), known, own.detach())

    return shared_points(
        either(batch.depth, perception.log_depth.clamp(-3, 4).exp()),
        either(batch.level_from_camera, perception.cameras.level_from_camera),
        either(batch.focal, perception.cameras.focal),
        patch_size,
    )


def points_at(
    depth: Tensor, level_from_camera: Tensor, focal: Tensor, scene: Tensor, view: Tensor, uv: Tensor
) -> Tensor:
    """Back-project ``uv`` (C, 2) of views into the first view's level frame: points (C, 3).

    ``depth`` must be known everywhere. It is interpolated as one over depth, which is exact on planes.
    """
    height, width = depth.shape[-2:]
    with full_precision(depth):
        nearness = sample_bilinear(1 / depth.clamp(min=1e-3).unsqueeze(-1), scene, view, uv).squeeze(-1)
        return back_project_uv(1 / nearness, level_from_camera[scene, view], focal[scene, view], uv, height / width)


def back_project_uv(depth: Tensor, level_from_camera: Tensor, focal: Tensor, uv: Tensor, aspect: float) -> Tensor:
    """Return points (C, 3) at ``depth`` (C) behind ``uv`` (C, 2); ``aspect`` is image height over width."""
    plane = (uv - 0.5) * uv.new_tensor([1.0, aspect]) / focal.unsqueeze(-1)
    point = F.pad(plane, (0, 1), value=1.0) * depth.unsqueeze(-1)
    return (level_from_camera[:, :3, :3] @ point.unsqueeze(-1)).squeeze(-1) + level_from_camera[:, :3, 3]


def patch_values(patches: Tensor, grid: tuple[int, int], shared: SharedPoints) -> tuple[Tensor, Tensor]:
    """Interpolate values (B, V, P, F) of a ``grid`` of patches at shared points in both views, (C, F) each."""
    field = patches.float().unflatten(2, grid)
    return (
        sample_bilinear(field, shared.scene, shared.view, shared.uv),
        sample_bilinear(field, shared.scene, shared.other, shared.other_uv),
    )


def sample_bilinear(field: Tensor, scene: Tensor, view: Tensor, uv: Tensor) -> Tensor:
    """Interpolate a ``field`` (B, V, H, W, F) at ``uv`` (C, 2) of views: values (C, F)."""
    values, weight = corners(field, scene, view, uv)
    return (values * weight.unsqueeze(-1)).sum(1)


def corners(field: Tensor, scene: Tensor, view: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
    """Return the four values (C, 4, F) of a ``field`` (B, V, H, W, F) around ``uv``, and their weights (C, 4)."""
    height, width = field.shape[2:4]
    size = uv.new_tensor([width, height])
    spot = (uv * size - 0.5).clamp(min=0).minimum(size - 1)
    low = spot.floor()
    high = (low + 1).minimum(size - 1).long()
    (right, down), (x, y), (x2, y2) = (spot - low).unbind(-1), low.long().unbind(-1), high.unbind(-1)
    values = torch.stack([field[scene, view, v, u] for v, u in ((y, x), (y, x2), (y2, x), (y2, x2))], 1)
    weight = torch.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], -1)
    return values, weight
