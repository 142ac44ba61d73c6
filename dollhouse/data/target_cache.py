"""Targets and questions cached on disk, one file a sample, so that a room is rendered once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dollhouse.data.targets import ObjectTargets, SceneTargets, TeacherPatches
from dollhouse.errors import StorageError
from dollhouse.system.atomic_io import atomic_path, write_text
from dollhouse.system.read_files import decode_json, read_npz, read_text

Questions = tuple[tuple[str, str, str], ...]  #: question, answer, family
T = TypeVar("T")
ADVICE = "free some space or unset data.cache"
_reported = False


class TargetCache:
    """Files ``<folder>/<key>/<thousands>/<index>.<suffix>``; another key is another cache."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder / key

    def _path(self, index: int, suffix: str) -> Path:
        return self.folder / f"{index // 1000:04d}" / f"{index}.{suffix}"

    def read_targets(self, index: int, objects_only: bool = False) -> SceneTargets | None:
        """Return the targets of a sample, or None where the file is missing or damaged, which is printed once."""
        return read_entry(self._path(index, _suffix(objects_only)), _read_arrays)  # zip files carry checksums

    def write_targets(self, index: int, targets: SceneTargets, objects_only: bool = False) -> None:
        """Store targets. Raises StorageError where the disk is full."""
        with atomic_path(self._path(index, _suffix(objects_only)), ADVICE) as unfinished, unfinished.open("wb") as file:
            np.savez(file, **pack(targets))

    def read_questions(self, index: int, key: str) -> Questions | None:
        """Return the questions of a sample, if they were stored under this ``key``; None as of read_targets."""
        stored_key, questions = read_entry(self._path(index, "json"), _read_questions) or ("", ())
        return questions if stored_key == key else None

    def write_questions(self, index: int, key: str, questions: Questions) -> None:
        """Store questions. Raises StorageError where the disk is full."""
        content = json.dumps([key, questions])
        digest = sha256(content.encode()).hexdigest()
        write_text(self._path(index, "json"), f"{digest}\n{content}", ADVICE)


def read_entry(path: Path, load: Callable[[Path], T]) -> T | None:
    """Return what ``load`` reads, or None where it must be computed: the file is missing or damaged.

    Damage is printed once a process, since a cache of an older version has many such files.
    """
    global _reported
    if not path.exists():
        return None
    try:
        return load(path)
    except Exception as error:  # whatever is wrong with it, it can be computed again
        if not _reported:
            reason = " ".join(str(error).split())[:160]
            print(f"{path}: is damaged or of an older version and is computed again ({reason})", file=sys.stderr)
        _reported = True
        return None


def _read_arrays(path: Path) -> SceneTargets:
    return unpack(read_npz(path, path, StorageError))


def _read_questions(path: Path) -> tuple[str, Questions]:
    digest, _, content = read_text(path, StorageError).partition("\n")
    if digest != sha256(content.encode()).hexdigest():
        raise ValueError("its digest is not that of its content")
    key, rows = decode_json(content)
    return key, tuple((question, answer, family) for question, answer, family in rows)


def _suffix(objects_only: bool) -> str:
    return "objects.npz" if objects_only else "npz"


def pack(targets: SceneTargets) -> dict[str, Any]:
    """Return targets as named arrays, depth in half precision (a millimetre at two metres)."""
    header = json.dumps([targets.name, targets.metric]).encode()
    arrays: dict[str, Any] = {"about": np.frombuffer(header, dtype=np.uint8), "images": targets.images}
    for name in ("level_from_camera", "up", "focal", "instances", "label_cells"):
        if getattr(targets, name) is not None:
            arrays[name] = getattr(targets, name)
    if targets.depth is not None:
        arrays["depth"] = targets.depth.astype(np.float16)
    for group, part in (("objects", targets.objects), ("teacher", targets.teacher)):
        if part is not None:
            arrays |= {f"{group}.{name}": value for name, value in vars(part).items() if value is not None}
    return arrays


def unpack(arrays: dict[str, Any]) -> SceneTargets:
    """Return the targets that :func:`pack` packed."""

    def group(prefix: str) -> dict[str, Any]:
        return {key.split(".")[1]: value for key, value in arrays.items() if key.startswith(f"{prefix}.")}

    name, metric = decode_json(arrays["about"].tobytes(), any_names=True)
    objects, teacher, depth = group("objects"), group("teacher"), arrays.get("depth")
    return SceneTargets(
        name=name,
        images=arrays["images"],
        depth=None if depth is None else depth.astype(np.float32),
        metric=metric,
        level_from_camera=arrays.get("level_from_camera"),
        up=arrays.get("up"),
        focal=arrays.get("focal"),
        objects=ObjectTargets(**objects) if objects else None,
        instances=arrays.get("instances"),
        teacher=TeacherPatches(**teacher) if teacher else None,
        label_cells=arrays.get("label_cells"),
    )
