"""Visibility of boxes in views: pixel shares and positions, from instance ids or from posed depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import QuestionError
from dollhouse.geometry import Array, back_project, inside_box, resize_intrinsics, transform_points
from dollhouse.scenes.scene import Scene, View

DEPTH_SAMPLES = 20_000  #: depth maps are subsampled to about this many pixels before points are assigned to boxes
BOX_MARGIN = 0.03  #: tolerance between sensor depth and annotated boxes (metres)


@dataclass(frozen=True, eq=False)
class Visibility:
    """Pixels of each box in each view: n boxes in the order of ``scene.boxes``, V views."""

    shares: Array  #: (n, V) fraction of the view's pixels that belong to the box
    across: Array  #: (n, V) mean x of those pixels over the image width, 0 left to 1 right; NaN where none


def compute_visibility(scene: Scene) -> Visibility:
    """Count the pixels of each box; QuestionError where a view has neither instance ids nor posed depth."""
    boxes = scene.boxes or ()
    ids = np.array([box.id for box in boxes], dtype=np.int64)
    counts, sums = np.zeros((2, len(boxes), len(scene.views)))
    totals = np.zeros(len(scene.views))
    for index, view in enumerate(scene.views):
        annotated = view.instances
        instances: NDArray[Any] = _instances_from_depth(view, scene) if annotated is None else annotated
        totals[index], width = instances.size, instances.shape[1]
        # One histogram over (id, column) gives both the counts and the mean columns.
        bins = max(int(instances.max(initial=0)), int(ids.max(initial=0))) + 1
        flat = np.multiply(instances, width, dtype=np.int64) + np.arange(width)
        by_column = np.bincount(flat.ravel(), minlength=bins * width).reshape(bins, width)[ids]
        counts[:, index], sums[:, index] = by_column.sum(1), by_column @ ((np.arange(width) + 0.5) / width)
    across = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return Visibility(counts / totals, across)


def subsample_depth(depth: Array, intrinsics: Array, step: int) -> tuple[Array, Array]:
    """Take every ``step``-th row and column of a depth map; returns it with its intrinsics."""
    # A subsampled pixel is the middle one of its step, which keeps its ray.
    shift = (step // 2 + 0.5) / step - 0.5
    subsampled = resize_intrinsics(intrinsics, 1.0 / step, 1.0 / step, left=shift, top=shift)
    return depth[step // 2 :: step, step // 2 :: step], subsampled


def _instances_from_depth(view: View, scene: Scene) -> NDArray[np.int64]:
    """Assign each pixel of the (subsampled) depth map to the smallest box that contains its point."""
    depth = view.depth
    intrinsics = view.intrinsics_of_depth
    if depth is None or intrinsics is None or view.world_from_camera is None:
        raise QuestionError(
            f"{scene.name}: view {view.name} has neither instance ids nor depth with a pose, so the visibility of its "
            "objects is unknown; use a scene with posed depth"
        )
    step = max(1, int(np.ceil(np.sqrt(depth.size / DEPTH_SAMPLES))))
    depth, subsampled = subsample_depth(depth, intrinsics, step)
    known = depth > 0
    points = transform_points(view.world_from_camera, back_project(depth, subsampled)[known])
    owners = np.zeros(len(points), dtype=np.int64)
    # Small boxes last: points of a cup inside a cupboard's box belong to the cup.
    for box in sorted(scene.boxes or (), key=lambda box: -float(np.prod(box.size))):
        owners[inside_box(points, np.asarray(box.center), np.asarray(box.size), box.yaw, BOX_MARGIN)] = box.id
    instances = np.zeros(depth.shape, dtype=np.int64)
    instances[known] = owners
    return instances
