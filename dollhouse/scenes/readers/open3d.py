"""Reader of Open3D's recorders (RealSense, Azure Kinect): ``color/``, ``depth/``, ``camera_intrinsic.json``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.geometry import Array
from dollhouse.scenes.readers.captures import (
    Camera,
    Capture,
    as_matrix,
    centred_pinhole,
    file_view,
    numbers,
    read_json,
    read_rows,
)
from dollhouse.scenes.readers.reader import Reader, list_photos
from dollhouse.scenes.scene import Scene

_INTRINSICS = ("camera_intrinsic.json", "intrinsic.json")
_TRAJECTORIES = ("trajectory.log", "scene/trajectory.log", "scene/refined_trajectory.log", "scene/integrated.log")


def open_open3d(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open the frames that ``trajectory.log`` (world-from-camera) has a pose of; depth in millimetres."""
    capture = Capture(path, skip_bad=skip_bad, frames=frames, up=None)
    file = next((path / name for name in _INTRINSICS if (path / name).is_file()), path / _INTRINSICS[0])
    trajectory = next((path / name for name in _TRAJECTORIES if (path / name).is_file()), None)
    if trajectory is None:
        raise SceneError(
            f"{path}: has no trajectory.log; run Open3D's reconstruction, or give {path / 'color'} as photos"
        )
    camera = _read_camera(file)
    depth_maps, images = list_photos(path / "depth"), list_photos(path / "color")
    by_stem = {depth.stem: depth for depth in depth_maps}
    rows = read_rows(trajectory)
    for start in range(0, len(rows) - 4, 5):
        with capture.collect(f"{trajectory}: {' '.join(rows[start])}"):
            number = int(rows[start][0])
            image, pose = (
                images[number],
                as_matrix(numbers([word for row in rows[start + 1 : start + 5] for word in row])),
            )
            same_number = depth_maps[number] if number < len(depth_maps) else path / "depth" / f"{image.stem}.png"
            depth = by_stem.get(image.stem, same_number) if depth_maps else None
            capture.add(image.stem, pose, partial(file_view, image, camera, depth))
    return capture.scene()


def _read_camera(path: Path) -> Camera:
    try:
        values = read_json(path)
        matrix: Array = np.array(values["intrinsic_matrix"], dtype=np.float64).reshape(3, 3).T  # stored by columns
        intrinsics = centred_pinhole(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
        return Camera(intrinsics, (int(values["width"]), int(values["height"])))
    except (KeyError, TypeError, ValueError) as error:
        raise SceneError(f"{path}: is not Open3D's camera ({error})") from error


def _matches(path: Path) -> bool:
    return (path / "color").is_dir() and any((path / name).is_file() for name in _INTRINSICS)


OPEN3D = Reader("an Open3D recording", _matches, open_open3d)
