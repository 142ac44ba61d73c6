"""The floor and the walls of a point cloud."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array

_BIN = 0.04  #: metres
_SHARE = 0.015  #: least share of all points that lie on a floor or a wall
_BEYOND = 0.03  #: largest share of points below a floor, or behind a wall
_SAMPLES = 20_000
_CANDIDATES = 600
_PLANE = 0.06  #: metres; points nearer to a floor or wall belong to it


@dataclass(frozen=True, eq=False)
class Plane:
    """Points p with ``p @ normal == offset``; ``share`` of all points lie on it."""

    normal: Array  #: (3,) unit; up for a floor, into the room for a wall
    offset: float
    share: float

    def distances(self, points: Array) -> Array:
        """Return signed distances (...) of points (..., 3), positive on the normal's side."""
        return points @ self.normal - self.offset


def find_floor(points: Array, up: Array, max_tilt: float = 0.0) -> Plane | None:
    """Find the lowest level plane that holds many points; None where there is none.

    Args:
        points: (N, 3) in any frame, in metres.
        up: (3,) approximately upward; exactly where ``max_tilt`` is 0.
        max_tilt: largest angle in radians between ``up`` and the floor's normal.
    """
    up = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    sample = _sample(points)
    if len(sample) < 100:
        return None
    normals = up[None]
    if max_tilt > 0:  # RANSAC: planes through three points near each other in height
        rng = np.random.default_rng(0)
        corners = sample[rng.integers(0, len(sample), (20 * _CANDIDATES, 3))]
        corners = corners[np.ptp(corners @ up, axis=1) < 2 * np.tan(max_tilt)]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(normals, axis=1)
        normals = normals[length > 0.05] / length[length > 0.05, None]
        normals *= np.where(normals @ up < 0, -1.0, 1.0)[:, None]
        normals = np.concatenate([up[None], normals[normals @ up > np.cos(max_tilt)][:_CANDIDATES]])
    best = max((_lowest(sample, normal) for normal in normals), key=lambda plane: plane.share)
    if best.share < _SHARE:
        return None
    for _ in range(3 if max_tilt > 0 else 0):  # least squares on the inliers
        inliers = sample[np.abs(best.distances(sample)) < _BIN]
        centre = inliers.mean(0)
        normal = np.linalg.svd(inliers - centre, full_matrices=False)[2][2]
        normal *= np.sign(normal @ up) or 1.0
        best = Plane(normal, float(centre @ normal), len(inliers) / len(sample))
    return best


def find_walls(points: Array) -> list[Plane]:
    """Find the walls of a room with right angles.

    ``points`` (N, 3) are in a frame with z up. A wall is an upright plane of many points, with almost none behind it.
    """
    sample = _sample(points)
    if len(sample) < 100:
        return []
    angles = np.radians(np.arange(90))
    sharpness = []
    for angle in angles:
        counts = [_histogram(sample[:, :2] @ axis)[0] for axis in _plan_axes(angle)]
        sharpness.append(sum(float((count.astype(np.float64) ** 2).sum()) for count in counts))
    yaw = float(angles[int(np.argmax(sharpness))])
    walls = []
    for axis in _plan_axes(yaw):
        for normal in (axis, -axis):
            plane = _lowest(sample, np.array([*normal, 0.0]))
            if plane.share >= 2 * _SHARE:
                walls.append(plane)
    return walls


def on_planes(points: Array, planes: list[Plane]) -> NDArray[np.bool_]:
    """Return which points (..., 3) lie on one of some planes, or behind it."""
    outside = np.zeros(points.shape[:-1], dtype=bool)
    for plane in planes:
        outside |= plane.distances(points) < _PLANE
    return outside


def _plan_axes(yaw: float) -> Array:
    return np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])


def _histogram(heights: Array) -> tuple[Array, Array]:
    low, high = np.percentile(heights, [0.2, 99.8])
    edges = np.arange(low - _BIN, high + 2 * _BIN, _BIN)
    return np.histogram(heights, edges)


def _lowest(sample: Array, normal: Array) -> Plane:
    """Return the fullest level that has at most ``_BEYOND`` of the points below it."""
    heights = sample @ normal
    counts, edges = _histogram(heights)
    pairs = counts[:-1] + counts[1:]  # a plane may straddle two bins
    below = np.concatenate([[0], np.cumsum(counts)])[: len(pairs)] + (heights < edges[0]).sum()
    allowed = np.where(below <= _BEYOND * len(heights), pairs, 0)
    level = int(allowed.argmax())
    inside = heights[(heights >= edges[level]) & (heights <= edges[level + 2])]
    return Plane(normal, float(np.median(inside)) if len(inside) else 0.0, float(allowed[level]) / len(heights))


def _sample(points: Array) -> Array:
    points = points.reshape(-1, 3)
    points = points[np.isfinite(points).all(-1)]
    return points[:: max(1, len(points) // _SAMPLES)]
