"""Reader of ``transforms.json`` as nerfstudio, instant-ngp and ScanNet++ write it: OpenGL camera axes, depth in mm."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, intrinsics_from_fov
from dollhouse.scenes.images import image_size
from dollhouse.scenes.readers import captures
from dollhouse.scenes.readers.reader import list_photos
from dollhouse.scenes.scene import View
from dollhouse.system.links import refuse_outside

_PLACES = (
    "transforms.json",
    "transforms_train.json",
    "nerfstudio/transforms.json",
    "iphone/nerfstudio/transforms.json",
)
_UNDISTORTED = "dslr/nerfstudio/transforms_undistorted.json"  # of ScanNet++
_IMAGE_FOLDERS = (".", "images", "../rgb", "../images", "../resized_undistorted_images")
_FILES = "transforms*.json images* depth* nerfstudio iphone dslr *.jpg *.png *.JPG train test val colmap sparse_pc.ply"
_LENSES = {"PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE"}


def _collect(capture: captures.Capture) -> None:
    """Collect poses in the source's coordinates: ``applied_transform`` and ``applied_scale`` are undone.

    Without depth, and outside ScanNet++, the scale is relative: such poses come from COLMAP.
    """
    file = _find(capture.path) or capture.path
    content = captures.read_json(file)
    entries = content["frames"]
    depth = any(isinstance(entry, dict) and _depth_name(entry) for entry in entries)
    capture.metric = depth or file.parent.name == "nerfstudio"
    named = [entry for entry in entries if isinstance(entry, dict) and "file_path" in entry]
    photos = [PurePosixPath(str(entry["file_path"]).replace("\\", "/")) for entry in named]
    inner = file.parent.parent if file.parent.name == "nerfstudio" else file.parent
    root = capture.path if capture.path.is_dir() else inner
    for name in (*map(str, photos), *map(_depth_name, named)):
        refuse_outside(file.parent / name, root, SceneError)
    stems = {photo.stem for photo in photos} | {PurePosixPath(_depth_name(entry)).stem for entry in named}
    folders = {file.parent / photo.parent for photo in photos}
    capture.lost += sum(photo.stem not in stems for folder in folders for photo in list_photos(folder))
    source_from_output = np.linalg.inv(captures.as_matrix(content.get("applied_transform", np.eye(4))))
    for number, entry in enumerate(entries):
        with capture.collect(f"{file}: frame {number}"):
            pose = captures.as_matrix(entry["transform_matrix"]) @ captures.OPENCV_FROM_OPENGL
            pose[:3, 3] /= float(content.get("applied_scale", 1.0))
            open_view = partial(_open_view, file.parent, root, {**content, **entry})
            capture.add(str(entry["file_path"]), source_from_output @ pose, open_view)


def _open_view(folder: Path, root: Path, values: Mapping[str, Any]) -> View:
    name = str(values["file_path"]).replace("\\", "/")
    paths = [folder / parent / f"{name}{suffix}" for parent in _IMAGE_FOLDERS for suffix in ("", ".png", ".jpg")]
    image = refuse_outside(next((path for path in paths if path.is_file()), folder / name), root, SceneError)
    model = str(values.get("camera_model", "OPENCV"))
    if model not in _LENSES or values.get("is_fisheye") or values.get("k3") or values.get("k4"):
        raise SceneError(
            f"{image}: its {model} lens cannot be used; undistort the images first (ns-process-data, COLMAP)"
        )
    size = (int(values["w"]), int(values["h"])) if "w" in values and "h" in values else image_size(image)
    lens: Array
    if "fl_x" in values:
        fx, (cx, cy) = values["fl_x"], (size[0] / 2, size[1] / 2)
        lens = np.array([fx, values.get("fl_y", fx), values.get("cx", cx), values.get("cy", cy)], dtype=np.float64)
    else:
        lens = intrinsics_from_fov(float(values["camera_angle_x"]), *size)[captures.LENS]
    camera = captures.Camera(lens, size, tuple(float(values.get(key, 0.0)) for key in ("k1", "k2", "p1", "p2")))
    depth, units = _depth_name(values), 1.0 / float(values.get("integer_depth_scale", 0.001))
    return captures.file_view(image, camera, folder / depth if depth else None, units=units)


def _depth_name(values: Mapping[str, Any]) -> str:
    return str(values.get("depth_file_path") or values.get("depth_path") or "").replace("\\", "/")


def _find(path: Path) -> Path | None:
    if path.is_file():
        return path if path.name.startswith("transforms") and path.suffix.lower() == ".json" else None
    return next((path / place for place in (*_PLACES, _UNDISTORTED) if (path / place).is_file()), None)


NERFSTUDIO = captures.capture_reader(
    "nerfstudio's transforms.json", lambda path: _find(path) is not None, _collect, _FILES, up=None
)
