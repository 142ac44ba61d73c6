"""Training targets of a scene as arrays: depth, cameras, and the object shown by every patch.

Computed from the scene's own depth, poses and boxes. What a scene lacks is absent (None), not zero.

Axes: V views, H and W pixels, P patches of a view, N objects. Geometry is in the level frame of the first view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array, back_project, inside_box, level_from_world, transform_points
from dollhouse.records.object_relations import ordering_probabilities
from dollhouse.scenes.labels import LabelMap, is_building
from dollhouse.scenes.scene import Box, Scene
from dollhouse.scenes.view_preprocessing import PreprocessedView, preprocess_view

TARGETS_VERSION = 1  #: raise it whenever the same scene gives other targets
PATCH = 14
BOX_MARGIN = 0.02  #: metres by which a pixel may lie outside the box that it shows
MIN_PATCH_SHARE = 0.12  #: of a patch's pixels that an object must cover to be assigned the patch
MIN_PIXELS = 20  #: over all views; objects that show fewer are no targets
BACKGROUND, IGNORED = -1, -2  #: instead of an object's index; ignored: of an object that has no label


@dataclass(frozen=True, eq=False)
class ObjectTargets:
    """The visible objects, and the object that each patch shows."""

    label: NDArray[np.int64]  #: (N,) index into the student's labels
    colour: NDArray[np.int64]  #: (N,) index into the student's colours, -1 unknown
    center: Array  #: (N, 3) metres
    size: Array  #: (N, 3) metres
    yaw: Array  #: (N,)
    has_front: NDArray[np.bool_]  #: (N,)
    patch_object: NDArray[np.int64]  #: (V, P) index of the object, or BACKGROUND, or IGNORED
    patch_depth: Array  #: (V, P) metres, mean depth of the object's pixels in the patch; 0 unknown
    relations: NDArray[np.float32] | None = None  #: (N, N, 2) probabilities that the column's object is right of, above
    #: the row's (:mod:`dollhouse.records.object_relations`); nan unknown
    #: (K, 7) centre, size and yaw of the visible objects that have no label: neither objects nor background
    ignored_boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 7), np.float32))
    index_of_id: NDArray[np.int64] | None = None  #: index of each box id's object, or BACKGROUND, or IGNORED


@dataclass(frozen=True, eq=False)
class TeacherPatches:
    """A teacher's predictions for each patch, which may be soft or wrong; None: it makes none."""

    features: NDArray[np.float32] | None = None  #: (V, P, D) its spatial features
    known: NDArray[np.bool_] | None = None  #: (V, P) where there are features; None where there are none at all
    labels: NDArray[np.float32] | None = None  #: (V, P, L+1) probabilities of the student's labels, the last "no
    #: object"; all 0 where unknown
    depth: NDArray[np.float32] | None = None  #: (V, P) metres, 0 unknown
    relations: NDArray[np.float32] | None = None  #: as those of :class:`ObjectTargets`, for the same objects


@dataclass(frozen=True, eq=False)
class SceneTargets:
    """Photos at the student's size, and their targets."""

    name: str
    images: NDArray[np.uint8]  #: (V, H, W, 3)
    depth: NDArray[np.float32] | None  #: (V, H, W) metres, 0 unknown
    metric: bool
    level_from_camera: Array | None  #: (V, 4, 4)
    up: Array | None  #: (V, 3) against gravity in each camera's frame
    focal: Array | None  #: (V,) focal length over image width
    objects: ObjectTargets | None
    instances: NDArray[np.uint8] | None = None  #: (V, H, W) box ids, where annotated
    teacher: TeacherPatches | None = None
    #: (V, h, w, L+1) a teacher's label probabilities on cells that cover the images, the last "no object"; their sum is
    #: its confidence, 0 where unknown. Collating brings them to patches
    label_cells: NDArray[np.floating] | None = None


def frame_scene(scene: Scene, size: int) -> list[PreprocessedView]:
    """Resize the views to a longer side of ``size``; views of another shape than the first are left out."""
    frames = [preprocess_view(view, size) for view in scene.views]
    return [frame for frame in frames if frame.image.shape == frames[0].image.shape]


def scene_targets(scene: Scene, size: int, labels: Sequence[str], colours: Sequence[str]) -> SceneTargets:
    """Compute the targets of all views of a scene, at image size ``size``, for the student's labels and colours."""
    frames = frame_scene(scene, size)
    images = np.stack([frame.image for frame in frames])
    has_depth = all(frame.depth is not None for frame in frames)
    depth = np.stack([frame.depth for frame in frames if frame.depth is not None]) if has_depth else None
    posed = scene.posed and len(frames) == len(scene.views)
    level_from_camera = up = focal = objects = small_ids = None
    if posed:
        poses = np.stack([np.asarray(view.world_from_camera, dtype=np.float64) for view in scene.views])
        level = level_from_world(poses[0])
        level_from_camera, up = level @ poses, poses[:, 2, :3]
    if all(frame.intrinsics is not None for frame in frames):
        focal = np.array([frame.intrinsics[0, 0] / images.shape[2] for frame in frames if frame.intrinsics is not None])
    instances = [frame.instances for frame in frames]
    if posed and depth is not None and scene.boxes is not None and focal is not None:
        instances = [
            ids if ids is not None else instances_by_depth(frame, pose, scene.boxes)
            for ids, frame, pose in zip(instances, frames, poses, strict=True)
        ]
    if posed and depth is not None and scene.boxes is not None and all(map_ is not None for map_ in instances):
        ids = np.stack([map_ for map_ in instances if map_ is not None])
        objects = object_targets([box.transformed(level) for box in scene.boxes], ids, depth, labels, colours)
        small_ids = ids.astype(np.uint8) if ids.max(initial=0) < 256 else None
    return SceneTargets(scene.name, images, depth, scene.metric, level_from_camera, up, focal, objects, small_ids)


