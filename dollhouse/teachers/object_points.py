"""Points of the objects that 2D detections mark in depth maps.

The points of a detection are those of its mask, or the foreground of its rectangle, in the scene's world frame.

Axes: H rows and W columns of a depth map, N points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from dollhouse.errors import TeacherError
from dollhouse.geometry import (
    Array,
    back_project,
    camera_rays,
    invert_rigid,
    look_at,
    project,
    resize_intrinsics,
    transform_points,
)
from dollhouse.records.types import SceneGeometry
from dollhouse.scenes.labels import BUILDING, clean_label, question_noun
from dollhouse.scenes.scene import Scene, View
from dollhouse.scenes.visibility import subsample_depth
from dollhouse.teachers.detection import Detections
from dollhouse.teachers.floor import find_floor, find_walls, on_planes

Mask = NDArray[np.bool_]
Integers = NDArray[np.integer]

MIN_POINTS = 12  #: with depth, below which a detection is dropped
MAX_POINTS = 3000  #: of one detection, and of one object when its box is fitted
FRAGMENT = 0.1  #: parts of an object smaller than this share of its largest part are outliers
_MAX_PIXELS = 60_000  #: depth maps are subsampled to about as many
_OCCLUSION = 0.5  #: metres between the parts of an object that another one occludes
_SPECKLE = 0.05  #: relative difference of depth between neighbours on one surface


@dataclass(frozen=True, eq=False)
class DepthView:
    """A view's subsampled depth map and its points in the world."""

    depth: Array  #: (H, W)
    intrinsics: Array
    pose: Array
    points: Array  #: (H, W, 3)
    across: Array  #: (W,) the columns in pixels of the photo
    down: Array  #: (H,) the rows
    photo_size: tuple[int, int]  #: height, width
    floor: Mask  #: (H, W) pixels of the floor
    structure: Mask  #: (H, W) pixels of floor and walls

    def region(self, detections: Detections, index: int) -> Mask:
        """Return the pixels (H, W) of a detection."""
        height, width = self.photo_size
        inside = np.ones(self.depth.shape, dtype=bool)
        if detections.boxes is not None:
            left, top, right, bottom = detections.boxes[index]
            rows, columns = self.down, self.across
            inside = ((rows >= top) & (rows < bottom))[:, None] & (columns >= left) & (columns < right)
        if detections.masks is not None:
            mask = detections.masks[index]
            i = np.floor(self.down * mask.shape[0] / height).astype(int)
            j = np.floor(self.across * mask.shape[1] / width).astype(int)
            known = ((i >= 0) & (i < mask.shape[0]))[:, None] & (j >= 0) & (j < mask.shape[1])
            inside &= known & mask[np.ix_(i.clip(0, mask.shape[0] - 1), j.clip(0, mask.shape[1] - 1))]
        return inside


@dataclass(frozen=True, eq=False)
class ObjectPoints:
    """The part of an object that one view shows."""

    label: str
    score: float
    view: int
    region: Mask  #: (H, W) its pixels
    points: Array  #: (N, 3) world


def depth_views(scene: Scene, known: SceneGeometry) -> tuple[list[DepthView], float | None]:
    """Return the views' depth maps in the world, and the height of the floor where there is one.

    Raises TeacherError without metric depth, intrinsics or poses.
    """
    depths: Sequence[NDArray[np.float32] | None]
    if known.depth is not None and known.metric:
        depths = known.depth
    elif scene.has_depth and scene.metric:
        depths = [view.depth for view in scene.views]
    else:
        raise TeacherError(f"scene {scene.name}: detections need depth in metres; name a depth teacher before them")
    if len(scene.views) > 1 and not scene.posed:
        raise TeacherError(f"scene {scene.name}: detections of several views need poses; use --views 1")
    views = []
    for view, depth in zip(scene.views, depths, strict=True):
        assert depth is not None  # has_depth
        if view.intrinsics is None:
            raise TeacherError(f"scene {scene.name}: view {view.name} has no intrinsics, which lifting needs")
        views.append(_depth_view(view, depth, np.asarray(view.intrinsics, dtype=np.float64)))
    points = np.concatenate([view.points[view.depth > 0] for view in views])
    floor = find_floor(points, np.array([0.0, 0.0, 1.0]))
    walls = find_walls(points)
    for placed in views:
        placed.floor[:] = on_planes(placed.points, [floor] if floor else [])
        placed.structure[:] = placed.floor | on_planes(placed.points, walls)
    return views, floor.offset if floor else None


