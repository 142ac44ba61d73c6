"""Reader of 7-Scenes, BundleFusion, 3RScan and ScanNet's C++ export: ``frame-000000.color.*`` and so on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dollhouse.scenes.readers import captures
from dollhouse.scenes.readers.reader import list_photos, read_text


def _collect(capture: captures.Capture) -> None:
    """Collect frames; intrinsics and depth scale come from ``info.txt`` where it exists (BundleFusion)."""
    path = capture.path / "sequence" if (capture.path / "sequence").is_dir() else capture.path  # 3RScan
    depth_camera = None
    camera, units = captures.Camera((585.0, 585.0, 320.0, 240.0), (640, 480)), 1000.0  # 7-Scenes' Kinect
    files = (path / "info.txt", path / "_info.txt", path.parent / "info.txt")
    if info := next((file for file in files if file.is_file()), None):
        pairs = (line.partition("=") for line in read_text(info).splitlines())
        values = {key.strip(): value.strip() for key, _, value in pairs}
        camera = _camera(values, "Color")
        depth_camera = _camera(values, "Depth") if "m_calibrationDepthIntrinsic" in values else None
        units = float(values.get("m_depthShift", units))
    depth_suffix = next((suffix for suffix in (".png", ".pgm") if any(path.glob(f"frame-*.depth{suffix}"))), None)
    for image in list_photos(path):
        name, _, kind = image.stem.partition(".")
        if kind == "color":
            with capture.collect(image):
                depth = path / f"{name}.depth{depth_suffix}" if depth_suffix else None
                pose = captures.as_matrix(captures.read_numbers(path / f"{name}.pose.txt"))
                capture.add_files(image, pose, camera, depth, units=units, depth_camera=depth_camera)


def _camera(values: Mapping[str, str], stream: str) -> captures.Camera:
    matrix = captures.as_matrix([float(word) for word in values[f"m_calibration{stream}Intrinsic"].split()])
    width, height = (int(values[f"m_{stream.lower()}{side}"]) for side in ("Width", "Height"))
    return captures.Camera(matrix[captures.LENS], (width, height))


def _matches(path: Path) -> bool:
    folders = (path, path / "sequence")
    return any(any(f.glob("frame-*.pose.txt")) and any(f.glob("frame-*.color.*")) for f in folders)


SEVEN_SCENES = captures.capture_reader(
    "7-Scenes, BundleFusion or 3RScan frames", _matches, _collect, "frame-*.* info.txt _info.txt sequence", up=None
)
