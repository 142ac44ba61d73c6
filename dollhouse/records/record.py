"""A record: everything that teachers returned for one scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dollhouse.errors import TeacherError
from dollhouse.geometry import Array
from dollhouse.questions.generate import Question
from dollhouse.records.content_hash import image_hash
from dollhouse.records.object_relations import Relation, pairwise_relations
from dollhouse.records.types import SceneGeometry, SpatialFeatures, TeacherAnswer
from dollhouse.scenes.scene import Scene


@dataclass(frozen=True, eq=False)
class RecordCamera:
    """One view of the scene as the teacher received it; unknown matrices are None."""

    name: str
    intrinsics: Array | None  #: (3, 3) of the photo, pixels
    depth_intrinsics: Array | None  #: (3, 3) of the sensor's depth map; None: the photo's
    world_from_camera: Array | None  #: (4, 4)
    image_hash: str | None = None  #: 16 hex digits of the photo; None in older records


@dataclass(frozen=True, eq=False)
class Record:
    """Answers, features and geometry of one scene; what the teachers did not return is None."""

    id: str  #: 32 hex digits (:func:`dollhouse.records.content_hash.record_id`)
    scene: str  #: the scene's name
    source: str  #: the argument of :func:`dollhouse.scenes.open.open_scene`
    scene_hash: str
    questions: tuple[Question, ...]  #: with the answers of the geometry, "" where it has none
    answers: tuple[TeacherAnswer, ...]  #: one per question
    provenance: Mapping[str, Any]  #: ``teacher``, ``geometry``, ``settings``
    licence: str  #: of teacher and scene
    cameras: tuple[RecordCamera, ...]
    features: SpatialFeatures | None = None
    geometry: SceneGeometry | None = None
    relations: tuple[Relation, ...] | None = None

    @classmethod
    def create(
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
        """Build the record of a scene; relations are computed from the boxes of ``geometry``.

        Raises TeacherError where answers and questions differ in number, or a box is not finite.
        """
        if len(answers) != len(questions):
            raise TeacherError(f"scene {scene.name}: {len(answers)} answers to {len(questions)} questions")
        boxes = geometry.boxes if geometry else None
        for box in boxes or ():
            if not np.isfinite([*box.center, *box.size, box.yaw]).all():
                raise TeacherError(f"scene {scene.name}: the box of a {box.label} is not finite; correct its teacher")
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
                RecordCamera(
                    view.name, view.intrinsics, view.depth_intrinsics, view.world_from_camera, image_hash(view)
                )
                for view in scene.views
            ),
            features=features,
            geometry=geometry,
            relations=None if boxes is None else pairwise_relations(boxes, scene),
        )


def cast_fp16(features: SpatialFeatures | None, geometry: SceneGeometry | None) -> tuple[Any, Any]:
    """Cast features and depth to float16 for half the disk space. Raises TeacherError where a feature overflows."""
    if features is not None:
        with np.errstate(over="ignore"):
            half: Any = features.features.astype(np.float16)
        if np.isfinite(half).sum() < np.isfinite(features.features).sum():
            raise TeacherError("the teacher's features do not fit into half precision; annotate without --fp16")
        probs: Any = None if features.label_probs is None else features.label_probs.astype(np.float16)
        features = replace(features, features=half, label_probs=probs)
    if geometry is not None:
        halves: dict[str, Any] = {
            name: tuple(array.astype(np.float16) for array in maps)
            for name in ("depth", "label_maps")
            if (maps := getattr(geometry, name)) is not None
        }
        geometry = replace(geometry, **halves)
    return features, geometry


def _licence(provenance: Mapping[str, Any], scene: Scene) -> str:
    licences = [("teacher", provenance["teacher"].get("licence"))]
    licences += [("geometry", entry.get("licence")) for entry in provenance.get("geometry", ())]
    licences += [("scene", scene.metadata.get("licence"))]
    return "; ".join(f"{owner}: {licence}" for owner, licence in dict.fromkeys(licences) if licence) or "unknown"
