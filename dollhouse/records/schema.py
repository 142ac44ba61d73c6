"""A record as Parquet rows and named arrays, and back.

Axes: H and W pixels, M points, D feature width, L labels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dollhouse.questions.generate import Question
from dollhouse.records.content_hash import box_entry
from dollhouse.records.object_relations import Relation
from dollhouse.records.record import Record, RecordCamera
from dollhouse.records.types import SceneGeometry, SpatialFeatures, TeacherAnswer
from dollhouse.scenes.scene import Box
from dollhouse.system.hashing import canonical_json
from dollhouse.system.read_files import decode_json

_TEXT, _INT, _FLOAT = pa.string(), pa.int32(), pa.float64()
_BOX = pa.struct(
    {"id": _INT, "label": _TEXT, "center": pa.list_(_FLOAT), "size": pa.list_(_FLOAT), "yaw": _FLOAT}
    | {"has_front": pa.bool_(), "colour": _TEXT, "score": _FLOAT}
)
_CAMERA_SIDES = {"intrinsics": 3, "depth_intrinsics": 3, "world_from_camera": 4}  #: rows and columns of each matrix
_VIEW = pa.struct({"name": _TEXT} | dict.fromkeys(_CAMERA_SIDES, pa.list_(_FLOAT)) | {"image_hash": _TEXT})
_RELATION = pa.struct({"first": _INT, "second": _INT, "right": _FLOAT, "above": _FLOAT})

#: one row per answer; ``answer`` is the teacher's, ``reference`` the geometry's, "" where it has none; ``failure``
#: states why there is no answer; it and ``top_texts`` are missing in older records
ANSWER_COLUMNS = pa.schema(
    dict.fromkeys(("record", "scene", "id", "family", "form", "question", "answer", "reference"), _TEXT)
    | {"choices": pa.list_(_TEXT), "objects": pa.list_(_INT), "view": _INT, "token_ids": pa.list_(_INT)}
    | {"top_ids": pa.list_(pa.list_(_INT)), "top_log_probs": pa.list_(pa.list_(pa.float32())), "failure": _TEXT}
    | {"top_texts": pa.list_(pa.list_(_TEXT))}
)
#: one row per record
SCENE_COLUMNS = pa.schema(
    dict.fromkeys(("record", "scene", "source", "scene_hash", "teacher", "licence", "provenance"), _TEXT)
    | {"answers": _INT, "metric": pa.bool_()}
    | {"views": pa.list_(_VIEW), "boxes": pa.list_(_BOX), "relations": pa.list_(_RELATION)}
)
_SAME_COLUMNS = ("scene", "source", "scene_hash", "licence")  #: fields of a record that are columns of its row
_SAME_IN_QUESTION = ("id", "scene", "family", "form", "view")  #: fields of a question that are columns of its row


def answer_table(record: Record) -> pa.Table:
    """Return one row per answer."""
    rows = [
        asdict(question)
        | {"record": record.id, "scene": record.scene, "question": question.text, "reference": question.answer}
        | {"answer": answer.text, "failure": answer.failure, **answer.token_lists()}
        for question, answer in zip(record.questions, record.answers, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=ANSWER_COLUMNS)


def scene_table(record: Record) -> pa.Table:
    """Return one row with everything that is neither an answer nor an array."""
    boxes = record.geometry.boxes if record.geometry else None
    row = {name: getattr(record, name) for name in _SAME_COLUMNS} | {
        "record": record.id,
        "teacher": str(record.provenance["teacher"].get("teacher", "unknown")),
        "provenance": canonical_json(record.provenance),
        "answers": len(record.answers),
        "metric": record.geometry.metric if record.geometry else None,
        "views": [_view_entry(camera) for camera in record.cameras],
        "boxes": None if boxes is None else [box_entry(box) for box in boxes],
        "relations": None if record.relations is None else [asdict(relation) for relation in record.relations],
    }
    return pa.Table.from_pylist([row], schema=SCENE_COLUMNS)


def arrays_of(record: Record) -> dict[str, NDArray[Any]]:
    """Return the arrays by name; those that the record lacks are absent.

    ``features`` (M, D), ``points`` (M, 3), ``label_chances`` (M, L+1) with ``labels`` (their names as JSON, in bytes),
    and for each view ``depth.0000`` and ``instances.0000`` (H, W), and ``label_maps.0000`` (h, w, L+1) with
    ``map_labels`` like ``labels``.
    """
    arrays: dict[str, NDArray[Any]] = {}
    if record.features is not None:
        arrays["features"], arrays["points"] = record.features.features, record.features.points
        if record.features.label_probs is not None:
            arrays["label_chances"] = record.features.label_probs
            arrays["labels"] = _names_to_bytes(record.features.labels)
    if record.geometry is not None and record.geometry.labels:
        arrays["map_labels"] = _names_to_bytes(record.geometry.labels)
    for name in ("depth", "instances", "label_maps"):
        for view, array in enumerate((getattr(record.geometry, name) if record.geometry else None) or ()):
            arrays[f"{name}.{view:04d}"] = _narrowed(array) if name == "instances" else array
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def record_from(
    row: Mapping[str, Any], answers: Sequence[Mapping[str, Any]], arrays: Mapping[str, NDArray[Any]]
) -> Record:
    """Rebuild a record from the row, the answer rows and the arrays of the three functions above."""
    features = geometry = None
    if "features" in arrays:
        probs, names = arrays.get("label_chances"), arrays.get("labels")
        features = SpatialFeatures(
            features=arrays["features"].astype(np.float32),
            points=arrays["points"],
            label_probs=None if probs is None else probs.astype(np.float32),
            labels=_names_from_bytes(names),
        )
    boxes, relations = row["boxes"], row["relations"]
    if row["metric"] is not None:
        geometry = SceneGeometry(
            depth=_maps(arrays, "depth", np.float32),
            metric=row["metric"],
            boxes=None if boxes is None else tuple(map(Box.from_fields, boxes)),
            instances=_maps(arrays, "instances", np.int32),
            label_maps=_maps(arrays, "label_maps", np.float32),
            labels=_names_from_bytes(arrays.get("map_labels")),
        )
    questions, answered = zip(*answers_from(answers), strict=True) if answers else ((), ())
    return Record(
        **{name: row[name] for name in _SAME_COLUMNS},
        id=row["record"],
        questions=questions,
        answers=answered,
        provenance=decode_json(row["provenance"]),
        cameras=tuple(_camera(view) for view in row["views"]),
        features=features,
        geometry=geometry,
        relations=None if relations is None else tuple(Relation(**relation) for relation in relations),
    )


def answers_from(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Question, TeacherAnswer]]:
    """Rebuild questions and answers from the rows of :func:`answer_table`."""
    return [(_question(row), TeacherAnswer.from_lists(row["answer"], row)) for row in rows]


def _names_to_bytes(names: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(names).encode(), dtype=np.uint8)


def _names_from_bytes(content: NDArray[np.uint8] | None) -> tuple[str, ...]:
    return () if content is None else tuple(decode_json(content.tobytes()))


def _narrowed(ids: NDArray[np.int32]) -> NDArray[Any]:
    """Cast ids to 16 bits where they fit, for half the disk space."""
    fits = ids.min(initial=0) >= 0 and ids.max(initial=0) <= np.iinfo(np.uint16).max
    return ids.astype(np.uint16) if fits else ids


def _maps(arrays: Mapping[str, NDArray[Any]], name: str, dtype: Any) -> tuple[NDArray[Any], ...] | None:
    keys = sorted(key for key in arrays if key.startswith(f"{name}."))
    return tuple(arrays[key].astype(dtype) for key in keys) or None


def _view_entry(camera: RecordCamera) -> dict[str, Any]:
    entry = asdict(camera)
    for name in _CAMERA_SIDES:
        if entry[name] is not None:
            entry[name] = np.asarray(entry[name], dtype=np.float64).ravel().tolist()
    return entry


def _camera(entry: dict[str, Any]) -> RecordCamera:
    for name, side in _CAMERA_SIDES.items():
        if entry[name] is not None:
            entry[name] = np.array(entry[name], dtype=np.float64).reshape(side, side)
    return RecordCamera(**entry)


def _question(row: Mapping[str, Any]) -> Question:
    return Question(
        text=row["question"],
        answer=row["reference"],
        choices=tuple(row["choices"]),
        objects=tuple(row["objects"]),
        **{name: row[name] for name in _SAME_IN_QUESTION},
    )
