"""What makes a record the same record: hashes of a scene, of questions, of weights, and of all of them together.

Content counts, not names of files or when something was made: the same photos in another folder are the same scene.
A hash is the same in every process and on every machine. Knows nothing of how records are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dollhouse.errors import ModelError
from dollhouse.questions.generate import Question
from dollhouse.scenes.scene import Box, Scene

FORMAT = "dollhouse record 1"
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".json", ".jinja", ".model", ".txt")


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


def scene_hash(scene: Scene) -> str:
    """64 hex digits of everything a teacher can see: name, views with photos, depth, ids and cameras, boxes.

    Reads every picture of the scene. Raises SceneError from bad files.
    """
    digest = sha256()
    _feed(digest, "scene", json.dumps([FORMAT, scene.name, scene.metric, len(scene.views)]))
    for view in scene.views:
        _feed(digest, "view", view.name)
        for name in ("image", "depth", "instances"):
            _feed_array(digest, name, getattr(view, name))
        for name in ("intrinsics", "depth_intrinsics", "world_from_camera"):
            matrix = getattr(view, name)
            _feed_array(digest, name, None if matrix is None else np.asarray(matrix, dtype="<f8"))
    _feed(digest, "boxes", canonical(None if scene.boxes is None else [box_entry(box) for box in scene.boxes]))
    return digest.hexdigest()


def record_id(scene: str, questions: Sequence[Question], provenance: Mapping[str, Any]) -> str:
    """32 hex digits of what goes into a record: the scene's hash, the questions, who answers and how.

    ``software`` inside the provenance is kept in records but not counted: another release of a library does not make
    all records anew.
    """
    asked = [asdict(question) for question in questions]
    text = canonical([FORMAT, scene, asked, _without_software(provenance)])
    return sha256(text.encode()).hexdigest()[:32]


def canonical(value: Any) -> str:
    """One JSON text for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def folder_hash(folder: Path) -> str:
    """12 hex digits of a model folder: names and contents of its weights, configurations and tokenizer.

    Raises ModelError where the folder holds none or cannot be read.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix in WEIGHT_SUFFIXES and path.is_file())
    if not files:
        raise ModelError(f"{folder}: no model is there; give the folder that holds config.json and the weights")
    return files_hash(files)


def files_hash(files: Iterable[Path]) -> str:
    """12 hex digits of names and contents of files. Raises ModelError where one cannot be read."""
    digest = sha256()
    for path in files:
        try:
            with path.open("rb") as file:
                _feed(digest, path.name, file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()[:12]


def box_entry(box: Box) -> dict[str, Any]:
    """A box as plain numbers and words."""
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


def _feed(digest: _Digest, name: str, text: str) -> None:
    # lengths first, so that no two lists of pieces run together to the same bytes
    for piece in (name.encode(), text.encode()):
        digest.update(len(piece).to_bytes(8, "little"))
        digest.update(piece)


def _feed_array(digest: _Digest, name: str, array: np.ndarray | None) -> None:
    if array is None:
        _feed(digest, name, "none")
        return
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    _feed(digest, name, f"{plain.dtype.str} {plain.shape}")
    digest.update(plain.tobytes())
