"""Lessons kept on disk, one file each, so that a room is rendered once.

Knows nothing of how lessons are made. A file is whole or absent: written to a temporary name, then renamed.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.distill.targets import ObjectTargets, SceneTargets
from dollhouse.errors import StorageError

Questions = tuple[tuple[str, str], ...]


class LessonCache:
    """Files ``<folder>/<key>/<hundreds>/<name>.npz``; another key is another cache."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder / key

    def _path(self, name: str) -> Path:
        return self.folder / f"{int(name) // 1000:04d}" / f"{name}.npz"

    def read(self, name: str) -> tuple[SceneTargets, Questions] | None:
        """The lesson of that name, or None where it is not kept (or its file is damaged: it is made again)."""
        try:
            with np.load(self._path(name), allow_pickle=False) as kept:
                return unpack({key: kept[key] for key in kept.files})
        except (FileNotFoundError, zipfile.BadZipFile, ValueError, KeyError, EOFError):
            return None

    def write(self, name: str, targets: SceneTargets, questions: Questions) -> None:
        """Keep a lesson. Raises StorageError where the disk is full."""
        path = self._path(name)
        staging = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with staging.open("wb") as file:
                np.savez(file, **pack(targets, questions))
            staging.replace(path)
        except OSError as error:
            staging.unlink(missing_ok=True)
            raise StorageError(f"cannot keep a lesson in {path.parent}: {error.strerror}; free some space or unset data.cache") from error


def pack(targets: SceneTargets, questions: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """A lesson as named arrays; depth in half precision (a millimetre at two metres)."""
    arrays: dict[str, Any] = {
        "about": np.frombuffer(json.dumps([targets.name, targets.metric, list(questions)]).encode(), dtype=np.uint8),
        "images": targets.images,
    }
    for name in ("level_from_camera", "up", "focal"):
        if getattr(targets, name) is not None:
            arrays[name] = getattr(targets, name)
    if targets.depth is not None:
        arrays["depth"] = targets.depth.astype(np.float16)
    if targets.objects is not None:
        for name, value in vars(targets.objects).items():
            arrays[f"objects.{name}"] = value
    return arrays


def unpack(arrays: dict[str, Any]) -> tuple[SceneTargets, Questions]:
    """What :func:`pack` packed."""
    name, metric, questions = json.loads(arrays["about"].tobytes())
    objects = {key.split(".")[1]: value for key, value in arrays.items() if key.startswith("objects.")}
    depth = arrays.get("depth")
    targets = SceneTargets(
        name=name,
        images=arrays["images"],
        depth=None if depth is None else depth.astype(np.float32),
        metric=metric,
        level_from_camera=arrays.get("level_from_camera"),
        up=arrays.get("up"),
        focal=arrays.get("focal"),
        objects=ObjectTargets(**objects) if objects else None,
    )
    return targets, tuple((question, answer) for question, answer in questions)
