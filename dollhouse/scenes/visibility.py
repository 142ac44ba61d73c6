"""Which boxes of a scene can be seen in which view, and where.

From the renderer's instance ids where a view has them, else from depth and poses, by asking which box holds
each pixel's point. Knows nothing of questions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dollhouse.errors import QuestionError
from dollhouse.geometry import (
    Array,
    back_project,
    inside_box,
    resize_intrinsics,
    transform_points,
)
from dollhouse.scenes.scene import Scene, View

#: Depth maps are thinned to about this many pixels before points are looked up in boxes.
DEPTH_SAMPLES = 20_000
#: Sensor depth and hand-drawn boxes disagree by a little (metres).
BOX_MARGIN = 0.03


@dataclass(frozen=True, eq=False)
class Visibility:
    """What each view shows of each box, in the order of ``scene.boxes``."""

    shares: Array  #: (n, V) part of the image's pixels that show the box
    across: Array  #: (n, V) mean of those pixels' x over the image's width, 0 left to 1 right; NaN where none
    image_pixels: tuple[int, ...]  #: (V,) pixels that the shares are parts of


def compute_visibility(scene: Scene) -> Visibility:
    """What the scene's views show of its boxes. QuestionError where a view has neither instances nor posed depth."""
    boxes = scene.boxes or ()
    columns = [_pictured(view, scene) for view in scene.views]
    shape = (len(boxes), len(columns))
    counts = np.array([column[0] for column in columns], dtype=np.float64).T.reshape(shape)
    sums = np.array([column[1] for column in columns], dtype=np.float64).T.reshape(shape)
    totals = tuple(column[2] for column in columns)
    across = np.divide(sums, counts, out=np.full(shape, np.nan), where=counts > 0)
    return Visibility(counts / np.array(totals, dtype=np.float64).reshape(1, -1), across, totals)


def visible_pixels(scene: Scene) -> np.ndarray:
    """Pixels (n, V), int, of each box in each view; ways and errors as :func:`see`.

    Where depth had to be thinned, in pixels of the thinned map.
    """
    seen = compute_visibility(scene)
    return np.rint(seen.shares * np.array(seen.image_pixels).reshape(1, -1)).astype(np.int64)


def _pictured(view: View, scene: Scene) -> tuple[Array, Array, int]:
    """Counts (n,), sums of x over width (n,), and pixels looked at."""
    instances = view.instances
    if instances is None:
        instances = _instances_from_depth(view, scene)
    ids = np.array([box.id for box in scene.boxes or ()], dtype=np.int64)
    return _counted(instances, ids)


def _counted(instances: np.ndarray, ids: np.ndarray) -> tuple[Array, Array, int]:
    height, width = instances.shape
    # One histogram over (id, column) gives both the counts and the mean columns.
    bins = max(int(instances.max(initial=0)), int(ids.max(initial=0))) + 1
    flat = np.multiply(instances, width, dtype=np.int64) + np.arange(width)
    by_column = np.bincount(flat.ravel(), minlength=bins * width).reshape(bins, width)[ids]
    return by_column.sum(1), by_column @ ((np.arange(width) + 0.5) / width), height * width


def _instances_from_depth(view: View, scene: Scene) -> np.ndarray:
    depth = view.depth
    intrinsics = view.depth_intrinsics if view.depth_intrinsics is not None else view.intrinsics
    if depth is None or intrinsics is None or view.world_from_camera is None:
        raise QuestionError(
            f"{scene.name}: view {view.name} has neither instance ids nor depth with a pose, so nobody can tell "
            "which objects it shows; use a scene with posed depth"
        )
    step = max(1, int(np.ceil(np.sqrt(depth.size / DEPTH_SAMPLES))))
    depth = depth[step // 2 :: step, step // 2 :: step]
    # A thinned pixel stands for the middle of its step, which keeps its ray.
    shift = (step // 2 + 0.5) / step - 0.5
    thinned = resize_intrinsics(intrinsics, 1.0 / step, 1.0 / step, left=shift, top=shift)
    known = depth > 0
    points = transform_points(view.world_from_camera, back_project(depth, thinned)[known])
    owners = np.zeros(len(points), dtype=np.int64)
    # Small boxes last: a cup in a cupboard's box is the cup.
    for box in sorted(scene.boxes or (), key=lambda box: -float(np.prod(box.size))):
        owners[inside_box(points, np.asarray(box.center), np.asarray(box.size), box.yaw, BOX_MARGIN)] = box.id
    instances = np.zeros(depth.shape, dtype=np.int64)
    instances[known] = owners
    return instances
