"""Reader of 7-Scenes, 12-Scenes, BundleFusion and ScanNet's C++ export: ``frame-000000.color.*`` and so on."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dollhouse.scenes.readers.captures import Camera, Capture, as_matrix, file_view, matrix_file, numbers, pinhole
from dollhouse.scenes.readers.reader import Reader, list_photos, read_text
from dollhouse.scenes.scene import Scene

_KINECT = Camera(pinhole(585.0, 585.0, 320.0, 240.0), (640, 480))  #: what 7-Scenes publishes


def open_seven_scenes(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open one sequence; intrinsics and depth scale come from ``info.txt`` where it exists (BundleFusion)."""
    capture = Capture(path, skip_bad=skip_bad, frames=frames, up=None)
    camera, units = _KINECT, 1000.0
    files = (path / "info.txt", path / "_info.txt", path.parent / "info.txt")
    if info := next((file for file in files if file.is_file()), None):
        with capture.collect(info):
            pairs = (line.partition("=") for line in read_text(info).splitlines() if "=" in line)
            values = {key.strip(): value.strip() for key, _, value in pairs}
            intrinsics = as_matrix(numbers(values["m_calibrationColorIntrinsic"].split()))[:3, :3]
            camera = Camera(intrinsics, (int(values["m_colorWidth"]), int(values["m_colorHeight"])))
            units = float(values.get("m_depthShift", 1000.0))
    photos = list_photos(path)
    depth_maps = {photo.name.split(".")[0]: photo for photo in photos if ".depth." in photo.name}
    for image in photos:
        if ".color." not in image.name:
            continue
        name = image.name.split(".")[0]
        with capture.collect(image):
            depth = depth_maps.get(name, path / f"{name}.depth.png") if depth_maps else None
            pose = matrix_file(path / f"{name}.pose.txt")
            capture.add(name, pose, partial(file_view, image, camera, depth, units=units))
    return capture.scene()


def _matches(path: Path) -> bool:
    return path.is_dir() and any(path.glob("frame-*.pose.txt")) and any(path.glob("frame-*.color.*"))


SEVEN_SCENES = Reader("7-Scenes or BundleFusion frames", _matches, open_seven_scenes)
