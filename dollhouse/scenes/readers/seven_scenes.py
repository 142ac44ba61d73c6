"""Reader of 7-Scenes, 12-Scenes, BundleFusion and ScanNet's C++ export: ``frame-000000.color.*`` and so on."""

from __future__ import annotations

from pathlib import Path

from dollhouse.scenes.readers import captures
from dollhouse.scenes.readers.reader import list_photos, read_text


def _collect(capture: captures.Capture) -> None:
    """Collect frames; intrinsics and depth scale come from ``info.txt`` where it exists (BundleFusion)."""
    path = capture.path
    camera, units = captures.Camera((585.0, 585.0, 320.0, 240.0), (640, 480)), 1000.0  # 7-Scenes' Kinect
    files = (path / "info.txt", path / "_info.txt", path.parent / "info.txt")
    if info := next((file for file in files if file.is_file()), None):
        pairs = (line.partition("=") for line in read_text(info).splitlines())
        values = {key.strip(): value.strip() for key, _, value in pairs}
        matrix = captures.as_matrix([float(word) for word in values["m_calibrationColorIntrinsic"].split()])
        camera = captures.Camera(matrix[captures.LENS], (int(values["m_colorWidth"]), int(values["m_colorHeight"])))
        units = float(values.get("m_depthShift", units))
    has_depth = any(path.glob("frame-*.depth.png"))
    for image in list_photos(path):
        name, _, kind = image.stem.partition(".")
        if kind == "color":
            with capture.collect(image):
                depth = path / f"{name}.depth.png" if has_depth else None
                pose = captures.as_matrix(captures.read_numbers(path / f"{name}.pose.txt"))
                capture.add_files(image, pose, camera, depth, units=units)


def _matches(path: Path) -> bool:
    return any(path.glob("frame-*.pose.txt")) and any(path.glob("frame-*.color.*"))


SEVEN_SCENES = captures.capture_reader(
    "7-Scenes or BundleFusion frames", _matches, _collect, "frame-*.* info.txt _info.txt", up=None
)
