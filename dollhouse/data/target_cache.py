"""Lessons kept on disk, one file each, so that a room is rendered once.

Knows nothing of how lessons are made. A file is whole or absent: written to a temporary name, then renamed.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dollhouse.data.targets import ObjectTargets, SceneTargets, TeacherSight
from dollhouse.system.atomic_io import atomic_path

Questions = tuple[tuple[str, str, str], ...]  #: question, answer, family


class TargetCache:
    """Files ``<folder>/<key>/<thousands>/<number>.<suffix>``; another key is another cache."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder / key

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number // 1000:04d}" / f"{number}.{suffix}"

    def read_targets(self, number: int) -> SceneTargets | None:
        """The targets of that number, or None where they are not kept (a damaged file counts as not kept)."""
        try:
            with np.load(self._path(number, "npz"), allow_pickle=False) as kept:
                return unpack({key: kept[key] for key in kept.files})
        except (FileNotFoundError, zipfile.BadZipFile, ValueError, KeyError, EOFError):
            return None

    def write_targets(self, number: int, targets: SceneTargets) -> None:
        """Keep targets. Raises StorageError where the disk is full."""
        self._write(self._path(number, "npz"), lambda file: np.savez(file, **pack(targets)))

    def read_questions(self, number: int, key: str) -> Questions | None:
        """The questions of that number, if they are of this ``key``."""
        try:
            kept_key, kept = json.loads(self._path(number, "json").read_text(encoding="utf-8"))
            questions = tuple((question, answer, family) for question, answer, family in kept)
        except (FileNotFoundError, json.JSONDecodeError, ValueError):
            return None
        return questions if kept_key == key else None

    def write_questions(self, number: int, key: str, questions: Questions) -> None:
        """Keep questions. Raises StorageError where the disk is full."""
        self._write(self._path(number, "json"), lambda file: file.write(json.dumps([key, questions]).encode()))

    def _write(self, path: Path, fill: Callable[[BinaryIO], Any]) -> None:
        with atomic_path(path, "free some space or unset data.cache") as unfinished:
            path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                fill(file)


def pack(targets: SceneTargets) -> dict[str, Any]:
    """Targets as named arrays; depth in half precision (a millimetre at two metres)."""
    about = json.dumps([targets.name, targets.metric]).encode()
    arrays: dict[str, Any] = {"about": np.frombuffer(about, dtype=np.uint8), "images": targets.images}
    for name in ("level_from_camera", "up", "focal", "instances"):
        if getattr(targets, name) is not None:
            arrays[name] = getattr(targets, name)
    if targets.depth is not None:
        arrays["depth"] = targets.depth.astype(np.float16)
    if targets.objects is not None:
        arrays.update(_told("objects", targets.objects))
    if targets.teacher is not None:
        arrays.update(_told("teacher", targets.teacher))
    return arrays


def _told(group: str, of: ObjectTargets | TeacherSight) -> dict[str, Any]:
    """The arrays of a dataclass, those that there are, as ``group.name``."""
    return {f"{group}.{name}": value for name, value in vars(of).items() if value is not None}


def _group(arrays: dict[str, Any], group: str) -> dict[str, Any]:
    return {key.split(".")[1]: value for key, value in arrays.items() if key.startswith(f"{group}.")}


def unpack(arrays: dict[str, Any]) -> SceneTargets:
    """What :func:`pack` packed."""
    name, metric = json.loads(arrays["about"].tobytes())
    objects, teacher = _group(arrays, "objects"), _group(arrays, "teacher")
    depth = arrays.get("depth")
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
        teacher=TeacherSight(**teacher) if teacher else None,
    )
