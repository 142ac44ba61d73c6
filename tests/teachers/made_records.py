"""Records of a made-up teacher, written and compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dollhouse.records.content_hash import record_id, scene_hash
from dollhouse.records.record import Record
from dollhouse.records.store import RecordWriter
from dollhouse.records.types import SpatialFeatures, TeacherAnswer
from dollhouse.teachers.geometry import SensorGeometry, merge_geometry
from tests.teachers.small_scenes import asked_of, small_scene

ANSWERED = [
    TeacherAnswer(
        "the table",
        token_ids=np.array([5, 2], dtype=np.int32),
        top_ids=np.array([[5, 6, 7], [2, 5, 6]], dtype=np.int32),
        top_log_probs=np.array([[-0.1, -2.5, -np.inf], [-0.25, -1.5, -3.25]], dtype=np.float32),
    ),
    TeacherAnswer("le fauteuil\nrouge — 椅子"),
    TeacherAnswer(""),
]


def made(number: int = 0, features: bool = True, geometry: bool = True) -> Record:
    scene = small_scene(number)
    provenance = {
        "teacher": {"teacher": "made", "weights": "abc", "licence": "MIT", "settings": {}},
        "geometry": [{"teacher": "scene"}],
    }
    seen = SpatialFeatures(np.arange(12, dtype=np.float32).reshape(4, 3), np.arange(12.0).reshape(4, 3))
    asked = asked_of(scene)
    return Record.create(
        id=record_id(scene_hash(scene), asked, provenance),
        scene=scene,
        source=f"somewhere/{number}",
        scene_hash=scene_hash(scene),
        questions=asked,
        answers=ANSWERED,
        provenance=provenance,
        features=seen if features else None,
        geometry=merge_geometry([SensorGeometry()], scene) if geometry else None,
    )


def written(folder: Path, count: int = 1) -> list[Record]:
    kept = [made(number) for number in range(count)]
    with RecordWriter(folder) as writer:
        for record in kept:
            writer.write(record)
    return kept


def assert_same(one: Record, other: Record) -> None:
    for name in ("id", "scene", "source", "scene_hash", "questions", "provenance", "licence", "relations"):
        assert getattr(one, name) == getattr(other, name), name
    for mine, theirs in zip(one.answers, other.answers, strict=True):
        assert mine.text == theirs.text
        for name in ("token_ids", "top_ids", "top_log_probs"):
            np.testing.assert_equal(getattr(mine, name), getattr(theirs, name))
    for camera, other_camera in zip(one.cameras, other.cameras, strict=True):
        np.testing.assert_equal(vars(camera), vars(other_camera))
    assert (one.features is None) == (other.features is None)
    if one.features and other.features:
        np.testing.assert_array_equal(one.features.features, other.features.features)
        np.testing.assert_array_equal(one.features.points, other.features.points)
        np.testing.assert_equal(one.features.label_probs, other.features.label_probs)
        assert one.features.labels == other.features.labels
    assert (one.geometry is None) == (other.geometry is None)
    if one.geometry and other.geometry:
        np.testing.assert_equal(one.geometry.depth, other.geometry.depth)
        np.testing.assert_equal(one.geometry.instances, other.geometry.instances)
        assert one.geometry.metric == other.geometry.metric
        np.testing.assert_equal(
            [vars(box) for box in one.geometry.boxes or ()], [vars(box) for box in other.geometry.boxes or ()]
        )
