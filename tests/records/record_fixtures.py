"""Records of a fictitious teacher: build, write and compare them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dollhouse.records.content_hash import record_id, scene_hash
from dollhouse.records.record import Record
from dollhouse.records.types import SpatialFeatures, TeacherAnswer
from dollhouse.records.writer import RecordWriter
from dollhouse.teachers.geometry import SensorGeometry, merge_geometry
from tests.records.small_scenes import questions_for, small_scene

ANSWERS = [
    TeacherAnswer(
        "the table",
        token_ids=np.array([5, 2], dtype=np.int32),
        top_ids=np.array([[5, 6, 7], [2, 5, 6]], dtype=np.int32),
        top_log_probs=np.array([[-0.1, -2.5, -np.inf], [-0.25, -1.5, -3.25]], dtype=np.float32),
    ),
    TeacherAnswer("le fauteuil\nrouge — 椅子"),
    TeacherAnswer(""),
]


def make_record(number: int = 0, features: bool = True, geometry: bool = True) -> Record:
    scene = small_scene(number)
    provenance = {
        "teacher": {"teacher": "made", "weights": "abc", "licence": "MIT", "settings": {}},
        "geometry": [{"teacher": "scene"}],
    }
    spatial = SpatialFeatures(np.arange(12, dtype=np.float32).reshape(4, 3), np.arange(12.0).reshape(4, 3))
    questions = questions_for(scene)
    return Record.create(
        id=record_id(scene_hash(scene), questions, provenance),
        scene=scene,
        source=f"somewhere/{number}",
        scene_hash=scene_hash(scene),
        questions=questions,
        answers=ANSWERS,
        provenance=provenance,
        features=spatial if features else None,
        geometry=merge_geometry([SensorGeometry()], scene) if geometry else None,
    )


def write_records(folder: Path, count: int = 1) -> list[Record]:
    records = [make_record(number) for number in range(count)]
    with RecordWriter(folder) as writer:
        for record in records:
            writer.write(record)
    return records


def assert_same_record(record: Record, other: Record) -> None:
    for name in ("id", "scene", "source", "scene_hash", "questions", "provenance", "licence", "relations"):
        assert getattr(record, name) == getattr(other, name), name
    for own, expected in zip(record.answers, other.answers, strict=True):
        assert own.text == expected.text
        for name in ("token_ids", "top_ids", "top_log_probs"):
            np.testing.assert_equal(getattr(own, name), getattr(expected, name))
    for camera, other_camera in zip(record.cameras, other.cameras, strict=True):
        np.testing.assert_equal(vars(camera), vars(other_camera))
    assert (record.features is None) == (other.features is None)
    if record.features and other.features:
        np.testing.assert_array_equal(record.features.features, other.features.features)
        np.testing.assert_array_equal(record.features.points, other.features.points)
        np.testing.assert_equal(record.features.label_probs, other.features.label_probs)
        assert record.features.labels == other.features.labels
    assert (record.geometry is None) == (other.geometry is None)
    if record.geometry and other.geometry:
        np.testing.assert_equal(record.geometry.depth, other.geometry.depth)
        np.testing.assert_equal(record.geometry.instances, other.geometry.instances)
        assert record.geometry.metric == other.geometry.metric
        np.testing.assert_equal(
            [vars(box) for box in record.geometry.boxes or ()], [vars(box) for box in other.geometry.boxes or ()]
        )
