"""Content hashes of scenes and the ids of records.

Content counts, not file names or dates: the same photos in another folder are the same scene.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import numpy as np

from dollhouse.questions.generate import Question
from dollhouse.scenes.scene import Box, Scene, View
from dollhouse.system.hashing import ContentDigest, canonical_json

#: Part of every scene hash and record id. The keys below are part of them too.
FORMAT = "dollhouse record 1"


def scene_hash(scene: Scene) -> str:
    """Return 64 hex digits of a scene's name, images, depth, instances, cameras and boxes.

    Reads every image of the scene. Raises SceneError from bad files.
    """
    digest = ContentDigest()
    # the plain separators of json.dumps: another spelling would change every hash
    digest.add("scene", json.dumps([FORMAT, scene.name, scene.metric, len(scene.views)]))
    for view in scene.views:
        digest.add("view", view.name)
        for name in ("image", "depth", "instances"):
            digest.add_array(name, getattr(view, name))
        for name in ("intrinsics", "depth_intrinsics", "world_from_camera"):
            matrix = getattr(view, name)
            digest.add_array(name, None if matrix is None else np.asarray(matrix, dtype="<f8"))
    digest.add("boxes", canonical_json(None if scene.boxes is None else [box_entry(box) for box in scene.boxes]))
    return digest.hexdigest()


def image_hash(view: View) -> str:
    """Return 16 hex digits of a view's image, by which a scene is recognised whatever its name."""
    digest = ContentDigest()
    digest.add_array("image", view.image)
    return digest.hexdigest()[:16]


def record_id(scene: str, questions: Sequence[Question], provenance: Mapping[str, Any]) -> str:
    """Return 32 hex digits of a scene's hash, the questions, and the teachers' provenance.

    ``software`` inside the provenance is stored in records but not counted, so that another release of a library does
    not change every id.
    """
    entries = [asdict(question) for question in questions]  # so the names of Question's fields are part of the id
    for entry in entries:
        del entry["accept"]  # records do not hold it
    text = canonical_json([FORMAT, scene, entries, _without_software(provenance)])
    return sha256(text.encode()).hexdigest()[:32]


def box_entry(box: Box) -> dict[str, Any]:
    """Return a box as JSON-able values."""
    return {
        "id": int(box.id),
        "label": box.label,
        "center": np.asarray(box.center, dtype=np.float64).tolist(),
        "size": np.asarray(box.size, dtype=np.float64).tolist(),
        "yaw": float(box.yaw),
        "has_front": bool(box.has_front),
        "colour": box.colour,
        "score": None if box.score is None else float(box.score),
    }


def _without_software(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_software(inner) for key, inner in value.items() if key != "software"}
    if isinstance(value, list | tuple):
        return [_without_software(inner) for inner in value]
    return value
