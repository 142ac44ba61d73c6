"""Posed metric RGB-D from photos: depth and cameras of the scene, of a model or of a function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np

from dollhouse.errors import TeacherError
from dollhouse.geometry import Array, back_project, invert_rigid, project, transform_points
from dollhouse.scenes.pose_checks import AGREE, check_poses
from dollhouse.scenes.readers.captures import level_from_up
from dollhouse.scenes.scene import Scene, View
from dollhouse.teachers.depth_fusion import fuse_depth
from dollhouse.teachers.detection import DepthEstimator
from dollhouse.teachers.floor import find_floor
from dollhouse.teachers.object_points import map_intrinsics, view_pose

MAX_TILT = np.radians(30.0)  #: largest angle between the mean image up and the floor's normal
TYPICAL_DEPTH = 2.5  #: metres; the median depth that scenes of unknown scale get
_SAMPLES = 2000  #: points of a view that are compared with other views
_NEIGHBOURS = 3  #: following views that each view is compared with


@dataclass(frozen=True, eq=False)
class Cameras:
    """Estimated cameras of a scene's photos, in one frame of any orientation and scale."""

    world_from_camera: Array  #: (V, 4, 4)
    intrinsics: Array  #: (V, 3, 3) of the photos, pixels
    depth: Sequence[Array] | None = None  #: z-depth of each photo at any size, in the unit of the poses; 0 unknown
    metric: bool = False  #: whether poses and depth are in metres
    #: of each photo, (N, 3) column and row of pixels, and their depth in the unit of the poses, such as matches give
    points: Sequence[Array] | None = None


class CameraEstimator(Protocol):
    """Estimate cameras of a scene's photos.

    ``depth`` holds z-depth of each photo in metres, at any size, where another source estimates it.
    """

    def __call__(self, scene: Scene, depth: Sequence[Array] | None, /) -> Cameras: ...


def reconstruct(scene: Scene, depth: DepthEstimator | None = None, cameras: CameraEstimator | None = None) -> Scene:
    """Return the scene with poses, intrinsics and depth from the given sources, z up, and the floor at z = 0.

    Args:
        depth: None for the scene's own depth; without any, for that of ``cameras``.
        cameras: None for the scene's own cameras, whose world is kept. Cameras without a scale get that of the depth.

    Raises:
        TeacherError: no source gives depth or cameras.
    """
    maps: list[Array] | None = None
    if depth is not None:
        maps = [_checked(depth(view.image), view) for view in scene.views]
    elif scene.has_depth and scene.metric:
        maps = [view.depth for view in scene.views if view.depth is not None]
    if cameras is None:
        if any(view.intrinsics is None for view in scene.views) or (len(scene.views) > 1 and not scene.posed):
            raise TeacherError(f"scene {scene.name}: it has no poses or intrinsics; name a source of cameras")
        intrinsics = np.stack([np.asarray(view.intrinsics) for view in scene.views])
        estimate = Cameras(np.stack([view_pose(view) for view in scene.views]), intrinsics, None, scene.metric)
    else:
        estimate = cameras(scene, maps)
        for matrices, side in ((estimate.world_from_camera, 4), (estimate.intrinsics, 3)):
            if np.shape(matrices) != (len(scene.views), side, side) or not np.isfinite(matrices).all():
                raise TeacherError(
                    f"scene {scene.name}: a source of cameras returned an array of shape {np.shape(matrices)} for "
                    f"{len(scene.views)} photos, or values that are not finite"
                )
    own_depth = maps is None  # that of the source of cameras
    metric = estimate.metric or not own_depth
    if maps is None and estimate.depth is not None:
        maps = [_checked(depth_map, view) for depth_map, view in zip(estimate.depth, scene.views, strict=True)]
    if maps is None or not any((map > 0).any() for map in maps):
        raise TeacherError(f"scene {scene.name}: it has no depth in metres; name a source of depth")
    factor = 1.0
    if not metric:  # any scale will do: one at which furniture has about its size
        factor = TYPICAL_DEPTH / float(np.median(np.concatenate([map[map > 0] for map in maps])))
        maps = [map * np.float32(factor) for map in maps]
    elif not estimate.metric:
        factor = _scale(scene, estimate, maps)
    poses = np.array(estimate.world_from_camera, dtype=np.float64)
    poses[:, :3, 3] *= factor
    sources = {"depth": depth is not None or own_depth, "cameras": cameras is not None}
    estimated = [name for name, is_estimated in sources.items() if is_estimated]
    metadata = {**scene.metadata, "estimated": estimated} if estimated else scene.metadata

    def place(depths: Sequence[Array | None]) -> Scene:
        views = tuple(map(_posed_view, scene.views, poses, estimate.intrinsics, depths))
        return replace(scene, views=views, metric=metric, metadata=metadata)

    posed = place(maps if "depth" in estimated else [None] * len(maps))
    if "depth" in estimated and (check_poses(posed)["error"] or 0.0) > AGREE:
        posed = place(_fused(scene, estimate, poses, maps, factor))
    return posed if cameras is None and scene.posed else _levelled(posed)


