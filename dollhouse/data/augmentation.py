"""Random changes of training photos: colour, light, noise and blur, and a nearer view by cropping.

Cropping keeps the middle of the photos, so the principal point stays there and the focal length grows by the zoom.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter

from dollhouse.data.targets import BACKGROUND, IGNORED, MIN_PIXELS, PATCH, ObjectTargets, SceneTargets, assign_patches
from dollhouse.data.teacher_patches import resample_cells

Floats = NDArray[np.float32]


def change_photos(targets: SceneTargets, rng: np.random.Generator) -> SceneTargets:
    """Change light and colours of a scene's photos, alike in all views but for noise and blur.

    Half of the time colours are mixed or taken away; then the objects' colours become unknown.
    """
    recoloured = bool(rng.random() < 0.5)
    gain = rng.uniform(0.85, 1.15, 3) * rng.uniform(0.65, 1.35)
    mixing = np.diag(gain)
    if recoloured:
        grey = rng.random() < 0.12
        mixing = np.full((3, 3), 1 / 3) if grey else np.eye(3) + 0.22 * rng.standard_normal((3, 3))
        mixing = mixing / np.maximum(mixing.sum(1, keepdims=True), 0.3) * gain[:, None]
    gamma = np.exp(rng.uniform(-0.45, 0.45))
    levels = (np.arange(256, dtype=np.float32) / 255) ** np.float32(gamma)
    strength = rng.random() * 0.08 * (1 + recoloured)
    images = np.empty_like(targets.images)
    for index, photo in enumerate(targets.images):
        changed = levels[photo] @ mixing.T.astype(np.float32)
        changed *= 1 + _smooth_noise(rng, photo.shape[0], photo.shape[1], strength)
        if rng.random() < 0.25:
            changed = uniform_filter(changed, (3, 3, 0))
        changed += np.float32(rng.random() * 0.05) * rng.standard_normal(photo.shape, dtype=np.float32)
        images[index] = (np.clip(changed, 0, 1) * 255 + 0.5).astype(np.uint8)
    objects = targets.objects
    if recoloured and objects is not None:
        objects = replace(objects, colour=np.full_like(objects.colour, -1))
    return replace(targets, images=images, objects=objects)


def zoom_in(targets: SceneTargets, zoom: float) -> SceneTargets:
    """Crop the middle 1 / ``zoom`` of all views and resize it to their size.

    Focal lengths grow by ``zoom``; depth and poses stay. Objects that the crops no longer show are left out.
    """
    height, width = targets.images.shape[1:3]
    margin_y, margin_x = (0.5 * size * (1 - 1 / zoom) for size in (height, width))
    area = (margin_x, margin_y, width - margin_x, height - margin_y)
    resized = [
        Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR, box=area) for photo in targets.images
    ]
    pixels = _nearest(height, zoom)[:, None], _nearest(width, zoom)[None]
    depth = None if targets.depth is None else targets.depth[:, *pixels]
    instances = None if targets.instances is None else targets.instances[:, *pixels]
    rows, columns = height // PATCH, width // PATCH
    patches = (_nearest(rows, zoom)[:, None] * columns + _nearest(columns, zoom)[None]).ravel()
    teacher = targets.teacher
    if teacher is not None:
        names = ("features", "known", "labels", "depth")
        cropped = {name: None if (value := getattr(teacher, name)) is None else value[:, patches] for name in names}
        teacher = replace(teacher, **cropped)
    cells, edge = targets.label_cells, 0.5 * (1 - 1 / zoom)
    middle = (edge, edge, 1 - edge, 1 - edge)
    objects = targets.objects
    if objects is not None:
        objects, kept = _crop_objects(objects, instances, depth, patches)
        if teacher is not None and teacher.relations is not None:
            teacher = replace(teacher, relations=teacher.relations[np.ix_(kept, kept)])
    return replace(
        targets,
        images=np.stack([np.asarray(photo) for photo in resized]),
        depth=depth,
        focal=None if targets.focal is None else targets.focal * zoom,
        objects=objects,
        instances=instances,
        teacher=teacher,
        label_cells=None if cells is None else resample_cells(cells, (cells.shape[1], cells.shape[2]), middle),
    )


def _crop_objects(
    objects: ObjectTargets, instances: Any, depth: Floats | None, patches: NDArray[np.int64]
) -> tuple[ObjectTargets, NDArray[np.int64]]:
    """Return the objects that cropped maps show, and their old indices; by patches where there are no maps."""
    count = len(objects.label)
    if instances is not None and depth is not None and objects.index_of_id is not None:
        shown = objects.index_of_id[np.minimum(instances, len(objects.index_of_id) - 1)]  # the last is background
        pixels = np.bincount(shown[shown >= 0], minlength=count)
        kept = np.flatnonzero(pixels >= MIN_PIXELS)
    else:
        shown = objects.patch_object[:, patches]
        kept = np.unique(shown[shown >= 0])
    renumbered = np.full(count + 2, BACKGROUND)  # objects of a few pixels become background
    renumbered[kept] = np.arange(len(kept))
    renumbered[IGNORED] = IGNORED  # from the end
    if shown.ndim == 3 and depth is not None:
        patch_object, patch_depth = assign_patches(renumbered[shown], depth, len(kept))
    else:
        patch_object, patch_depth = renumbered[shown], objects.patch_depth[:, patches]
    names = ("label", "colour", "center", "size", "yaw", "has_front")
    cropped = replace(
        objects,
        **{name: getattr(objects, name)[kept] for name in names},
        patch_object=patch_object,
        patch_depth=patch_depth,
        relations=None if objects.relations is None else objects.relations[np.ix_(kept, kept)],
        index_of_id=None if objects.index_of_id is None else renumbered[objects.index_of_id],
    )
    return cropped, kept


def _nearest(size: int, zoom: float) -> NDArray[np.int64]:
    """Return the index in an axis of ``size`` cells that each cell of its middle 1 / ``zoom`` comes from."""
    return np.floor((np.arange(size) + 0.5 - 0.5 * size) / zoom + 0.5 * size).astype(np.int64)


def _smooth_noise(rng: np.random.Generator, height: int, width: int, strength: float) -> Floats:
    """Sample noise (H, W, 3) of three scales, from the whole photo down to a few pixels."""
    total = np.zeros((height, width, 3), np.float32)
    for cells in (4, 12, 40):
        coarse = rng.standard_normal((cells, cells), dtype=np.float32)
        fine = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
        total += fine[..., None] * (strength * rng.uniform(0.3, 1.0, 3)).astype(np.float32)
    return total
