"""Reader of the TUM RGB-D benchmark's layout: ``rgb.txt``, ``depth.txt`` and ``groundtruth.txt``; depth / 5000 m."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.geometry import Array
from dollhouse.scenes.readers.captures import (
    Camera,
    Capture,
    centred_pinhole,
    file_view,
    nearest,
    read_rows,
    rigid,
)
from dollhouse.scenes.readers.reader import Reader
from dollhouse.scenes.scene import Scene

# Published calibrations of 640x480 images; a folder's name tells which one. Others get the driver's default.
_CALIBRATIONS = {
    1: (517.306408, 516.469215, 318.643040, 255.313989),
    2: (520.908620, 521.007327, 325.141442, 249.701764),
    3: (535.4, 539.2, 320.1, 247.6),
}
_DEFAULT = (525.0, 525.0, 319.5, 239.5)


def open_tum(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open a sequence; depth maps and poses are those nearest in time. Lens distortion (below 1 %) is left in."""
    capture = Capture(path, skip_bad=skip_bad, frames=frames)
    images, depth_maps = _read_list(capture, path / "rgb.txt"), _read_list(capture, path / "depth.txt")
    pose_times, poses = capture.read_trajectory(path / "groundtruth.txt", 8)
    depth_times = np.array([time for time, _ in depth_maps])
    camera = Camera(_intrinsics(path), (640, 480))
    for time, name in images:
        with capture.collect(path / name):
            pose, match = nearest(pose_times, time), nearest(depth_times, time)
            if pose is None:
                capture.lost += 1
                continue
            if match is None and depth_maps:
                raise SceneError(f"{path / name}: has no depth map of its time")
            depth = path / depth_maps[match][1] if match is not None else None
            open_view = partial(file_view, path / name, camera, depth, units=5000.0)
            capture.add(Path(name).stem, rigid(poses[pose][4:], poses[pose][1:4]), open_view)
    return capture.scene()


def _read_list(capture: Capture, path: Path) -> list[tuple[float, str]]:
    """Read the (time, file name) rows of a list, sorted by time; [] where it does not exist."""
    rows: list[tuple[float, str]] = []
    for row in read_rows(path) if path.is_file() else []:
        with capture.collect(f"{path}: {' '.join(row)}"):
            if not np.isfinite(time := float(row[0])):
                raise SceneError(f"{path}: {row[0]} is not a time")
            rows.append((time, row[1]))
    return sorted(rows)


def _intrinsics(path: Path) -> Array:
    name = path.resolve().name.lower()
    kinds = [kind for kind in _CALIBRATIONS if f"freiburg{kind}" in name or f"fr{kind}" in name]
    return centred_pinhole(*_CALIBRATIONS[kinds[0]] if kinds else _DEFAULT)


def _matches(path: Path) -> bool:
    return (path / "rgb.txt").is_file() and (path / "groundtruth.txt").is_file()


TUM = Reader("a TUM RGB-D sequence", _matches, open_tum)
