"""Targets and questions cached on disk, one file a sample, so that a room is rendered once."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dollhouse.data.targets import ObjectTargets, SceneTargets, TeacherPatches
from dollhouse.system.atomic_io import atomic_path

Questions = tuple[tuple[str, str, str], ...]  #: question, answer, family


class TargetCache:
    """Files ``<folder>/<key>/<thousands>/<index>.<suffix>``; another key is another cache."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder / key

    def _path(self, index: int, suffix: str) -> Path:
        return self.folder / f"{index // 1000:04d}" / f"{index}.{suffix}"

    def read_targets(self, index: int, objects_only: bool = False) -> SceneTargets | None:
        """Return the targets of a sample, or None where the file is missing or damaged."""
        try:
            with np.load(self._path(index, _suffix(objects_only)), allow_pickle=False) as arrays:
                return unpack({key: arrays[key] for key in arrays.files})
        except (FileNotFoundError, zipfile.BadZipFile, ValueError, KeyError, EOFError):
            return None

    def write_targets(self, index: int, targets: SceneTargets, objects_only: bool = False) -> None:
        """Store targets. Raises StorageError where the disk is full."""
        self._write(self._path(index, _suffix(objects_only)), lambda file: np.savez(file, **pack(targets)))

    def read_questions(self, index: int, key: str) -> Questions | None:
        """Return the questions of a sample, if they were stored under this ``key``."""
        try:
            stored_key, rows = json.loads(self._path(index, "json").read_text(encoding="utf-8"))
            questions = tuple((question, answer, family) for question, answer, family in rows)
        except (FileNotFoundError, json.JSONDecodeError, ValueError):
            return None
        return questions if stored_key == key else None

    def write_questions(self, index: int, key: str, questions: Questions) -> None:
        """Store questions. Raises StorageError where the disk is full."""
        self._write(self._path(index, "json"), lambda file: file.write(json.dumps([key, questions]).encode()))

    def _write(self, path: Path, fill: Callable[[BinaryIO], Any]) -> None:
        with atomic_path(path, "free some space or unset data.cache") as unfinished:
            path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                fill(file)


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

    name, metric = json.loads(arrays["about"].tobytes())
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
