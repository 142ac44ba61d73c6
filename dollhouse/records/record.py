"""A record: all that was said about one scene.

Knows no files: its form as rows and arrays is :mod:`dollhouse.records.schema`, the store
:mod:`dollhouse.records.store`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dollhouse.errors import TeacherError
from dollhouse.geometry import Array
from dollhouse.questions.generate import Question
from dollhouse.records.relations import Relation, pairwise_relations
from dollhouse.records.types import SceneGeometry, SpatialFeatures, TeacherAnswer
from dollhouse.scenes.scene import Scene


@dataclass(frozen=True, eq=False)
class RecordCamera:
    """One view of the scene as the teacher had it; what was not known is None."""

    name: str
    intrinsics: Array | None  #: (3, 3) of the photo, pixels
    depth_intrinsics: Array | None  #: (3, 3) of the sensor's depth map; None: the photo's
    world_from_camera: Array | None  #: (4, 4)


@dataclass(frozen=True, eq=False)
class Record:
    """What a teacher said about one scene. Whatever it did not say is None."""

    id: str  #: 32 hex digits (:func:`dollhouse.records.content_hash.record_id`)
    scene: str  #: the scene's name
    source: str  #: what :func:`dollhouse.scenes.open.open_scene` was given
    scene_hash: str
    questions: tuple[Question, ...]  #: as they were asked, with the geometry's own answers
    answers: tuple[TeacherAnswer, ...]  #: one a question
    provenance: Mapping[str, Any]  #: ``teacher``, ``geometry``, ``settings``, ``software``
    licence: str  #: of teacher and scene
    cameras: tuple[RecordCamera, ...]
    features: SpatialFeatures | None = None
    geometry: SceneGeometry | None = None
    relations: tuple[Relation, ...] | None = None

    @classmethod
    def of(
        cls,
        id: str,
        scene: Scene,
        source: str,
        scene_hash: str,
        questions: Sequence[Question],
        answers: Sequence[TeacherAnswer],
        provenance: Mapping[str, Any],
        features: SpatialFeatures | None,
        geometry: SceneGeometry | None,
    ) -> Record:
        """The record of a scene, its relations read off the boxes that ``geometry`` tells.

        Raises TeacherError where the teacher did not give one answer a question.
        """
        if len(answers) != len(questions):
            raise TeacherError(f"scene {scene.name}: {len(answers)} answers to {len(questions)} questions")
        boxes = geometry.boxes if geometry else None
        for box in boxes or ():
            if not np.isfinite([*box.center, *box.size, box.yaw]).all():
                raise TeacherError(
                    f"scene {scene.name}: the box told for a {box.label} is not finite; mend its teacher"
                )
        return cls(
            id=id,
            scene=scene.name,
            source=source,
            scene_hash=scene_hash,
            questions=tuple(questions),
            answers=tuple(answers),
            provenance=provenance,
            licence=_licence(provenance, scene),
            cameras=tuple(
                RecordCamera(view.name, view.intrinsics, view.depth_intrinsics, view.world_from_camera)
                for view in scene.views
            ),
            features=features,
            geometry=geometry,
            relations=None if boxes is None else pairwise_relations(boxes, scene),
        )


def halved(features: SpatialFeatures | None, geometry: SceneGeometry | None) -> tuple[Any, Any]:
    """Features and depth in half precision, for half the disk. Raises TeacherError where a feature does not fit."""
    if features is not None:
        with np.errstate(over="ignore"):
            half = features.features.astype(np.float16)
        if np.isfinite(half).sum() < np.isfinite(features.features).sum():
            raise TeacherError("the teacher's features do not fit into half precision; label without --half")
        features = replace(features, features=half)  # type: ignore[arg-type]  # read back as float32
        if features.label_probs is not None:
            features = replace(features, label_probs=features.label_probs.astype(np.float16))  # type: ignore[arg-type]
    if geometry is not None and geometry.depth is not None:
        depth: Any = tuple(one.astype(np.float16) for one in geometry.depth)
        geometry = SceneGeometry(depth, geometry.metric, geometry.boxes, geometry.instances)
    return features, geometry


def _licence(provenance: Mapping[str, Any], scene: Scene) -> str:
    told = [("teacher", provenance["teacher"].get("licence"))]
    told += [("geometry", source.get("licence")) for source in provenance.get("geometry", ())]
    told += [("scene", scene.metadata.get("licence"))]
    return "; ".join(f"{who}: {licence}" for who, licence in dict.fromkeys(told) if licence) or "unknown"