def _depth_view(view: View, depth: NDArray[np.float32], photo_intrinsics: Array) -> DepthView:
    height, width = view.image.shape[:2]
    intrinsics = view.depth_intrinsics
    if intrinsics is None or view.depth is None or view.depth.shape != depth.shape:
        intrinsics = map_intrinsics(view, photo_intrinsics, depth)
    step = max(1, int(np.ceil(np.sqrt(depth.size / _MAX_PIXELS))))
    depth, intrinsics = subsample_depth(depth, np.asarray(intrinsics), step)
    depth = np.nan_to_num(depth, nan=0.0, posinf=0.0).astype(np.float64)
    depth = np.where(_supported(depth), depth, 0.0)
    pose = view_pose(view)
    rays = camera_rays(intrinsics, depth.shape[1], depth.shape[0])
    across = rays[0, :, 0] * photo_intrinsics[0, 0] + photo_intrinsics[0, 2]
    down = rays[:, 0, 1] * photo_intrinsics[1, 1] + photo_intrinsics[1, 2]
    points = transform_points(pose, back_project(depth, intrinsics))
    floor, structure = np.zeros((2, *depth.shape), dtype=bool)
    return DepthView(depth, intrinsics, pose, points, across, down, (height, width), floor, structure)


def view_pose(view: View) -> Array:
    """Return a view's ``world_from_camera`` (4, 4); without one, the camera is upright at the origin."""
    if view.world_from_camera is None:
        return look_at(np.zeros(3), np.array([0.0, 1.0, 0.0]))
    return np.asarray(view.world_from_camera, dtype=np.float64)


def map_intrinsics(view: View, intrinsics: Array, depth: Array) -> Array:
    """Return the intrinsics of a depth map that covers the photo at another size."""
    height, width = view.image.shape[:2]
    return resize_intrinsics(intrinsics, depth.shape[1] / width, depth.shape[0] / height)


def _supported(depth: Array) -> Mask:
    """Return the pixels (H, W) whose depth at least two of their eight neighbours share; others are noise."""
    padded = np.pad(depth, 1)
    count = np.zeros(depth.shape, dtype=np.int64)
    for row, column in np.ndindex(3, 3):
        neighbour = padded[row : row + depth.shape[0], column : column + depth.shape[1]]
        count += np.abs(neighbour - depth) < _SPECKLE * depth
    return count >= 3  # itself is one of them


