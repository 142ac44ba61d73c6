"""Targets without photos, for stages that train language on true boxes: no image is rendered, read or stored.

Scenes of different shapes and numbers of views fit into one batch: patches are resampled to a square, and views that a
scene lacks show nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dollhouse.data.targets import BACKGROUND, PATCH, ObjectTargets, SceneTargets
from dollhouse.geometry import Array
from dollhouse.scenes.scene import Scene, View


def without_images(scene: Scene) -> Scene:
    """Return the scene with black images of the size of its instance maps."""
    return replace(scene, views=tuple(map(_without_image, scene.views)))


def _without_image(view: View) -> View:
    if (instances := view.instances) is None:
        return view
    black = np.zeros((*instances.shape, 3), dtype=np.uint8)
    return replace(view, open_image=lambda: black)


def object_only(targets: SceneTargets, views: int, size: int) -> SceneTargets:
    """Return targets of ``views`` square views of ``size`` pixels with the objects only, the largest first.

    The images (views, size, size, 0) have no channels.
    """
    shown, objects = len(targets.images), targets.objects
    height, width = targets.images.shape[1:3]
    if objects is not None:
        objects = _by_size(objects)
        patch_object, patch_depth = (
            _square(patches, height // PATCH, width // PATCH, size // PATCH)
            for patches in (objects.patch_object, objects.patch_depth)
        )
        pad = ((0, views - shown), (0, 0))
        objects = replace(
            objects,
            patch_object=np.pad(patch_object, pad, constant_values=BACKGROUND),
            patch_depth=np.pad(patch_depth, pad),
            relations=None,
        )
    return replace(
        targets,
        images=np.zeros((views, size, size, 0), dtype=np.uint8),
        depth=None,
        instances=None,
        level_from_camera=_pad(targets.level_from_camera, views - shown, np.eye(4)),
        up=_pad(targets.up, views - shown, np.array([0.0, -1.0, 0.0])),
        focal=_pad(targets.focal, views - shown, np.array(1.0)),
        objects=objects,
        teacher=None,
    )


def _by_size(objects: ObjectTargets) -> ObjectTargets:
    """Order objects by the number of patches that show them, since those beyond the student's slots are left out."""
    count = len(objects.label)
    shown = np.bincount(objects.patch_object[objects.patch_object >= 0], minlength=count)
    order = np.argsort(-shown, kind="stable")
    place = np.zeros(count, dtype=np.int64)
    place[order] = np.arange(count)
    patch_object = objects.patch_object.copy()
    patch_object[patch_object >= 0] = place[patch_object[patch_object >= 0]]
    fields = {name: getattr(objects, name)[order] for name in ("label", "colour", "center", "size", "yaw", "has_front")}
    return replace(objects, **fields, patch_object=patch_object)


def _square(patches: NDArray[np.generic], rows: int, columns: int, side: int) -> NDArray[np.generic]:
    """Resample patches (V, rows * columns) to (V, side * side) by nearest neighbour."""
    row, column = (np.arange(side) * count // side for count in (rows, columns))
    return patches.reshape(-1, rows, columns)[:, row[:, None], column].reshape(len(patches), -1)


def _pad(values: Array | None, count: int, filler: Array) -> Array | None:
    return None if values is None else np.concatenate([values, np.tile(filler, (count, *(1,) * filler.ndim))])
