"""Scenes in the layout of the official LLaVA-3D data: one JSON of camera parameters for a whole dataset.

The layout is EmbodiedScan's (``specs/formats.md``, section 2). Knows nothing of the model: what comes out is an
ordinary posed scene. Not read: OpenScan's ``poses.txt`` folders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, is_rigid
from dollhouse.scenes.images import read_depth, read_image
from dollhouse.scenes.scene import Scene, View

_DATASETS = ("scannet", "3rscan", "matterport3d")
_HALF_PIXEL = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])  # their (0, 0) is the centre of the first pixel


class CameraFile:
    """``embodiedscan_infos_full.json``, read once; ``root`` is the folder that its paths start from.

    Raises SceneError where the file cannot be used.
    """

    def __init__(self, path: str | Path, root: str | Path) -> None:
        self.path, self.root = Path(path), Path(root)
        try:
            self._scenes = json.loads(self.path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SceneError(f"{self.path}: cannot be read ({error.strerror})") from error
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SceneError(f"{self.path}: is not JSON ({error})") from error
        if not isinstance(self._scenes, dict):
            raise SceneError(f"{self.path}: should hold a JSON object, scene -> frames and camera parameters")

    @property
    def names(self) -> Sequence[str]:
        """The scenes, as "scannet/scene0191_00"."""
        return tuple(self._scenes)

    def open_scene(self, name: str) -> Scene:
        """One scene with all its frames, in the file's order; poses are aligned with the room's axes.

        Raises SceneError where it is not there or its parameters are not those of cameras.
        """
        dataset = name.split("/")[0]
        entry = self._scenes.get(name)
        where = f"{self.path}: scene {name}"
        if not isinstance(entry, Mapping):
            raise SceneError(f"{where} is not in it; it has {', '.join(self.names[:3])} ...")
        if dataset not in _DATASETS:
            raise SceneError(f"{where} is of a dataset that is not known ({', '.join(_DATASETS)} are)")
        alignment = _matrix(entry, "axis_align_matrix", where)
        if not is_rigid(alignment):
            raise SceneError(f"{where}: axis_align_matrix is not a rotation with a translation")
        frames = [key for key in entry if key.startswith(dataset)]
        if not frames:
            raise SceneError(f"{where} has no frames")
        views = [self._view(dataset, frame, entry, alignment, f"{where}, {frame}") for frame in frames]
        tracked = tuple(view for view in views if view is not None)
        if not tracked:
            raise SceneError(f"{where}: camera tracking was lost in all of its frames")
        metadata = {"source": str(self.path), "scene": name, "frames_skipped": len(views) - len(tracked)}
        return Scene(name.split("/")[-1], tracked, metadata=metadata)

    def _view(self, dataset: str, frame: str, entry: Mapping[str, Any], alignment: Array, where: str) -> View | None:
        """None where tracking was lost: the pose holds infinities."""
        told = entry[frame]
        if not isinstance(told, Mapping):
            raise SceneError(f"{where}: should hold an object")
        pose = _matrix(told, "pose", where, finite=False)
        if not np.isfinite(pose).all():
            return None
        if not is_rigid(pose):
            raise SceneError(f"{where}: its pose is not a rotation with a translation")
        if dataset == "3rscan":  # the official code does not read the path that the JSON tells
            depth = frame.replace("color.jpg", "depth.png").replace("3rscan", "3rscan_depth")
        else:
            depth = str(told.get("depth"))
        colour_camera = _intrinsics(told if dataset == "matterport3d" else entry, "intrinsic", where)
        return View(
            name=frame,
            open_image=partial(read_image, self._file(frame, where)),
            intrinsics=colour_camera,
            world_from_camera=alignment @ pose,
            open_depth=partial(read_depth, self._file(depth, where), 4000.0 if dataset == "matterport3d" else 1000.0),
            depth_intrinsics=_intrinsics(entry, "depth_intrinsic", where) if dataset == "scannet" else None,
        )

    def _file(self, name: str, where: str) -> Path:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise SceneError(f"{where}: its path leads out of the data folder: {name!r}")
        return self.root / path


def _matrix(entry: Mapping[str, Any], key: str, where: str, finite: bool = True) -> Array:
    try:
        matrix = np.array(entry[key], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape != (4, 4) or (finite and not np.isfinite(matrix).all()):
        raise SceneError(f"{where}: {key} should be a 4x4 matrix of finite numbers")
    return matrix


def _intrinsics(entry: Mapping[str, Any], key: str, where: str) -> Array:
    matrix = _matrix(entry, key, where)[:3, :3]
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise SceneError(f"{where}: {key} is not a camera matrix (focal lengths must be positive)")
    return matrix + _HALF_PIXEL