def object_points(detections: Detections, view: DepthView, number: int) -> list[ObjectPoints]:
    """Return the objects of a view with their points; what a small rectangle holds is no part of a larger one's."""
    objects = []
    taken = np.zeros(view.depth.shape, dtype=bool)
    regions = [view.region(detections, index) for index in range(len(detections))]
    for index in sorted(range(len(detections)), key=lambda index: int(regions[index].sum())):
        label = question_noun(detections.labels[index]) or clean_label(detections.labels[index])
        if label is None or label in BUILDING:
            continue
        region = regions[index]
        if detections.masks is None:
            parts = [_foreground(view, region, taken)]
            taken |= parts[0]
        else:
            parts = _mask_parts(view, region, detections.semantic)
        for part in parts:
            points = view.points[part]
            if len(points) >= MIN_POINTS:
                points = points[:: max(1, len(points) // MAX_POINTS)]
                objects.append(ObjectPoints(label, float(detections.scores[index]), number, part, points))
    return objects


def _mask_parts(view: DepthView, region: Mask, semantic: bool) -> list[Mask]:
    """Return the pixels of the objects in a mask, without outliers; of an instance's mask, one object."""
    known = region & (view.depth > 0)
    above = known & ~view.floor
    pixels = np.argwhere(above if above.sum() > 0.5 * known.sum() else known)  # else a flat object, such as a rug
    if len(pixels) < MIN_POINTS:
        return []
    points = view.points[tuple(pixels.T)]
    parts = clusters(points, _gap(view, pixels))
    counts = np.bincount(parts)
    large = np.flatnonzero(counts >= FRAGMENT * counts.max())
    if not semantic:  # an object is in parts where others occlude it; parts far away are background
        main = cKDTree(points[parts == counts.argmax()])
        large = np.array([part for part in large if main.query(points[parts == part])[0].min() < _OCCLUSION])
    chosen = large[:, None] if semantic else large[None]
    masks = []
    for kept in chosen:
        mask = np.zeros(region.shape, dtype=bool)
        mask[tuple(pixels[np.isin(parts, kept)].T)] = True
        masks.append(mask)
    return masks


def _foreground(view: DepthView, region: Mask, taken: Mask) -> Mask:
    """Return the pixels of the object in a rectangle: of the parts that are apart in 3D, the most central one.

    ``taken`` are pixels (H, W) of other objects.
    """
    empty = np.zeros(region.shape, dtype=bool)
    pixels = np.argwhere(region & (view.depth > 0) & ~taken)
    if len(pixels) < MIN_POINTS:
        return empty
    corners = np.argwhere(region)
    low, high = corners.min(0), corners.max(0) + 1
    offsets = (pixels + 0.5 - 0.5 * (low + high)) / (high - low)
    weights = np.exp(-((offsets / 0.3) ** 2).sum(1))
    free = ~view.structure[tuple(pixels.T)]
    if weights[free].sum() > 0.3 * weights.sum():  # else a flat object, such as a picture on a wall
        pixels, weights = pixels[free], weights[free]
    parts = clusters(view.points[tuple(pixels.T)], _gap(view, pixels))
    chosen = int(np.bincount(parts, weights).argmax())
    pixels, weights = pixels[parts == chosen], weights[parts == chosen]
    depth = view.depth[tuple(pixels.T)]
    order = np.argsort(depth)
    middle = float(depth[order][np.searchsorted(np.cumsum(weights[order]), 0.5 * weights.sum())])
    # as deep to either side of its middle as the rectangle is wide or high there, whichever is more
    reach = 0.5 * middle * float(((high - low) / view.intrinsics[[1, 0], [1, 0]]).max())
    empty[tuple(pixels[np.abs(depth - middle) <= reach].T)] = True
    return empty


def _gap(view: DepthView, pixels: Integers) -> float:
    """Return the distance in metres from which points of these pixels are apart."""
    return float(np.clip(6 * np.median(view.depth[tuple(pixels.T)]) / view.intrinsics[0, 0], 0.08, 0.25))


def clusters(points: Array, gap: float) -> NDArray[np.integer]:
    """Return the number of the connected part of each point (N, 3); cubes of side ``gap`` that touch are connected."""
    cubes, inverse = np.unique(np.floor(points / gap).astype(np.int64), axis=0, return_inverse=True)
    first, second = cKDTree(cubes).query_pairs(1.8, output_type="ndarray").reshape(-1, 2).T
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(len(cubes), len(cubes)))
    return connected_components(graph, directed=False)[1][inverse.ravel()]


def project_to_view(points: Array, view: DepthView, margin: float) -> tuple[Integers, Mask]:
    """Project points (N, 3) into a view: pixels (N, 2) as row and column, and which of them show it."""
    pixels, z = project(transform_points(invert_rigid(view.pose), points), view.intrinsics)
    cells = np.floor(pixels[:, ::-1]).astype(np.int64)
    inside = (z > 0.05) & (cells >= 0).all(1) & (cells < view.depth.shape).all(1)
    cells = np.where(inside[:, None], cells, 0)
    depth = view.depth[tuple(cells.T)]
    return cells, inside & (depth > 0) & (z < depth + margin + 0.02 * z)
