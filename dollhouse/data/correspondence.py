"""Which places two views of a scene both see, by depth and poses.

The middle of every patch of one view is put into space and looked for in every other view: it must lie in front of
that camera, within its picture, and at the depth which that view has there, or something stands before it.
Knows nothing of losses.

Axes: B batch, V views, H and W pixels, P patches of a view, C shared points, F any width.
Places in a view run from 0 to 1, rightwards and downwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dollhouse.data.collator import Batch
from dollhouse.models.dollhouse.modeling import PerceptionOutput
from dollhouse.models.dollhouse.voting_head import full_precision

TOLERANCE = 0.03  #: of its depth, by which a point may miss the surface that the other view sees there
EDGE = 0.15  #: likewise for each of the four pixels around it; beyond, an edge runs between them
NEAREST = 0.05  #: metres in front of a camera from which it sees anything


@dataclass
class SharedPoints:
    """Points that two views of one scene see; every pair of views comes up from either side."""

    scene: Tensor  #: (C,)
    view: Tensor  #: (C,)
    patch: Tensor  #: (C,) of that view, which has the point in its middle
    place: Tensor  #: (C, 2) of the point in that view
    other: Tensor  #: (C,) the other view
    other_patch: Tensor  #: (C,) of the other view, which has it anywhere
    other_place: Tensor  #: (C, 2) of the point in the other view

    def __len__(self) -> int:
        return len(self.scene)


@torch.no_grad()
def shared_points(depth: Tensor, level_from_camera: Tensor, focal: Tensor, patch_size: int) -> SharedPoints:
    """``depth`` (B, V, H, W) metres, 0 unknown; poses (B, V, 4, 4); ``focal`` (B, V) over the image's width."""
    batch, views, height, width = depth.shape
    rows, columns = height // patch_size, width // patch_size
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    middle = (torch.stack([column, row], -1).view(-1, 2) * patch_size + patch_size // 2 + 0.5).to(depth)
    middle = middle / depth.new_tensor([width, height])
    patches = rows * columns

    index = [torch.arange(size, device=depth.device) for size in (batch, views, patches, views)]
    scene, view, patch, other = (one.flatten() for one in torch.meshgrid(*index, indexing="ij"))
    column, row = (middle[patch] * middle.new_tensor([width, height])).long().unbind(-1)
    own = depth[scene, view, row, column]
    known = (own > 0) & (view != other)
    scene, view, patch, other, own = (one[known] for one in (scene, view, patch, other, own))
    place = middle[patch]

    with full_precision(depth):
        point = lifted(own, level_from_camera[scene, view], focal[scene, view], place, height / width)
        pose = level_from_camera[scene, other]
        there = (pose[:, :3, :3].transpose(1, 2) @ (point - pose[:, :3, 3]).unsqueeze(-1)).squeeze(-1)
        z = there[:, 2]
        plane = there[:, :2] / z.clamp(min=NEAREST).unsqueeze(-1) * focal[scene, other].unsqueeze(-1)
        other_place = plane * plane.new_tensor([1.0, width / height]) + 0.5
    inside = (z > NEAREST) & (other_place >= 0).all(-1) & (other_place < 1).all(-1)
    around, weight = corners(depth.unsqueeze(-1), scene, other, other_place.clamp(0, 1))
    around = around.squeeze(-1)
    surface = 1 / (weight / around.clamp(min=1e-6)).sum(-1)  # on a plane, one over depth is linear in the picture
    whole = ((around > 0) & ((around - z.unsqueeze(-1)).abs() < EDGE * z.unsqueeze(-1))).all(-1)
    seen = inside & whole & ((surface - z).abs() < TOLERANCE * z)
    cell = (other_place * depth.new_tensor([columns, rows])).long()
    other_patch = cell[:, 1] * columns + cell[:, 0]
    return SharedPoints(*(one[seen] for one in (scene, view, patch, place, other, other_patch, other_place)))


def shared_in(batch: Batch, perception: PerceptionOutput, patch_size: int) -> SharedPoints:
    """The points that views of a batch share: by its depth and poses; in scenes without, by the student's own."""
    told = batch.posed & batch.metric & (batch.depth > 0).flatten(1).any(-1)

    def either(known: Tensor, own: Tensor) -> Tensor:
        return torch.where(told.view(-1, *[1] * (known.ndim - 1)), known, own.detach())

    return shared_points(
        either(batch.depth, perception.log_depth.clamp(-3, 4).exp()),
        either(batch.level_from_camera, perception.cameras.level_from_camera),
        either(batch.focal, perception.cameras.focal),
        patch_size,
    )


def seen_points(
    depth: Tensor, level_from_camera: Tensor, focal: Tensor, scene: Tensor, view: Tensor, place: Tensor
) -> Tensor:
    """The points (C, 3), in the first view's level frame, that views see at places (C, 2); shapes as above.

    ``depth`` must be known everywhere. It is interpolated as one over depth, which is exact on planes.
    """
    height, width = depth.shape[-2:]
    with full_precision(depth):
        nearness = at_places(1 / depth.clamp(min=1e-3).unsqueeze(-1), scene, view, place).squeeze(-1)
        return lifted(1 / nearness, level_from_camera[scene, view], focal[scene, view], place, height / width)


def lifted(depth: Tensor, level_from_camera: Tensor, focal: Tensor, place: Tensor, aspect: float) -> Tensor:
    """Points (C, 3) at ``depth`` (C) behind places (C, 2) of pictures whose height is ``aspect`` times their width."""
    plane = (place - 0.5) * place.new_tensor([1.0, aspect]) / focal.unsqueeze(-1)
    point = F.pad(plane, (0, 1), value=1.0) * depth.unsqueeze(-1)
    return (level_from_camera[:, :3, :3] @ point.unsqueeze(-1)).squeeze(-1) + level_from_camera[:, :3, 3]


def patch_values(patches: Tensor, grid: tuple[int, int], shared: SharedPoints) -> tuple[Tensor, Tensor]:
    """What the patches (B, V, P, F) of a ``grid`` say at shared points from either view, (C, F) each; interpolated."""
    field = patches.float().unflatten(2, grid)
    return (
        at_places(field, shared.scene, shared.view, shared.place),
        at_places(field, shared.scene, shared.other, shared.other_place),
    )


def at_places(field: Tensor, scene: Tensor, view: Tensor, place: Tensor) -> Tensor:
    """Bilinear values (C, F) of a ``field`` (B, V, H, W, F) at places (C, 2) of views."""
    values, weight = corners(field, scene, view, place)
    return (values * weight.unsqueeze(-1)).sum(1)


def corners(field: Tensor, scene: Tensor, view: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """The four values (C, 4, F) of a ``field`` (B, V, H, W, F) around places (C, 2), and their weights (C, 4)."""
    height, width = field.shape[2:4]
    size = place.new_tensor([width, height])
    spot = (place * size - 0.5).clamp(min=0).minimum(size - 1)
    low = spot.floor()
    high = (low + 1).minimum(size - 1).long()
    (right, down), (x, y), (x2, y2) = (spot - low).unbind(-1), low.long().unbind(-1), high.unbind(-1)
    values = torch.stack([field[scene, view, v, u] for v, u in ((y, x), (y, x2), (y2, x), (y2, x2))], 1)
    weight = torch.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], -1)
    return values, weight
