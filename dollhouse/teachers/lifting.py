"""3D boxes from 2D detections and depth, in the scene's world frame.

The pixels of a detection whose depth is near that of its middle belong to the object. Detections of several views with
one label and one position become one object. Boxes are upright, aligned with the principal axes of their points in
plan; they have no front and miss the far side of an object, where there is no depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import TeacherError
from dollhouse.geometry import Array, camera_rays, look_at, transform_points
from dollhouse.records.types import SceneGeometry
from dollhouse.scenes.scene import Box, Scene, View

MIN_POINTS = 12  #: with depth, below which a detection is dropped
TRIM_PERCENT = 4.0  #: of the points at either end of each axis, since edges of depth maps bleed
MAX_POINTS = 2000  #: per detection
MIN_SIDE = 0.02  #: metres; an object seen edge-on still has a thickness


@dataclass(frozen=True)
class Detection:
    """A rectangle in one view's photo, in pixels."""

    label: str
    score: float
    left: float
    top: float
    right: float
    bottom: float
    view: int


def lift(detections: Sequence[Detection], scene: Scene, known: SceneGeometry) -> tuple[Box, ...]:
    """Return boxes by decreasing score, with ids from 1 up.

    ``known.depth`` is used where it is metric, else the scene's own. A scene of one view needs no pose: boxes are in
    its level frame then, with the camera assumed upright. Raises TeacherError without depth, intrinsics or poses.
    """
    depths = _depth_maps(scene, known)
    upright = look_at(np.zeros(3), np.array([0.0, 1.0, 0.0]))  # of one view without a pose
    clouds: list[tuple[Detection, Array]] = []
    for detection in sorted(detections, key=lambda box: (-box.score, box.view, box.label, box.left, box.top)):
        view = scene.views[detection.view]
        points = _points(detection, view, *depths[detection.view])
        if len(points) >= MIN_POINTS:
            pose = upright if view.world_from_camera is None else np.asarray(view.world_from_camera, dtype=np.float64)
            clouds.append((detection, transform_points(pose, points)))
    groups: list[tuple[Detection, list[Array]]] = []
    for detection, points in clouds:
        for first, members in groups:
            if first.label == detection.label and _overlap(np.concatenate(members), points):
                members.append(points)
                break
        else:
            groups.append((detection, [points]))
    return tuple(_box(number + 1, first, np.concatenate(members)) for number, (first, members) in enumerate(groups))


def _depth_maps(scene: Scene, known: SceneGeometry) -> list[tuple[NDArray[np.float32], Array]]:
    """Return for each view depth in metres and the intrinsics (3, 3) of that depth map."""
    depths: Sequence[NDArray[np.float32] | None]
    if known.depth is not None and known.metric:
        depths = known.depth
    elif scene.has_depth and scene.metric:
        depths = [view.depth for view in scene.views]
    else:
        raise TeacherError(f"scene {scene.name}: detections need depth in metres; name a depth teacher before them")
    if len(scene.views) > 1 and not scene.posed:
        raise TeacherError(f"scene {scene.name}: detections of several views need poses; use --views 1")
    maps: list[tuple[NDArray[np.float32], Array]] = []
    for view, depth in zip(scene.views, depths, strict=True):
        assert depth is not None  # has_depth
        if view.intrinsics is None:
            raise TeacherError(f"scene {scene.name}: view {view.name} has no intrinsics, which lifting needs")
        intrinsics = view.depth_intrinsics
        if intrinsics is None or view.depth is None or view.depth.shape != depth.shape:
            # the map covers the photo at another size
            height, width = view.image.shape[:2]
            scale = np.array([depth.shape[1] / width, depth.shape[0] / height, 1.0])
            intrinsics = np.asarray(view.intrinsics, dtype=np.float64) * scale[:, None]
        maps.append((depth, np.asarray(intrinsics, dtype=np.float64)))
    return maps


def _points(detection: Detection, view: View, depth: NDArray[np.float32], intrinsics: Array) -> Array:
    """Return camera-frame points (n, 3) of the object in the rectangle."""
    assert view.intrinsics is not None
    edges = np.array([[detection.left, detection.top], [detection.right, detection.bottom]])
    centre, focal = view.intrinsics[[0, 1], 2], view.intrinsics[[0, 1], [0, 1]]
    corners = (edges - centre) / focal * intrinsics[[0, 1], [0, 1]] + intrinsics[[0, 1], 2]
    height, width = depth.shape
    left, top = np.clip(np.floor(corners[0]), 0, [width, height]).astype(int)
    right, bottom = np.clip(np.ceil(corners[1]), 0, [width, height]).astype(int)
    patch = depth[top:bottom, left:right].astype(np.float64)
    rows, columns = patch.shape
    middle = patch[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4]
    if not (middle > 0).any():
        return np.zeros((0, 3))
    near = float(np.median(middle[middle > 0]))
    # as deep to either side of its middle as the rectangle is wide or high there, whichever is more
    reach = 0.5 * near * float(((edges[1] - edges[0]) / focal).max())
    inside = (patch > 0) & (np.abs(patch - near) <= reach)
    rays = camera_rays(intrinsics, width, height)[top:bottom, left:right]
    points = (rays * patch[..., None])[inside]
    return points[:: max(1, len(points) // MAX_POINTS)]


def _overlap(known: Array, points: Array) -> bool:
    """Return whether the median of either cloud lies within the other's extent."""
    for cloud, other in ((known, points), (points, known)):
        low, high = np.percentile(cloud, [TRIM_PERCENT, 100 - TRIM_PERCENT], axis=0)
        middle = np.median(other, axis=0)
        if ((middle >= low - MIN_SIDE) & (middle <= high + MIN_SIDE)).all():
            return True
    return False


def _box(id: int, detection: Detection, points: Array) -> Box:
    plan = points[:, :2] - np.median(points[:, :2], axis=0)
    spread, axes = np.linalg.eigh(np.cov(plan.T) if len(plan) > 1 else np.eye(2))
    # the axes of a round spread are arbitrary: then the world's are taken
    yaw = float(np.arctan2(axes[1, 1], axes[0, 1])) if spread[1] > 1.5 * spread[0] else 0.0
    yaw = (yaw + 0.5 * np.pi) % np.pi - 0.5 * np.pi
    cos, sin = np.cos(yaw), np.sin(yaw)
    world_from_own = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    low, high = np.percentile(points @ world_from_own, [TRIM_PERCENT, 100 - TRIM_PERCENT], axis=0)
    return Box(
        id=id,
        label=detection.label,
        center=world_from_own @ (0.5 * (low + high)),
        size=np.maximum(high - low, MIN_SIDE),
        yaw=yaw,
        score=detection.score,
    )
