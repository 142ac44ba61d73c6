"""Estimated depth maps that agree with each other and with known points, given their cameras.

Each map is multiplied by a smooth positive field, bilinear between the nodes of a grid, as in Robust Consistent Video
Depth Estimation (arXiv 2012.05901): most of the error of monocular depth varies slowly over a photo.

Axes: V views, H rows and W columns of a map, N pixels, K nodes of a grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, eye_array, kron, vstack
from scipy.sparse.linalg import spsolve

from dollhouse.geometry import Array, camera_rays, invert_rigid, project

_ROWS, _COLUMNS = 5, 7  #: nodes of a field
_SAMPLES = 24  #: rows and columns of a map that are compared
_PARTNERS = 8  #: views that each view is compared with: those that show most of its samples
_ROUNDS = 6
_BETWEEN_VIEWS, _AT_POINTS = 0.05, 0.03  #: usual differences of log depth; larger ones count less and less (Cauchy)
_OCCLUDED = 0.5  #: difference of log depth from which two views show different surfaces
_BETWEEN_NODES, _PRIOR = 0.04, 0.3  #: usual differences of a log field's nodes: from the next node, and from 0


def fuse_depth(
    maps: Sequence[Array], poses: Array, intrinsics: Array, points: Sequence[Array] | None = None
) -> list[Array]:
    """Multiply depth maps by smooth fields under which views agree.

    Args:
        maps: (H, W) z-depth in the unit of the poses, 0 where unknown.
        poses: (V, 4, 4) world from camera.
        intrinsics: (V, 3, 3) of the maps.
        points: of each view, (N, 3) column and row in its map, and depth, such as that of triangulated matches.
    """
    views = range(len(maps))
    maps = [np.asarray(depth, dtype=np.float64) for depth in maps]
    fixed_rows, fixed_values = [], []
    for view in views if points is not None else ():
        pixels, depth = points[view][:, :2], points[view][:, 2]  # type: ignore[index]
        own = _depth_at(maps[view], pixels)
        if (own > 0).any():
            difference = np.log(depth[own > 0] / own[own > 0])
            maps[view] = maps[view] * np.exp(np.median(difference))
            fixed_rows.append(_nodes_at(pixels[own > 0], maps[view], view, len(maps)) / _AT_POINTS)
            fixed_values.append((difference - np.median(difference)) / _AT_POINTS)
    samples = [_samples(depth) for depth in maps]
    rays = [
        camera_rays(pinhole, *depth.shape[::-1])[tuple(at.T)]
        for pinhole, depth, at in zip(intrinsics, maps, samples, strict=True)
    ]
    weights = [
        _nodes_at(at[:, ::-1] + 0.5, depth, view, len(maps))
        for view, (depth, at) in enumerate(zip(maps, samples, strict=True))
    ]
    depths = [depth[tuple(at.T)] for depth, at in zip(maps, samples, strict=True)]
    steps = [kron(eye_array(len(maps)), part) / _BETWEEN_NODES for part in _differences()]
    smooth = vstack([*steps, eye_array(len(maps) * _ROWS * _COLUMNS) / _PRIOR])

    def compare(first: int, second: int, fields: Array) -> tuple[NDArray[np.integer], Array, Array, Array]:
        """Return which samples of a view another one shows, where, at which depth, and the share that scales."""
        second_from_first = invert_rigid(poses[second]) @ poses[first]
        scaled = rays[first] * (depths[first] * np.exp(weights[first] @ fields))[:, None]
        pixels, z = project(scaled @ second_from_first[:3, :3].T + second_from_first[:3, 3], intrinsics[second])
        inside = (z > 0.05) & (pixels >= 0).all(1) & (pixels < maps[second].shape[::-1]).all(1)
        shown = np.flatnonzero(inside)[_depth_at(maps[second], pixels[inside]) > 0]
        return shown, pixels[shown], z[shown], 1 - second_from_first[2, 3] / z[shown]

    fields = np.zeros(len(maps) * _ROWS * _COLUMNS)
    pairs = []
    for first in views:
        counts = np.array([len(compare(first, second, fields)[0]) if second != first else 0 for second in views])
        pairs += [(first, int(second)) for second in np.argsort(-counts, kind="stable")[:_PARTNERS] if counts[second]]
    for _ in range(_ROUNDS):
        rows, values = list(fixed_rows), list(fixed_values)
        for first, second in pairs:
            shown, pixels, z, share = compare(first, second, fields)
            theirs = _nodes_at(pixels, maps[second], second, len(maps))
            gap = np.log(_depth_at(maps[second], pixels)) + theirs @ fields - np.log(z)
            near = np.abs(gap) < _OCCLUDED
            row = diags_array(share[near]) @ weights[first][shown[near]] - theirs[near]
            rows.append(row / _BETWEEN_VIEWS)
            values.append((gap[near] + row @ fields) / _BETWEEN_VIEWS)
        matrix, value = vstack(rows).tocsr(), np.concatenate(values)
        certain = diags_array(1 / (1 + (value - matrix @ fields) ** 2))
        fields = spsolve((matrix.T @ certain @ matrix + smooth.T @ smooth).tocsc(), matrix.T @ (certain @ value))
    fused = []
    for view, depth in enumerate(maps):
        pixels = np.argwhere(np.ones(depth.shape, dtype=bool))[:, ::-1] + 0.5
        fused.append(depth * np.exp(_nodes_at(pixels, depth, view, len(maps)) @ fields).reshape(depth.shape))
    return fused


def _samples(depth: Array) -> NDArray[np.integer]:
    """Return rows and columns (N, 2) of evenly spaced pixels with depth."""
    rows, columns = (np.unique(np.linspace(0, size - 1, _SAMPLES).astype(int)) for size in depth.shape)
    at = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    return at[depth[tuple(at.T)] > 0]


def _depth_at(depth: Array, pixels: Array) -> Array:
    """Return the depth (N,) at columns and rows (N, 2)."""
    column, row = np.floor(pixels).astype(int).T
    return depth[row.clip(0, depth.shape[0] - 1), column.clip(0, depth.shape[1] - 1)]


def _nodes_at(pixels: Array, depth: Array, view: int, views: int) -> csr_array:
    """Return the bilinear weights (N, V * K) of a view's nodes at columns and rows (N, 2)."""
    size = np.array([_ROWS, _COLUMNS])
    place = (pixels[:, ::-1] / depth.shape).clip(0, 1) * (size - 1)
    low = np.minimum(place.astype(int), size - 2)
    part = place - low
    corners = list(np.ndindex(2, 2))
    columns = np.stack([(view * _ROWS + low[:, 0] + i) * _COLUMNS + low[:, 1] + j for i, j in corners], 1)
    values = np.stack([np.abs(1 - i - part[:, 0]) * np.abs(1 - j - part[:, 1]) for i, j in corners], 1)
    starts = np.arange(0, columns.size + 1, 4)
    return csr_array((values.ravel(), columns.ravel(), starts), shape=(len(pixels), views * _ROWS * _COLUMNS))


def _differences() -> list[csr_array]:
    """Return matrices of the differences between neighbouring nodes, down and across."""
    down, across = (np.diff(np.eye(count), axis=0) for count in (_ROWS, _COLUMNS))
    return [csr_array(np.kron(down, np.eye(_COLUMNS))), csr_array(np.kron(np.eye(_ROWS), across))]
