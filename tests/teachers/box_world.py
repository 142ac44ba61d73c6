"""A room of solid boxes whose depth and instance ids are computed exactly, ray by ray."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array, camera_rays, intrinsics_from_fov, look_at
from dollhouse.scenes.scene import Box, Scene, View
from dollhouse.teachers.detection import Detections

OBJECTS = (
    Box(1, "sofa", np.array([0.0, 1.5, 0.4]), np.array([1.8, 0.8, 0.8]), 0.3),
    Box(2, "table", np.array([0.2, 0.0, 0.2]), np.array([1.0, 0.6, 0.4]), -0.5),
    Box(3, "chair", np.array([1.4, -0.6, 0.45]), np.array([0.5, 0.5, 0.9]), 0.2),
    Box(4, "chair", np.array([-1.2, -0.5, 0.45]), np.array([0.5, 0.5, 0.9]), 1.0),
)


def trace(boxes: tuple[Box, ...], pose: Array, intrinsics: Array, size: int) -> tuple[Array, NDArray[np.int32]]:
    """Return z-depth and box ids (H, W) of boxes inside a room of 6 x 6 x 2.6 m, whose id is 0."""
    rays = camera_rays(intrinsics, size, size) @ pose[:3, :3].T
    room = Box(0, "room", np.array([0.0, 0.0, 1.3]), np.array([6.0, 6.0, 2.6]), 0.0)
    depth, ids = np.full((size, size), np.inf), np.zeros((size, size), dtype=np.int32)
    for box in (room, *boxes):
        cos, sin = np.cos(box.yaw), np.sin(box.yaw)
        own_from_world = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        eye, directions = own_from_world @ (pose[:3, 3] - box.center), rays @ own_from_world.T
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.sort(((np.array([[-0.5], [0.5]]) * box.size)[:, None, None] - eye) / directions, axis=0)
        enter, leave = ends[0].max(-1), ends[1].min(-1)
        distance = leave if box.id == 0 else np.where((enter < leave) & (enter > 0), enter, np.inf)
        ids[distance < depth] = box.id
        depth = np.minimum(depth, distance)
    return depth, ids


def box_scene(views: int = 8, size: int = 160, boxes: tuple[Box, ...] = OBJECTS) -> Scene:
    """Return the room from cameras in a ring, directed at its middle."""
    intrinsics = intrinsics_from_fov(np.radians(75), size, size)
    made = []
    for number in range(views):
        angle = 2 * np.pi * number / views
        eye = np.array([2.8 * np.cos(angle), 2.8 * np.sin(angle), 1.8])
        pose = look_at(eye, np.array([0.0, 0.3, 0.3]))
        depth, ids = trace(boxes, pose, intrinsics, size)
        image = np.full((size, size, 3), number, dtype=np.uint8)
        image[..., 1] = 20 * ids
        made.append(
            View(
                f"{number}",
                partial(np.asarray, image),
                intrinsics,
                pose,
                partial(np.asarray, depth.astype(np.float32)),
                open_instances=partial(np.asarray, ids),
            )
        )
    return Scene("boxes", tuple(made), boxes)


def with_outliers(scene: Scene, share: float) -> Scene:
    """Return the scene with a share of its depth replaced by random values."""
    rng = np.random.default_rng(0)
    views = []
    for view in scene.views:
        depth = np.array(view.depth)
        wrong = rng.random(depth.shape) < share
        depth[wrong] = rng.uniform(0.3, 8.0, wrong.sum())
        views.append(replace(view, open_depth=partial(np.asarray, depth)))
    return replace(scene, views=tuple(views))


def detect_all(scene: Scene, masks: bool, least: int = 60, semantic: bool = False) -> list[Detections]:
    """Return what a perfect detector finds: masks, or the rectangles around them."""
    return [_detect(view.instances, scene.boxes or (), masks, least, semantic) for view in scene.views]


def _detect(ids: Array | None, boxes: tuple[Box, ...], masks: bool, least: int, semantic: bool) -> Detections:
    assert ids is not None
    regions = [(box.label, ids == box.id) for box in boxes]
    if semantic:
        regions = [
            (label, np.logical_or.reduce([mask for name, mask in regions if name == label]))
            for label in sorted({name for name, _ in regions})
        ]
    regions = [(label, mask) for label, mask in regions if mask.sum() >= least]
    rectangles = []
    for _, mask in regions:
        rows, columns = np.nonzero(mask)
        rectangles.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    labels = [label for label, _ in regions]
    stacked = np.array([mask for _, mask in regions]).reshape(-1, *ids.shape)
    plain = np.array(rectangles, dtype=np.float64).reshape(-1, 4)
    return Detections(labels, [0.9] * len(labels), None if masks else plain, stacked if masks else None, semantic)
