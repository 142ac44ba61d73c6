"""Reader of Open3D's recorders (RealSense, Azure Kinect): ``color/``, ``depth/``, ``camera_intrinsic.json``."""

from __future__ import annotations

from pathlib import Path

from dollhouse.errors import SceneError
from dollhouse.scenes.readers import captures
from dollhouse.scenes.readers.reader import list_photos

_TRAJECTORIES = ("trajectory.log", "scene/trajectory.log", "scene/refined_trajectory.log", "scene/integrated.log")


def _collect(capture: captures.Capture) -> None:
    """Collect the frames that ``trajectory.log`` has a world-from-camera pose of."""
    path = capture.path
    values = captures.read_json(path / "camera_intrinsic.json")
    lens = captures.as_matrix(values["intrinsic_matrix"])[:3, :3].T[captures.LENS] + (0.0, 0.0, 0.5, 0.5)  # by columns
    camera = captures.Camera(lens, (int(values["width"]), int(values["height"])))
    trajectory = next((path / name for name in _TRAJECTORIES if (path / name).is_file()), None)
    if trajectory is None:
        raise SceneError(f"{path}: has no trajectory.log; run Open3D's reconstruction, or give color/ as photos")
    images, rows = list_photos(path / "color"), captures.read_rows(trajectory)
    for start in range(0, len(rows) - 4, 5):
        with capture.collect(f"{trajectory}: {' '.join(rows[start])}"):
            image = images[int(rows[start][0])]
            pose = captures.as_matrix([[float(word) for word in row] for row in rows[start + 1 : start + 5]])
            capture.add_files(image, pose, camera, path / "depth" / f"{image.stem}.png")


def _matches(path: Path) -> bool:
    return (path / "color").is_dir() and (path / "camera_intrinsic.json").is_file()


OPEN3D = captures.capture_reader(
    "an Open3D recording", _matches, _collect, "color depth camera_intrinsic.json trajectory.log scene", up=None
)
