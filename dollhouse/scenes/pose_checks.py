"""Check of a posed scene: depth of one view reprojected into another, under the mistakes that captures often have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, back_project, invert_rigid, project, transform_points
from dollhouse.scenes.scene import Scene, View, spaced_indices

AGREE = 0.05  #: largest median relative depth error of views that agree
_NOISE = 0.01  #: an error below this is never called a mistake
_PAIRS = 6
_TURN = np.radians(15.0)  #: wanted angle between the views of a pair: enough to tell mistakes apart, and they overlap
_SAMPLES = 3_000  #: points of a view
_OVERLAP = 0.1  #: least share of points that must fall on known depth of the other view
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class _Mistake:
    """One reading of the poses and depth; ``ratio`` multiplies depth over translations."""

    flipped: bool = False
    inverted: bool = False
    ratio: float = 1.0

    @property
    def changes(self) -> int:
        return self.flipped + self.inverted + (self.ratio != 1.0)

    def plausible(self, typical_depth: float, span: float) -> bool:
        """Return whether depth and distances between cameras, in metres as read, leave a factor of 1000 possible."""
        if self.ratio == 1000.0:
            return span > 30.0 or typical_depth < 0.02
        return self.ratio != 0.001 or typical_depth > 100.0

    def describe(self, typical_depth: float) -> str:
        """Name the mistake in words."""
        scales = {
            0.2: "depth is 5 times too large (1/5000 m taken for mm, or the reverse)",
            5.0: "depth is 5 times too small (mm taken for 1/5000 m, or the reverse)",
            1000.0: "poses are in millimetres" if typical_depth > 0.02 else "depth is in metres, taken for millimetres",
            0.001: "depth is in millimetres, taken for metres",
        }
        parts = ["camera axes are flipped (OpenGL for OpenCV, or the reverse)"] * self.flipped
        parts += ["poses are inverted (camera-from-world for world-from-camera, or the reverse)"] * self.inverted
        return " and ".join([*parts, *([scales[self.ratio]] if self.ratio != 1.0 else [])])


_READINGS = sorted(
    (_Mistake(*choice) for choice in product((False, True), (False, True), (1.0, 0.2, 5.0, 1000.0, 0.001))),
    key=lambda reading: reading.changes,
)


@dataclass(frozen=True, eq=False)
class _Sample:
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
    errors = {_READINGS[0]: _error(pairs, _READINGS[0], np.eye(4))}
    as_read = errors[_READINGS[0]]
    mistake = None
    if pairs and as_read > _NOISE:
        # A reader may have turned the world; inverted poses have to be inverted before that.
        world_from_source = np.array(scene.metadata.get("world_from_source", np.eye(4)))
        typical_depth = float(np.median(np.concatenate([source.points[:, 2] for source, _ in pairs])))
        span = float(np.ptp(poses[:, :3, 3], axis=0).max())
        readings = [reading for reading in _READINGS[1:] if reading.plausible(typical_depth, span)]
        errors |= {reading: _error(pairs, reading, world_from_source) for reading in readings}
        best = min(errors.values())
        if best < min(0.5 * as_read, AGREE):
            reading = next(reading for reading, error in errors.items() if error <= 1.2 * best + 0.002)
            mistake = reading.describe(typical_depth)
    known = bool(np.isfinite(as_read))
    agrees = bool(as_read <= AGREE and mistake is None) if known or mistake else None
    error = round(as_read, 5) if known else None
    return {"pairs": len(pairs), "error": error, "agrees": agrees, "mistake": mistake or _up_mistake(poses)}


def _sample_pairs(scene: Scene, poses: Array) -> Iterator[tuple[_Sample, _Sample]]:
    """Pair evenly spaced views with those turned by about ``_TURN``, an angle that no mistake changes."""
    samples: dict[int, _Sample | None] = {}
    rotations = poses[:, :3, :3]
    for first in spaced_indices(len(poses), _PAIRS):
        cosines = (np.einsum("nij,ij->n", rotations, rotations[first]) - 1.0) / 2.0
        distance = np.abs(np.arccos(np.clip(cosines, -1.0, 1.0)) - _TURN)
        distance[first] = np.inf
        second = int(distance.argmin())
        for index in (first, second):
            if index not in samples:
                samples[index] = _sample(scene.views[index])
        pair = samples[first], samples[second]
        if first != second and pair[0] is not None and pair[1] is not None:
            yield pair[0], pair[1]


def _sample(view: View) -> _Sample | None:
    """Read a view's depth; None where it cannot be read or is empty."""
    try:
        depth = view.depth
    except SceneError:
        return None
    intrinsics = view.depth_intrinsics if view.depth_intrinsics is not None else view.intrinsics
    if depth is None or intrinsics is None or view.world_from_camera is None or not (depth > 0).any():
        return None
    points = back_project(depth, intrinsics)[depth > 0]
    step = int(np.ceil(len(points) / _SAMPLES))
    return _Sample(points[::step], depth, intrinsics, view.world_from_camera)


def _error(pairs: list[tuple[_Sample, _Sample]], reading: _Mistake, world_from_source: Array) -> float:
    """Compute the median relative depth error of all pairs under a reading; infinite where too little overlaps."""
    errors: list[Array] = []
    total = 0
    for source, target in pairs:
        pose_a, pose_b = source.pose, target.pose
        if reading.inverted:
            pose_a, pose_b = (invert_rigid(pose) @ world_from_source for pose in (pose_a, pose_b))
        if reading.flipped:
            pose_a, pose_b = pose_a @ _FLIP, pose_b @ _FLIP
        b_from_a = invert_rigid(pose_b) @ pose_a
        b_from_a[:3, 3] /= reading.ratio  # the same as depth times the ratio
        pixels, z = project(transform_points(b_from_a, source.points), target.intrinsics)
        height, width = target.depth.shape
        inside = (z > 0) & (pixels >= 0).all(-1) & (pixels < (width, height)).all(-1)
        column, row = pixels[inside].astype(int).T
        other = target.depth[row, column]
        errors.append((np.abs(z[inside] - other) / np.where(other > 0, other, 1.0))[other > 0])
        total += len(source.points)
    pooled = np.concatenate(errors) if errors else np.empty(0)
    return float(np.median(pooled)) if len(pooled) > _OVERLAP * total else float("inf")


def _up_mistake(poses: Array) -> str | None:
    """Name the world axis that is up instead of z, by the image axes of cameras that are held level."""
    image_x, image_up, forward = (poses[:, :3, axis].mean(0) * sign for axis, sign in ((0, 1), (1, -1), (2, 1)))
    axis = int(np.abs(image_up).argmax())
    if abs(image_up[axis]) < 0.6 or (axis == 2 and image_up[2] > 0):
        return None
    if axis != 2 and (abs(image_up[2]) > 0.35 or abs(image_x[2]) > 0.85 or abs(forward[2]) > 0.85):
        return None  # the cameras may roll, be turned to portrait, or look down
    return f"the world's up is {'-' if image_up[axis] < 0 else ''}{'xyz'[axis]}, not z"