def instances_by_depth(frame: PreprocessedView, world_from_camera: Array, boxes: Sequence[Box]) -> NDArray[np.int32]:
    """Assign a frame's pixels to the smallest of the ``boxes`` that they lie in by their depth.

    For scenes with boxes but without instance maps. Returns box ids (H, W); 0 where there is no box, or no depth.
    """
    assert frame.depth is not None
    assert frame.intrinsics is not None
    points = transform_points(world_from_camera, back_project(frame.depth, frame.intrinsics))
    ids = np.zeros(frame.depth.shape, dtype=np.int32)
    for box in sorted(boxes, key=lambda box: -float(np.prod(box.size))):
        ids[inside_box(points, box.center, box.size, box.yaw, BOX_MARGIN) & (frame.depth > 0)] = box.id
    return ids


def object_targets(
    boxes: Sequence[Box], instances: NDArray[np.int32], depth: Array, labels: Sequence[str], colours: Sequence[str]
) -> ObjectTargets:
    """Return the targets of objects that are visible and whose names map to one of ``labels``.

    ``boxes`` are in the level frame of the first view; ``instances`` (V, H, W) holds their ids. Objects without a label
    are ignored; walls, floors and ceilings are background.
    """
    highest = max([box.id for box in boxes], default=0)
    pixels = np.bincount(np.clip(instances, 0, highest + 1).ravel(), minlength=highest + 2)
    mapping, visible = LabelMap(labels), [box for box in boxes if pixels[box.id] >= MIN_PIXELS]
    names = {box.id: mapping.map(box.label) for box in visible}
    known = [(box, label) for box in visible if (label := names[box.id]) is not None]
    ignored = [box for box in visible if names[box.id] is None and not is_building(box.label)]
    index_of_id = np.full(highest + 2, BACKGROUND)
    index_of_id[[box.id for box in ignored]] = IGNORED
    for index, (box, _) in enumerate(known):
        index_of_id[box.id] = index
    shown = index_of_id[np.clip(instances, 0, len(index_of_id) - 1)]
    patch_object, patch_depth = assign_patches(shown, depth, len(known))
    objects = [box for box, _ in known]
    return ObjectTargets(
        label=np.array([labels.index(label) for _, label in known], dtype=np.int64),
        colour=np.array(
            [colours.index(box.colour) if box.colour in colours else -1 for box in objects], dtype=np.int64
        ),
        center=np.array([box.center for box in objects], dtype=np.float32).reshape(-1, 3),
        size=np.array([box.size for box in objects], dtype=np.float32).reshape(-1, 3),
        yaw=np.array([box.yaw for box in objects], dtype=np.float32),
        has_front=np.array([box.has_front for box in objects], dtype=bool),
        patch_object=patch_object,
        patch_depth=patch_depth,
        relations=soft_relations(objects),
        ignored_boxes=np.array([[*box.center, *box.size, box.yaw] for box in ignored], np.float32).reshape(-1, 7),
        index_of_id=index_of_id,
    )


def soft_relations(boxes: Sequence[Box]) -> NDArray[np.float32]:
    """Return probabilities (N, N, 2) of right and above, for boxes in the level frame."""
    return np.stack([ordering_probabilities(boxes, axis) for axis in (0, 2)], -1).astype(np.float32)


def assign_patches(index: NDArray[np.int64], depth: Array, objects: int) -> tuple[NDArray[np.int64], Array]:
    """Assign an object and its mean depth to each patch.

    A patch is assigned the object that covers most of it, if it covers :data:`MIN_PATCH_SHARE`; else it is ignored
    where ignored objects cover as much. Every object gets at least the patch that shows most of it, so that small
    objects are not lost.

    Args:
        index: (V, H, W) object of each pixel, or BACKGROUND, or IGNORED.
        depth: (V, H, W) metres, 0 unknown.

    Returns object index (or BACKGROUND, IGNORED) and depth in metres, both (V, P).
    """
    views, height, width = index.shape
    rows, columns = height // PATCH, width // PATCH
    patch = (np.arange(height)[:, None] // PATCH) * columns + np.arange(width)[None] // PATCH
    patch = patch + (np.arange(views) * rows * columns)[:, None, None]
    classes = objects + 2
    cell = patch * classes + (index - IGNORED)
    total = views * rows * columns * classes
    count = np.bincount(cell.ravel(), minlength=total).reshape(-1, classes)
    valid = depth > 0
    known = np.bincount(cell[valid], minlength=total).reshape(-1, classes)
    summed = np.bincount(cell[valid], weights=depth[valid], minlength=total).reshape(-1, classes)
    enough = MIN_PATCH_SHARE * PATCH * PATCH
    each, first = np.arange(len(count)), -IGNORED
    chosen = np.where(count[:, 0] >= enough, 0, BACKGROUND - IGNORED)
    if objects:
        best = first + count[:, first:].argmax(1)
        chosen = np.where(count[each, best] >= enough, best, chosen)
        for number in range(first, classes):
            if not (chosen == number).any():
                chosen[count[:, number].argmax()] = number
    mean = summed[each, chosen] / np.maximum(known[each, chosen], 1)
    return (chosen + IGNORED).reshape(views, -1), mean.reshape(views, -1).astype(np.float32)
