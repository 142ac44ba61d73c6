"""The interface of geometry teachers, and those that need no model of their own.

A geometry teacher may use the geometry of those before it: a detector lifts its boxes to 3D with their depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array, invert_rigid, level_from_world
from dollhouse.records.types import SceneGeometry
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.protocol import Teacher

OWN_GEOMETRY = {"teacher": "own"}  #: provenance of geometry predicted by the teacher that answers the questions


class GeometryTeacher(Protocol):
    """Return depth, boxes or both, deterministically. Raises TeacherError for a scene that it cannot use."""

    def provenance(self) -> dict[str, Any]:
        """See :meth:`dollhouse.teachers.protocol.Teacher.provenance`."""
        ...

    def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry | None:
        """Return what this teacher adds to ``known``, the merged geometry of the teachers before it."""
        ...


@dataclass(frozen=True)
class SensorGeometry:
    """The scene's own depth maps, annotated boxes and instance maps."""

    depth: bool = True
    boxes: bool = True

    def provenance(self) -> dict[str, Any]:
        return {
            "teacher": "scene",
            "weights": "none",
            "settings": {"what": [name for name in ("depth", "boxes") if getattr(self, name)]},
        }

    def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry | None:
        """Return what the scene has, depth maps at the size of their sensor; None where it has neither."""
        depth = instances = None
        if self.depth and scene.has_depth:
            depth = tuple(_finite(view.depth) for view in scene.views if view.depth is not None)
        if self.boxes and scene.boxes is not None:
            maps = [ids for view in scene.views if (ids := view.instances) is not None]
            instances = tuple(maps) if len(maps) == len(scene.views) else None
        boxes = scene.boxes if self.boxes else None
        return None if depth is None and boxes is None else SceneGeometry(depth, scene.metric, boxes, instances)


@dataclass(frozen=True)
class TeacherGeometry:
    """The geometry that a question-answering teacher predicts.

    ``named``: it is not the teacher that answers the questions, so its provenance is stored as well.
    """

    teacher: Teacher
    named: bool = False

    def provenance(self) -> dict[str, Any]:
        return self.teacher.provenance() if self.named else OWN_GEOMETRY

    def geometry(self, scene: Scene, known: SceneGeometry) -> SceneGeometry | None:
        return self.teacher.geometry(scene)


def merge_geometry(teachers: Sequence[GeometryTeacher], scene: Scene) -> SceneGeometry | None:
    """Take depth, boxes and label maps each from the first teacher that returns them; None for none."""
    known = SceneGeometry()
    for teacher in teachers:
        added = teacher.geometry(scene, known)
        if added is None:
            continue
        if known.depth is None and added.depth is not None:
            known = replace(known, depth=added.depth, metric=added.metric)
        if known.boxes is None and added.boxes is not None:
            known = replace(known, boxes=added.boxes, instances=added.instances)
        if known.label_maps is None and added.label_maps is not None:
            known = replace(known, label_maps=added.label_maps, labels=added.labels)
    return None if known.depth is None and known.boxes is None and known.label_maps is None else known


def world_from_first_level(scene: Scene) -> Array:
    """Return (4, 4) from the first view's level frame to the world; without poses, the world is that frame."""
    pose = scene.views[0].world_from_camera if scene.posed else None
    return np.eye(4) if pose is None else invert_rigid(level_from_world(np.asarray(pose, dtype=np.float64)))


def _finite(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.nan_to_num(depth, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)
