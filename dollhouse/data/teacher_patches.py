"""A teacher's spatial features, labels and depth, assigned to the patches of the student's views.

Axes: V views, P patches of a view, M points, D width, L labels, h and w cells of a grid that covers a view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dollhouse.data.targets import PATCH, SceneTargets, TeacherPatches
from dollhouse.geometry import Array, back_project, invert_rigid, level_from_world, transform_points
from dollhouse.records.types import SceneGeometry, SpatialFeatures
from dollhouse.scenes.labels import LabelMap, is_building
from dollhouse.scenes.scene import Scene

MAX_DISTANCE = 0.25  #: metres from a patch to the teacher's point that describes it


def patch_points(targets: SceneTargets, scene: Scene) -> Array | None:
    """Back-project the middle of every patch at its median depth.

    Returns points (V, P, 3) in the scene's world, nan where depth is unknown; None without depth, poses or focal.
    """
    if targets.depth is None or targets.level_from_camera is None or targets.focal is None:
        return None
    views, height, width = targets.depth.shape
    cells = targets.depth.reshape(views, height // PATCH, PATCH, width // PATCH, PATCH).swapaxes(2, 3)
    cells = cells.reshape(views, height // PATCH, width // PATCH, -1)
    known = np.where(cells > 0, cells, np.nan)
    with np.errstate(all="ignore"):
        median = np.nanmedian(np.where(np.isnan(known).all(-1, keepdims=True), -1.0, known), axis=-1)
    world_from_level = invert_rigid(level_from_world(np.asarray(scene.views[0].world_from_camera, dtype=np.float64)))
    points = []
    for depth, focal, pose in zip(median, targets.focal, targets.level_from_camera, strict=True):
        length = focal * width / PATCH  # in patches
        pinhole = np.array([[length, 0, depth.shape[1] / 2], [0, length, depth.shape[0] / 2], [0, 0, 1.0]])
        of_view = transform_points(world_from_level @ pose, back_project(depth, pinhole))
        points.append(np.where(depth[..., None] > 0, of_view, np.nan).reshape(-1, 3))
    return np.stack(points)


def nearest_features(
    features: SpatialFeatures, points: Array, cameras: Array | None = None, labels: Sequence[str] = ()
) -> TeacherPatches:
    """Give every patch the teacher's prediction at the nearest of its points, within :data:`MAX_DISTANCE`.

    Args:
        points: (V, P, 3) what the patches show; nan unknown.
        cameras: (V, 4, 4) world from camera; with them, the z-depth of the teacher's point is the patch's depth.
        labels: the student's; see :func:`student_label_probs`.
    """
    flat = points.reshape(-1, 3)
    finite = np.isfinite(flat).all(-1)
    distance = np.full(len(flat), np.inf)
    nearest = np.zeros(len(flat), dtype=np.int64)
    if finite.any() and len(features.points):
        distance[finite], nearest[finite] = cKDTree(features.points).query(flat[finite])
    known = (distance <= MAX_DISTANCE).reshape(points.shape[:2])
    of_patch = features.features[nearest].reshape(*points.shape[:2], -1) * known[..., None]
    depth = None
    if cameras is not None:
        offset = features.points[nearest].reshape(points.shape) - cameras[:, None, :3, 3]
        ahead = np.einsum("vpi,vi->vp", offset, cameras[:, :3, 2])
        depth = np.where(known & (ahead > 0), ahead, 0.0).astype(np.float32)
    probs = student_label_probs(features.label_probs, features.labels, labels)
    if probs is not None:
        probs = probs[nearest].reshape(*points.shape[:2], -1) * known[..., None]
    return TeacherPatches(features=of_patch.astype(np.float32), known=known, labels=probs, depth=depth)


def student_label_probs(
    probs: NDArray[np.float32] | None, names: Sequence[str], labels: Sequence[str]
) -> NDArray[np.float32] | None:
    """Return the teacher's probabilities (..., L+1) of the student's ``labels``, the last of no object.

    ``probs`` (..., N+1) are those of its own labels ``names``. Probability of labels that map to none of the student's
    is left out; where it is most of it, all are 0, unknown. None where the teacher predicts none, or lacks one of
    ``labels``.
    """
    if probs is None or not labels:
        return None
    mapping = LabelMap(labels)
    mapped = [mapping.map(name) for name in names]
    if not set(labels) <= set(mapped):
        return None
    columns = [
        labels.index(label) if label else len(labels) + (not is_building(name))
        for name, label in zip(names, mapped, strict=True)
    ]
    summed = np.zeros((*probs.shape[:-1], len(labels) + 2), dtype=np.float32)
    for number, column in enumerate([*columns, len(labels)]):
        summed[..., column] += probs[..., number]
    known, foreign = summed[..., :-1], summed[..., -1:]
    return known * (foreign <= known.sum(-1, keepdims=True))


def label_cells(geometry: SceneGeometry, chosen: Sequence[int], labels: Sequence[str]) -> NDArray[np.float16] | None:
    """Return a record's label maps (V, h, w, L+1) of the ``chosen`` views; None where none has these labels."""
    if geometry.label_maps is None:
        return None
    probs = [student_label_probs(geometry.label_maps[view], geometry.labels, labels) for view in chosen]
    known = [each for each in probs if each is not None]
    cells = [resample_cells(each, (known[0].shape[0], known[0].shape[1])) for each in known]
    return np.stack(cells).astype(np.float16) if cells else None


def resample_cells(
    cells: NDArray[Any], shape: tuple[int, int], area: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
) -> NDArray[np.float32]:
    """Average ``cells`` (..., h, w, C) over the cells of another grid of ``shape``.

    ``area`` (left, top, right, bottom, in [0, 1]) is the part that the new grid covers.
    """
    left, top, right, bottom = area
    rows = _overlaps(top, bottom, shape[0], cells.shape[-3])
    columns = _overlaps(left, right, shape[1], cells.shape[-2])
    averaged = np.einsum("ih,...hwc,jw->...ijc", rows, cells.astype(np.float32), columns, optimize=True)
    return np.asarray(averaged, dtype=np.float32)


def _overlaps(start: float, end: float, targets: int, sources: int) -> NDArray[np.float32]:
    """Return the share (targets, sources) of each target interval of [start, end] in each source interval of [0, 1]."""
    edges, own = np.linspace(start, end, targets + 1), np.linspace(0, 1, sources + 1)
    shared = np.minimum(edges[1:, None], own[None, 1:]) - np.maximum(edges[:-1, None], own[None, :-1])
    return (shared.clip(min=0) / ((end - start) / targets)).astype(np.float32)
