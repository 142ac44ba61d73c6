"""Reader of the TUM RGB-D benchmark's layout: ``rgb.txt``, ``depth.txt`` and ``groundtruth.txt``; depth / 5000 m."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.scenes.readers import captures
from dollhouse.system.links import refuse_outside

# Published calibrations of 640x480 images, moved to our pixel convention, by a part of the folder's name; the last is
# the driver's default.
_CALIBRATIONS = {
    ("freiburg1", "fr1"): (517.306408, 516.469215, 319.143040, 255.813989),
    ("freiburg2", "fr2"): (520.908620, 521.007327, 325.641442, 250.201764),
    ("freiburg3", "fr3"): (535.4, 539.2, 320.6, 248.1),
    ("",): (525.0, 525.0, 320.0, 240.0),
}


def _collect(capture: captures.Capture) -> None:
    """Collect images with the depth maps and poses nearest in time. Lens distortion is left in."""
    path = capture.path
    images, depth_maps = _read_list(capture, path / "rgb.txt"), _read_list(capture, path / "depth.txt")
    times, poses = capture.read_trajectory(path / "groundtruth.txt", 8)
    depth_times = np.array([time for time, _ in depth_maps])
    name = path.resolve().name.lower()
    calibration = next(values for names, values in _CALIBRATIONS.items() if any(part in name for part in names))
    camera = captures.Camera(calibration, (640, 480))
    for time, image in images:
        with capture.collect(path / image):
            pose, match = captures.nearest(times, time), captures.nearest(depth_times, time)
            if match is None and depth_maps:
                raise SceneError(f"{path / image}: has no depth map of its time")
            depth = path / depth_maps[match][1] if match is not None else None
            world_from_camera = None if pose is None else captures.rigid(poses[pose][4:], poses[pose][1:4])
            capture.add_files(path / image, world_from_camera, camera, depth, units=5000.0)


def _read_list(capture: captures.Capture, path: Path) -> list[tuple[float, str]]:
    """Read the (time, file name) rows of a list, sorted by time; [] where it does not exist."""
    rows: list[tuple[float, str]] = []
    for row in captures.read_rows(path) if path.is_file() else []:
        with capture.collect(f"{path}: {' '.join(row)}"):
            if not np.isfinite(time := float(row[0])):
                raise ValueError(f"{row[0]} is not a time")
            refuse_outside(path.parent / row[1], path.parent, SceneError)
            rows.append((time, row[1]))
    return sorted(rows)


def _matches(path: Path) -> bool:
    return (path / "rgb.txt").is_file() and (path / "groundtruth.txt").is_file()


TUM = captures.capture_reader(
    "a TUM RGB-D sequence", _matches, _collect, "rgb depth rgb.txt depth.txt groundtruth.txt accelerometer.txt"
)
