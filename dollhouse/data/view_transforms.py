"""Other samples out of the targets of one: mirrored, and of some of its views.

Axes: V views, H and W pixels, P patches of a view, N objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.data.targets import BACKGROUND, IGNORED, PATCH, SceneTargets
from dollhouse.geometry import Array, level_from_world, transform_points


def take_views(targets: SceneTargets, views: Sequence[int]) -> SceneTargets:
    """Keep some views, in the given order; the first becomes the reference of all geometry.

    Objects that no patch of these views shows are left out. Relations are left out too.
    """
    pose, objects, teacher, chosen = targets.level_from_camera, targets.objects, targets.teacher, list(views)

    def of_views(values: Any) -> Any:
        return None if values is None else values[chosen]

    level = np.eye(4) if pose is None else level_from_world(pose[chosen[0]])
    if objects is not None:
        turn = np.arctan2(level[1, 0], level[0, 0])
        shown = objects.patch_object[chosen]
        kept = np.unique(shown[shown >= 0])
        renumbered = np.full(len(objects.label) + 2, BACKGROUND)
        renumbered[kept] = np.arange(len(kept))
        renumbered[IGNORED] = IGNORED  # from the end
        objects = replace(
            objects,
            **{name: getattr(objects, name)[kept] for name in ("label", "colour", "size", "has_front")},
            center=transform_points(level, objects.center[kept]).astype(np.float32),
            yaw=(objects.yaw[kept] + turn).astype(np.float32),
            patch_object=renumbered[shown],
            patch_depth=objects.patch_depth[chosen],
            relations=None,
            index_of_id=None if objects.index_of_id is None else renumbered[objects.index_of_id],
            ignored_boxes=_moved(objects.ignored_boxes, level, turn),
        )
    if teacher is not None:
        names = ("features", "known", "labels", "depth")
        teacher = replace(teacher, **{name: of_views(getattr(teacher, name)) for name in names}, relations=None)
    return replace(
        targets,
        images=targets.images[chosen],
        level_from_camera=None if pose is None else level @ pose[chosen],
        objects=objects,
        teacher=teacher,
        **{name: of_views(getattr(targets, name)) for name in ("depth", "up", "focal", "instances", "label_cells")},
    )


def _moved(boxes: NDArray[np.float32], level: Array, turn: float) -> NDArray[np.float32]:
    """Rows of centre, size and yaw in another level frame."""
    return np.concatenate([transform_points(level, boxes[:, :3]), boxes[:, 3:6], boxes[:, 6:] + turn], 1).astype(
        np.float32
    )


def flip_horizontally(targets: SceneTargets) -> SceneTargets:
    """Exchange left and right, in the photos and in space alike.

    The teacher's features move with their patches but are not changed.
    """
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    columns = targets.images.shape[2] // PATCH
    objects, teacher = targets.objects, targets.teacher
    if objects is not None:
        objects = replace(
            objects,
            center=objects.center * np.array([-1.0, 1.0, 1.0], dtype=np.float32),
            yaw=(np.pi - objects.yaw).astype(np.float32),
            patch_object=_flip_patches(objects.patch_object, columns),
            patch_depth=_flip_patches(objects.patch_depth, columns),
            relations=_flip_relations(objects.relations),
            ignored_boxes=_flip_boxes(objects.ignored_boxes),
        )
    if teacher is not None:
        names = ("features", "known", "labels", "depth")
        flipped = {name: _flip_patches(getattr(teacher, name), columns) for name in names}
        teacher = replace(teacher, **flipped, relations=_flip_relations(teacher.relations))
    return replace(
        targets,
        images=targets.images[:, :, ::-1],
        depth=None if targets.depth is None else targets.depth[:, :, ::-1],
        level_from_camera=None if targets.level_from_camera is None else flip @ targets.level_from_camera @ flip,
        up=None if targets.up is None else targets.up * np.array([-1.0, 1.0, 1.0]),
        objects=objects,
        instances=None if targets.instances is None else targets.instances[:, :, ::-1],
        teacher=teacher,
        label_cells=None if targets.label_cells is None else targets.label_cells[:, :, ::-1],
    )


def _flip_patches(patches: Any, columns: int) -> Any:
    """(V, P, ...) with every row of patches reversed."""
    if patches is None:
        return None
    views, count = patches.shape[:2]
    return patches.reshape(views, count // columns, columns, *patches.shape[2:])[:, :, ::-1].reshape(patches.shape)


def _flip_boxes(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of centre, size and yaw, mirrored in x."""
    return np.concatenate([-boxes[:, :1], boxes[:, 1:6], np.float32(np.pi) - boxes[:, 6:]], 1)


def _flip_relations(relations: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    """Probabilities of right become those of left; above stays."""
    if relations is None:
        return None
    return np.stack([1 - relations[..., 0], relations[..., 1]], -1)
