"""Who tells depth and boxes: the scene's own sensor and annotations, or models that look at its photos.

A geometry teacher may build on what those before it told: a detector lifts its boxes to 3D with their depth. This
module knows how several of them make one answer, and the one that needs no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array, invert_rigid, level_from_world
from dollhouse.records.types import SceneGeometry
from dollhouse.scenes.scene import Scene, View
from dollhouse.scenes.view_preprocessing import resized_height
from dollhouse.teachers.protocol import Teacher

OWN_GEOMETRY = {"teacher": "own"}  #: provenance of geometry predicted by the teacher that answers the questions


class GeometryTeacher(Protocol):
    """Tells depth, boxes or both; deterministic. Raises TeacherError for a scene that it cannot look at."""

    def provenance(self) -> dict[str, Any]:
        """As :meth:`dollhouse.teachers.protocol.Teacher.provenance`."""
        ...

    def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry | None:
        """``known`` is what those asked before told; nothing is to be repeated from it."""
        ...


@dataclass(frozen=True)
class SensorGeometry:
    """What the scene brings along: its sensor's depth, its annotated boxes and the pixels that show them."""

    depth: bool = True
    boxes: bool = True

    def provenance(self) -> dict[str, Any]:
        what = [name for name in ("depth", "boxes") if getattr(self, name)]
        return {"teacher": "scene", "weights": "none", "settings": {"what": what}}

    def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry | None:
        """None where the scene has neither. A depth map stays at the size its sensor gave it."""
        depth = instances = None
        if self.depth and scene.has_depth:
            depth = tuple(_sound(view.depth) for view in scene.views if view.depth is not None)
        if self.boxes and scene.boxes is not None:
            maps = [view.instances for view in scene.views]
            instances = None if any(one is None for one in maps) else tuple(one for one in maps if one is not None)
        boxes = scene.boxes if self.boxes else None
        return None if depth is None and boxes is None else SceneGeometry(depth, scene.metric, boxes, instances)


@dataclass(frozen=True)
class TeacherGeometry:
    """What a teacher that answers questions tells of geometry itself.

    ``named``: it is another one than answers the questions, so that its provenance is to be told.
    """

    teacher: Teacher
    named: bool = False

    def provenance(self) -> dict[str, Any]:
        return self.teacher.provenance() if self.named else OWN_GEOMETRY

    def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry | None:
        return self.teacher.geometry(scene)


def merge_geometry(teachers: Sequence[GeometryTeacher], scene: Scene) -> SceneGeometry | None:
    """Depth from the first that tells depth, boxes from the first that tells boxes; None where nobody does."""
    known = SceneGeometry()
    for teacher in teachers:
        told = teacher.geometry(scene, known)
        if told is None:
            continue
        if known.depth is None and told.depth is not None:
            known = replace(known, depth=told.depth, metric=told.metric)
        if known.boxes is None and told.boxes is not None:
            known = replace(known, boxes=told.boxes, instances=told.instances)
    return None if known.depth is None and known.boxes is None else known


def pad_to_photo(depth: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    """Return a depth map (H, W) padded to the whole photo, with 0 where ``preprocess_view`` cropped it."""
    height, width = view.image.shape[:2]
    whole = np.zeros((resized_height(height, width, depth.shape[1]), depth.shape[1]), dtype=np.float32)
    top = (len(whole) - len(depth)) // 2
    whole[top : top + len(depth)] = depth
    return whole


def world_from_first_level(scene: Scene) -> Array:
    """(4, 4) from the first view's level frame to the world; where there are no poses, the world is that frame."""
    pose = scene.views[0].world_from_camera if scene.posed else None
    return np.eye(4) if pose is None else invert_rigid(level_from_world(np.asarray(pose, dtype=np.float64)))


def _sound(depth: NDArray[np.float32] | None) -> NDArray[np.float32]:
    assert depth is not None  # the scene has depth
    return np.nan_to_num(depth, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)
