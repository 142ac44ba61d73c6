"""Reader of ``transforms.json`` as nerfstudio, instant-ngp and ScanNet++ write it: OpenGL camera axes, depth in mm."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, intrinsics_from_fov
from dollhouse.scenes.images import image_size
from dollhouse.scenes.readers.captures import (
    OPENCV_FROM_OPENGL,
    Camera,
    Capture,
    as_matrix,
    file_view,
    pinhole,
    read_json,
)
from dollhouse.scenes.readers.reader import Reader
from dollhouse.scenes.scene import Scene, View

_PLACES = (
    "transforms.json",
    "transforms_train.json",
    "nerfstudio/transforms.json",
    "iphone/nerfstudio/transforms.json",
    "dslr/nerfstudio/transforms_undistorted.json",
)
_IMAGE_FOLDERS = (".", "images", "../rgb", "../images", "../resized_undistorted_images")
_LENSES = {"PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE"}


def open_nerfstudio(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open a capture in the coordinates of its source: ``applied_transform`` and ``applied_scale`` are undone.

    Without depth, and outside ScanNet++, the scale is relative: such poses come from COLMAP.
    """
    file = _find(path) or path
    content: Any = read_json(file)
    entries = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise SceneError(f"{path}: is not a transforms.json with a list of frames")
    metric = (
        any(isinstance(entry, dict) and _depth_name(entry) for entry in entries) or file.parent.name == "nerfstudio"
    )
    capture = Capture(path, skip_bad=skip_bad, frames=frames, up=None, metric=metric)
    output_from_source: Array = np.eye(4)
    scale = 1.0
    with capture.collect(file):
        output_from_source = as_matrix(content.get("applied_transform", np.eye(4)))
        scale = float(content.get("applied_scale", 1.0))
    source_from_output = np.linalg.inv(output_from_source)
    for number, entry in enumerate(entries):
        with capture.collect(f"{file}: frame {number}"):
            name, pose = str(entry["file_path"]), as_matrix(entry["transform_matrix"]) @ OPENCV_FROM_OPENGL
            pose[:3, 3] /= scale
            capture.add(name, source_from_output @ pose, partial(_open_view, file.parent, {**content, **entry}))
    return capture.scene()


def _open_view(folder: Path, values: Mapping[str, Any]) -> View:
    image = _image_path(folder, str(values["file_path"]).replace("\\", "/"))
    model = str(values.get("camera_model", "OPENCV"))
    if model not in _LENSES or values.get("is_fisheye") or any(values.get(key) for key in ("k3", "k4")):
        raise SceneError(
            f"{image}: a {model} lens cannot be used; undistort the images first (ns-process-data, COLMAP)"
        )
    size = (int(values["w"]), int(values["h"])) if "w" in values and "h" in values else image_size(image)
    lens = tuple(float(values.get(key, 0.0)) for key in ("k1", "k2", "p1", "p2"))
    depth, units = _depth_name(values), 1.0 / float(values.get("integer_depth_scale", 0.001))
    return file_view(
        image, Camera(_intrinsics(values, size), size, lens), folder / depth if depth else None, units=units
    )


def _intrinsics(values: Mapping[str, Any], size: tuple[int, int]) -> Array:
    width, height = size
    if "fl_x" not in values:
        return intrinsics_from_fov(float(values["camera_angle_x"]), width, height)
    fx = float(values["fl_x"])
    fy = float(values.get("fl_y", fx))
    return pinhole(fx, fy, float(values.get("cx", width / 2)), float(values.get("cy", height / 2)))


def _depth_name(values: Mapping[str, Any]) -> str:
    return str(values.get("depth_file_path") or values.get("depth_path") or "").replace("\\", "/")


def _image_path(folder: Path, name: str) -> Path:
    paths = (folder / parent / f"{name}{suffix}" for parent in _IMAGE_FOLDERS for suffix in ("", ".png", ".jpg"))
    return next((path for path in paths if path.is_file()), folder / name)


def _find(path: Path) -> Path | None:
    if path.is_file():
        return path if path.name.startswith("transforms") and path.suffix.lower() == ".json" else None
    return next((path / place for place in _PLACES if (path / place).is_file()), None)


NERFSTUDIO = Reader("nerfstudio's transforms.json", lambda path: _find(path) is not None, open_nerfstudio)
