"""Unprojection of depth and pooling of patches into voxels (``docs/specs/llava3d.md``, section 4).

Axes: V views, H W pixels, N patches, M voxels, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def world_points(depths: Tensor, intrinsics: Tensor, world_from_camera: Tensor, stride: int = 1) -> Tensor:
    """Unproject every ``stride``-th pixel, from the top left, to world points (V, H / stride, W / stride, 3).

    Args:
        depths: (V, H, W) z-depth in metres. A pixel without depth (0) maps to its camera's centre: it is not masked.
        intrinsics: (V, 3 or 4, 3 or 4) in the official convention: the centre of the top left pixel is (0, 0).
        world_from_camera: (V, 4, 4).
        stride: pixels between two samples. With the patch size it selects the top left pixel of each patch, as the
            official nearest-neighbour downsampling does.

    Computed in the dtype of ``depths``, in the official order of operations: rounding decides the voxel of a patch.
    """
    depths = depths[:, ::stride, ::stride]
    views, height, width = depths.shape
    fx, fy = intrinsics[:, 0, 0, None, None], intrinsics[:, 1, 1, None, None]
    cx, cy = intrinsics[:, 0, 2, None, None], intrinsics[:, 1, 2, None, None]
    u = (torch.arange(width, device=depths.device) * stride).to(depths.dtype)
    v = (torch.arange(height, device=depths.device) * stride).to(depths.dtype)[:, None]
    x = (u - cx) * depths / fx
    y = (v - cy) * depths / fy
    points = torch.stack([x, y, depths, torch.ones_like(depths)], 1).flatten(2)  # (V, 4, HW)
    world = (world_from_camera @ points).transpose(1, 2)
    return (world[..., :3] / world[..., 3:]).view(views, height, width, 3)


def voxel_numbers(points: Tensor, size: float) -> tuple[Tensor, int]:
    """Return the voxel (N,) of each point (N, 3), and the number of voxels M.

    A coordinate belongs to the voxel ``round(x / size)``, halves to the even one. Voxels are numbered in
    lexicographic order of their (x, y, z).
    """
    cells = torch.round(points / size).long()
    cells = cells - cells.min(0).values
    _, y_count, z_count = (cells.max(0).values + 1).tolist()
    keys = (cells[:, 0] * y_count + cells[:, 1]) * z_count + cells[:, 2]
    occupied, numbers = torch.unique(keys, sorted=True, return_inverse=True)
    return numbers, len(occupied)


def mean_by_voxel(values: Tensor, numbers: Tensor, count: int, weights: Tensor | None = None) -> Tensor:
    """Average values (N, D) by voxel to (M, D), with optional ``weights`` (N,); 0 where they sum to 0.

    Sums are in float32 at least: in bfloat16 a sum of many patches would lose the last of them.
    """
    wide = values if values.dtype == torch.float64 else values.float()
    share = torch.ones(len(values), dtype=wide.dtype, device=wide.device) if weights is None else weights.to(wide.dtype)
    sums = wide.new_zeros(count, wide.shape[1]).index_add_(0, numbers, wide * share[:, None])
    total = wide.new_zeros(count).index_add_(0, numbers, share)
    return (sums / total.clamp(min=torch.finfo(wide.dtype).tiny)[:, None]).to(values.dtype)
