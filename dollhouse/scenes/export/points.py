"""Coloured points of a posed scene with depth."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, back_project, project, resize_intrinsics, transform_points
from dollhouse.scenes.scene import Scene, View

MAX_VIEWS = 300  #: evenly spaced, of a longer scene
_CANDIDATES = 4  # times the wanted points are read before they are thinned
_BISECTIONS = 12

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ColouredPoints:
    """Points in a scene's world."""

    positions: NDArray[np.float32]  #: (N, 3)
    colours: NDArray[np.uint8]  #: (N, 3) sRGB
    views: int  #: number of views that they are from


def scene_points(scene: Scene, count: int) -> ColouredPoints:
    """Back-project depth to at most ``count`` points, one a voxel; views that cannot be read are left out and logged.

    Raises SceneError where depth, poses or intrinsics are missing, or no view has known depth.
    """
    if not (scene.posed and scene.has_depth):
        missing = "poses" if scene.has_depth else "depth"
        raise SceneError(f"scene {scene.name} has no {missing}, so no points; predicted ones: --predicted")
    views = scene.sample_views(MAX_VIEWS).views
    positions, colours = [], []
    for view in views:
        try:
            own_positions, own_colours = _view_points(view, -(-_CANDIDATES * count // len(views)))
        except SceneError as error:
            _logger.warning("left out: %s", error)
            continue
        positions.append(own_positions)
        colours.append(own_colours)
    if not sum(map(len, positions)):
        raise SceneError(f"scene {scene.name}: none of its {len(views)} views has known depth")
    pooled = np.concatenate(positions)
    kept = _thin(pooled, count)
    return ColouredPoints(pooled[kept].astype(np.float32), np.concatenate(colours)[kept], len(positions))


def _view_points(view: View, count: int) -> tuple[Array, NDArray[np.uint8]]:
    """Return about ``count`` world points (N, 3) of a view on a regular grid of its depth map, and their colours."""
    depth, image = view.depth, view.image
    intrinsics = view.intrinsics_of_depth
    if depth is None or intrinsics is None or view.world_from_camera is None:
        raise SceneError(f"view {view.name} lacks depth, pose or intrinsics")
    height, width = depth.shape
    scale = image.shape[1] / width, image.shape[0] / height
    colour_intrinsics = view.intrinsics if view.intrinsics is not None else resize_intrinsics(intrinsics, *scale)
    step = max(1, round((depth.size / count) ** 0.5))
    points = back_project(depth, intrinsics)[step // 2 :: step, step // 2 :: step]
    points = points[(points[..., 2] > 0) & np.isfinite(points[..., 2])]
    pixels, _ = project(points, colour_intrinsics)
    inside = (pixels >= 0).all(-1) & (pixels < image.shape[1::-1]).all(-1)
    column, row = pixels[inside].astype(int).T
    return transform_points(view.world_from_camera, points[inside]), image[row, column]


def _thin(points: Array, count: int) -> NDArray[np.intp]:
    """Choose at most ``count`` points (indices), the first of each voxel of the smallest size that leaves so few."""
    if len(points) <= count:
        return np.arange(len(points))
    low = points.min(0)
    extent = float(np.ptp(points, axis=0).max()) or 1.0
    small, large = extent * 1e-5, extent * 2.0
    chosen = np.zeros(1, dtype=np.intp)
    for _ in range(_BISECTIONS):
        size = (small * large) ** 0.5
        cells = ((points - low) / size).astype(np.int64)
        _, first = np.unique(cells @ np.array([1 << 40, 1 << 20, 1]), return_index=True)
        if len(first) > count:
            small = size
        else:
            large, chosen = size, np.sort(first)
    return chosen
