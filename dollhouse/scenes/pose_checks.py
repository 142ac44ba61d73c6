"""Check of a posed scene: depth of one view reprojected into another, under the mistakes that captures often have."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, back_project, invert_rigid, project, transform_points
from dollhouse.scenes.scene import Scene, spaced_indices

AGREE = 0.05  #: largest median relative depth error of views that agree
_NOISE = 0.01  #: an error below this is never called a mistake
_PAIRS = 6
_TURN = np.radians(15.0)  #: wanted angle between the views of a pair: enough to tell mistakes apart, and they overlap
_SAMPLES = 3_000  #: points of a view
_OVERLAP = 0.1  #: least share of points that must fall on known depth of the other view
_FLIPPED = "camera axes are flipped (OpenGL for OpenCV, or the reverse)"
_INVERTED = "poses are inverted (camera-from-world for world-from-camera, or the reverse)"


class _Sample(NamedTuple):
    """What the check needs of a view."""

    points: Array  #: (N, 3) camera frame, a regular subset of the pixels with depth
    depth: Array  #: (H, W)
    intrinsics: Array
    pose: Array


def check_poses(scene: Scene) -> dict[str, Any]:
    """Compare the depth of a few pairs of views and find the mistake that explains a disagreement.

    Returns:
        ``pairs`` compared; ``error``, the median of abs(z - depth) / depth, and ``agrees``, whether it is at most
        ``AGREE``, both None where too little overlaps; ``mistake`` in words, or None.
    """
    poses = np.stack([view.world_from_camera for view in scene.views if view.world_from_camera is not None])
    pairs = list(_sample_pairs(scene, poses)) if scene.has_depth and len(poses) == len(scene.views) else []
    as_read, mistake = _error(pairs), None
    if pairs and as_read > _NOISE:
        # A reader may have turned the world; inverted poses have to be inverted before that.
        world_from_source = np.array(scene.metadata.get("world_from_source", np.eye(4)))
        ratios = _depth_ratios(pairs, poses)
        readings = sorted(product(("", _FLIPPED), ("", _INVERTED), ratios), key=lambda reading: sum(map(bool, reading)))
        errors = {
            reading: _error(pairs, bool(reading[0]), world_from_source if reading[1] else None, ratios[reading[2]])
            for reading in readings
        }
        best = min(errors.values())
        if best < min(0.5 * as_read, AGREE):  # the simplest reading that is about as good as the best
            mistake = " and ".join(filter(None, next(r for r, error in errors.items() if error <= 1.2 * best + 0.002)))
    agrees = bool(as_read <= AGREE and not mistake) if np.isfinite(as_read) or mistake else None
    error = round(as_read, 5) if np.isfinite(as_read) else None
    return {"pairs": len(pairs), "error": error, "agrees": agrees, "mistake": mistake or _up_mistake(poses)}


def _depth_ratios(pairs: list[tuple[_Sample, _Sample]], poses: Array) -> dict[str, float]:
    """List what depth over translations may have to be multiplied by, as far as their sizes leave it possible."""
    ratios = {
        "": 1.0,
        "depth is 5 times too large (1/5000 m taken for mm, or the reverse)": 0.2,
        "depth is 5 times too small (mm taken for 1/5000 m, or the reverse)": 5.0,
    }
    typical_depth = np.median(np.concatenate([source.points[:, 2] for source, _ in pairs]))
    if typical_depth < 0.02:
        ratios["depth is in metres, taken for millimetres"] = 1000.0
    elif np.ptp(poses[:, :3, 3], axis=0).max() > 30.0:
        ratios["poses are in millimetres"] = 1000.0
    if typical_depth > 100.0:
        ratios["depth is in millimetres, taken for metres"] = 0.001
    return ratios


def _sample_pairs(scene: Scene, poses: Array) -> Iterator[tuple[_Sample, _Sample]]:
    """Pair evenly spaced views with those turned by about ``_TURN``, an angle that no mistake changes."""

    @cache
    def sample(index: int) -> _Sample | None:
        view = scene.views[index]
        intrinsics = view.depth_intrinsics if view.depth_intrinsics is not None else view.intrinsics
        try:
            depth = view.depth
        except SceneError:
            return None
        if depth is None or intrinsics is None or not (depth > 0).any():
            return None
        points = back_project(depth, intrinsics)[depth > 0]
        return _Sample(points[:: int(np.ceil(len(points) / _SAMPLES))], depth, intrinsics, poses[index])

    rotations = poses[:, :3, :3]
    for first in spaced_indices(len(poses), _PAIRS) if len(poses) > 1 else []:
        cosines = (np.einsum("nij,ij->n", rotations, rotations[first]) - 1.0) / 2.0
        distance = np.abs(np.arccos(np.clip(cosines, -1.0, 1.0)) - _TURN)
        distance[first] = np.inf
        source, target = sample(first), sample(int(distance.argmin()))
        if source is not None and target is not None:
            yield source, target


def _error(
    pairs: list[tuple[_Sample, _Sample]], flipped: bool = False, inverted_in: Array | None = None, ratio: float = 1.0
) -> float:
    """Compute the median relative depth error of all pairs under a reading; infinite where too little overlaps."""
    errors = [np.empty(0)]
    for source, target in pairs:
        pose_a, pose_b = source.pose, target.pose
        if inverted_in is not None:
            pose_a, pose_b = (invert_rigid(pose) @ inverted_in for pose in (pose_a, pose_b))
        b_from_a = invert_rigid(pose_b) @ pose_a
        if flipped:  # of both cameras
            b_from_a *= np.outer([1, -1, -1, 1], [1, -1, -1, 1])
        b_from_a[:3, 3] /= ratio  # the same as depth times the ratio
        pixels, z = project(transform_points(b_from_a, source.points), target.intrinsics)
        inside = (z > 0) & (pixels >= 0).all(-1) & (pixels < target.depth.shape[::-1]).all(-1)
        column, row = pixels[inside].astype(int).T
        other = target.depth[row, column]
        errors.append(np.abs(z[inside] - other)[other > 0] / other[other > 0])
    pooled = np.concatenate(errors)
    return float(np.median(pooled)) if len(pooled) > _OVERLAP * sum(len(s.points) for s, _ in pairs) else float("inf")


def _up_mistake(poses: Array) -> str | None:
    """Name the world axis that is up instead of z, by the image axes of cameras that are held level."""
    image_x, image_up, forward = poses[:, :3, :3].mean(0).T * [[1], [-1], [1]]
    axis = int(np.abs(image_up).argmax())
    if abs(image_up[axis]) < 0.6 or (axis == 2 and image_up[2] > 0):
        return None
    if axis != 2 and (abs(image_up[2]) > 0.35 or max(abs(image_x[2]), abs(forward[2])) > 0.85):
        return None  # the cameras may roll, be turned to portrait, or look down
    return f"the world's up is {'-' if image_up[axis] < 0 else ''}{'xyz'[axis]}, not z"
