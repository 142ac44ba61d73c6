"""A record as Parquet rows and named arrays: which columns there are, and the way there and back.

Knows no files; the store is :mod:`dollhouse.records.store`.

Axes: H and W pixels, M places, D width, L labels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dollhouse.geometry import Array
from dollhouse.questions.generate import Question
from dollhouse.records.content_hash import box_entry, canonical
from dollhouse.records.record import Record, RecordCamera
from dollhouse.records.relations import Relation
from dollhouse.records.types import SceneGeometry, SpatialFeatures, TeacherAnswer
from dollhouse.scenes.scene import Box

_BOX = pa.struct(
    {
        "id": pa.int32(),
        "label": pa.string(),
        "center": pa.list_(pa.float64()),
        "size": pa.list_(pa.float64()),
        "yaw": pa.float64(),
        "has_front": pa.bool_(),
        "colour": pa.string(),
        "score": pa.float64(),
    }
)
_VIEW = pa.struct(
    {
        "name": pa.string(),
        "intrinsics": pa.list_(pa.float64()),
        "depth_intrinsics": pa.list_(pa.float64()),
        "world_from_camera": pa.list_(pa.float64()),
    }
)
_RELATION = pa.struct({"first": pa.int32(), "second": pa.int32(), "right": pa.float64(), "above": pa.float64()})

#: one row an answer
ANSWER_COLUMNS = pa.schema(
    {
        "record": pa.string(),
        "scene": pa.string(),
        "id": pa.string(),
        "family": pa.string(),
        "form": pa.string(),
        "question": pa.string(),
        "answer": pa.string(),  # the teacher's
        "reference": pa.string(),  # the geometry's, "" where it has none
        "choices": pa.list_(pa.string()),
        "objects": pa.list_(pa.int32()),
        "view": pa.int32(),
        "token_ids": pa.list_(pa.int32()),
        "top_ids": pa.list_(pa.list_(pa.int32())),
        "top_log_probs": pa.list_(pa.list_(pa.float32())),
    }
)
#: one row a record
SCENE_COLUMNS = pa.schema(
    {
        "record": pa.string(),
        "scene": pa.string(),
        "source": pa.string(),
        "scene_hash": pa.string(),
        "teacher": pa.string(),
        "licence": pa.string(),
        "provenance": pa.string(),
        "answers": pa.int32(),
        "metric": pa.bool_(),
        "views": pa.list_(_VIEW),
        "boxes": pa.list_(_BOX),
        "relations": pa.list_(_RELATION),
    }
)


def answer_table(record: Record) -> pa.Table:
    """One row an answer."""
    rows = [
        {
            "record": record.id,
            "scene": record.scene,
            "id": question.id,
            "family": question.family,
            "form": question.form,
            "question": question.text,
            "answer": answer.text,
            "reference": question.answer,
            "choices": list(question.choices),
            "objects": list(question.objects),
            "view": question.view,
            "token_ids": _listed(answer.token_ids),
            "top_ids": _listed(answer.top_ids),
            "top_log_probs": _listed(answer.top_log_probs),
        }
        for question, answer in zip(record.questions, record.answers, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=ANSWER_COLUMNS)


def scene_table(record: Record) -> pa.Table:
    """One row: everything that is neither an answer nor an array."""
    boxes = record.geometry.boxes if record.geometry else None
    row = {
        "record": record.id,
        "scene": record.scene,
        "source": record.source,
        "scene_hash": record.scene_hash,
        "teacher": str(record.provenance["teacher"].get("teacher", "unknown")),
        "licence": record.licence,
        "provenance": canonical(record.provenance),
        "answers": len(record.answers),
        "metric": record.geometry.metric if record.geometry else None,
        "views": [
            {
                "name": camera.name,
                "intrinsics": _flat(camera.intrinsics),
                "depth_intrinsics": _flat(camera.depth_intrinsics),
                "world_from_camera": _flat(camera.world_from_camera),
            }
            for camera in record.cameras
        ],
        "boxes": None if boxes is None else [box_entry(box) for box in boxes],
        "relations": None if record.relations is None else [asdict(relation) for relation in record.relations],
    }
    return pa.Table.from_pylist([row], schema=SCENE_COLUMNS)


def arrays_of(record: Record) -> dict[str, NDArray[Any]]:
    """``features`` (M, D), ``points`` (M, 3), ``depth.0000`` and ``instances.0000`` (H, W) and so on.

    Where the teacher told them: ``label_chances`` (M, L+1) with ``labels``, their names as JSON, in bytes.
    """
    arrays: dict[str, NDArray[Any]] = {}
    if record.features is not None:
        arrays["features"], arrays["points"] = record.features.features, record.features.points
        if record.features.label_probs is not None:
            arrays["label_chances"] = record.features.label_probs
            arrays["labels"] = np.frombuffer(json.dumps(record.features.labels).encode(), dtype=np.uint8)
    for name in ("depth", "instances"):
        for number, one in enumerate((getattr(record.geometry, name) if record.geometry else None) or ()):
            arrays[f"{name}.{number:04d}"] = _narrow(one) if name == "instances" else one
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def record_from(
    row: Mapping[str, Any], answers: Sequence[Mapping[str, Any]], arrays: Mapping[str, NDArray[Any]]
) -> Record:
    """The record of which the three above gave these."""
    features = None
    if "features" in arrays:
        chances, names = arrays.get("label_chances"), arrays.get("labels")
        features = SpatialFeatures(
            features=arrays["features"].astype(np.float32),
            points=arrays["points"],
            label_probs=None if chances is None else chances.astype(np.float32),
            labels=() if names is None else tuple(json.loads(names.tobytes())),
        )
    boxes, relations = row["boxes"], row["relations"]
    geometry = None
    if row["metric"] is not None:
        geometry = SceneGeometry(
            depth=_maps(arrays, "depth", np.float32),
            metric=row["metric"],
            boxes=None if boxes is None else tuple(_box(box) for box in boxes),
            instances=_maps(arrays, "instances", np.int32),
        )
    return Record(
        id=row["record"],
        scene=row["scene"],
        source=row["source"],
        scene_hash=row["scene_hash"],
        questions=tuple(_question(one) for one in answers),
        answers=tuple(_answer(one) for one in answers),
        provenance=json.loads(row["provenance"]),
        licence=row["licence"],
        cameras=tuple(
            RecordCamera(
                view["name"],
                _matrix(view["intrinsics"], 3),
                _matrix(view["depth_intrinsics"], 3),
                _matrix(view["world_from_camera"], 4),
            )
            for view in row["views"]
        ),
        features=features,
        geometry=geometry,
        relations=None if relations is None else tuple(Relation(**one) for one in relations),
    )


def _narrow(ids: NDArray[np.int32]) -> NDArray[Any]:
    """Ids as 16-bit numbers where they fit: half the disk."""
    fits = ids.min(initial=0) >= 0 and ids.max(initial=0) <= np.iinfo(np.uint16).max
    return ids.astype(np.uint16) if fits else ids


def _listed(array: NDArray[Any] | None) -> list[Any] | None:
    return None if array is None else array.tolist()


def _flat(matrix: Array | None) -> list[float] | None:
    return None if matrix is None else np.asarray(matrix, dtype=np.float64).ravel().tolist()


def _matrix(values: Sequence[float] | None, side: int) -> Array | None:
    return None if values is None else np.array(values, dtype=np.float64).reshape(side, side)


def _maps(arrays: Mapping[str, NDArray[Any]], name: str, dtype: Any) -> tuple[NDArray[Any], ...] | None:
    found = sorted(key for key in arrays if key.startswith(f"{name}."))
    return tuple(arrays[key].astype(dtype) for key in found) or None


def _box(entry: Mapping[str, Any]) -> Box:
    return Box(**{**entry, "center": np.array(entry["center"]), "size": np.array(entry["size"])})


def _question(row: Mapping[str, Any]) -> Question:
    return Question(
        id=row["id"],
        scene=row["scene"],
        family=row["family"],
        form=row["form"],
        text=row["question"],
        answer=row["reference"],
        choices=tuple(row["choices"]),
        objects=tuple(row["objects"]),
        view=row["view"],
    )


def _answer(row: Mapping[str, Any]) -> TeacherAnswer:
    return TeacherAnswer(
        text=row["answer"],
        token_ids=_array(row["token_ids"], np.int32),
        top_ids=_array(row["top_ids"], np.int32),
        top_log_probs=_array(row["top_log_probs"], np.float32),
    )


def _array(values: Any, dtype: Any) -> NDArray[Any] | None:
    return None if values is None else np.array(values, dtype=dtype)