def _fused(scene: Scene, estimate: Cameras, poses: Array, maps: Sequence[Array], factor: float) -> list[Array]:
    """Return the maps, corrected so that views agree; ``factor`` is that on the unit of the estimate."""
    views = list(zip(scene.views, estimate.intrinsics, maps, strict=True))
    pinholes = np.stack([map_intrinsics(view, pinhole, depth) for view, pinhole, depth in views])
    points = None
    if estimate.points is not None:
        points = []
        for (view, _, depth), known in zip(views, estimate.points, strict=True):
            points.append(known * [depth.shape[1] / view.image.shape[1], depth.shape[0] / view.image.shape[0], factor])
    return [depth.astype(np.float32) for depth in fuse_depth(maps, poses, pinholes, points)]


def _checked(depth: Array, view: View) -> Array:
    depth = np.nan_to_num(np.asarray(depth, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if depth.ndim != 2 or not (depth > 0).any():
        raise TeacherError(f"view {view.name}: a source of depth returned an array of shape {depth.shape} or no depth")
    return np.maximum(depth, 0.0)


def _posed_view(view: View, pose: Array, intrinsics: Array, depth: Array | None) -> View:
    posed = replace(view, world_from_camera=pose, intrinsics=np.asarray(intrinsics, dtype=np.float64))
    if depth is None:
        return posed
    return replace(
        posed,
        open_depth=partial(np.asarray, depth),
        depth_intrinsics=map_intrinsics(view, np.asarray(intrinsics), depth),
    )


def _scale(scene: Scene, estimate: Cameras, maps: Sequence[Array]) -> float:
    """Return the factor on camera positions that depth in metres asks for; 1 where no views can be compared."""
    if estimate.depth is not None:
        known = [(m[m > 0], own[own > 0]) for m, own in zip(maps, estimate.depth, strict=True)]
        ratios = [np.median(depth) / np.median(own) for depth, own in known if len(depth) and len(own)]
        return float(np.median(ratios)) if ratios else 1.0
    pairs: list[tuple[Array, Array, Array, Array]] = []
    for first, pose in enumerate(estimate.world_from_camera):
        for second in range(first + 1, min(first + 1 + _NEIGHBOURS, len(maps))):
            second_from_first = invert_rigid(estimate.world_from_camera[second]) @ pose
            pinholes = [map_intrinsics(scene.views[i], estimate.intrinsics[i], maps[i]) for i in (first, second)]
            points = back_project(maps[first], pinholes[0])[maps[first] > 0]
            points = points[:: max(1, len(points) // _SAMPLES)] @ second_from_first[:3, :3].T
            pairs.append((points, second_from_first[:3, 3], pinholes[1], maps[second]))

    def error(factor: float) -> float:
        errors = []
        for points, offset, pinhole, depth in pairs:
            pixels, z = project(points + factor * offset, pinhole)
            inside = (z > 0.05) & (pixels >= 0).all(1) & (pixels < depth.shape[::-1]).all(1)
            column, row = pixels[inside].astype(int).T
            other = depth[row, column]
            errors.append(np.minimum(np.abs(np.log(z[inside][other > 0] / other[other > 0])), 0.5))
            errors.append(np.full((~inside).sum(), 0.5))  # else cameras that look past each other would agree
        return float(np.mean(np.concatenate(errors)))

    if not pairs:
        return 1.0
    coarse = min(np.geomspace(1e-3, 1e3, 121), key=error)
    return float(min(coarse * np.geomspace(0.9, 1.1, 21), key=error))


def _levelled(scene: Scene) -> Scene:
    """Return a posed scene in a world with z up, its floor at z = 0 and the first camera at x = y = 0."""
    poses = np.stack([np.asarray(view.world_from_camera) for view in scene.views])
    clouds = []
    for view in scene.views:
        depth, intrinsics = view.depth, view.intrinsics_of_depth
        assert depth is not None
        assert intrinsics is not None
        assert view.world_from_camera is not None
        clouds.append(transform_points(view.world_from_camera, back_project(depth, intrinsics)[depth > 0]))
    points = np.concatenate([cloud[:: max(1, len(cloud) // 5000)] for cloud in clouds])
    up = -poses[:, :3, 1].mean(0)
    floor = find_floor(points, up, MAX_TILT)
    level = level_from_up(up if floor is None else floor.normal)
    heights = points @ level[2, :3]
    level[:3, 3] = -level[:3, :3] @ poses[0, :3, 3]
    level[2, 3] = -float(np.percentile(heights, 1)) if floor is None else -floor.offset
    facts = {"floor": "lowest points" if floor is None else f"plane of {floor.share:.0%} of the points"}
    views = tuple(replace(view, world_from_camera=level @ pose) for view, pose in zip(scene.views, poses, strict=True))
    return replace(scene, views=views, metadata={**scene.metadata, "levelled": facts})
