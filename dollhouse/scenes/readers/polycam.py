"""Reader of Polycam's raw export: ``keyframes/`` with images, cameras and depth; ARKit axes, y up."""

from __future__ import annotations

from pathlib import Path

from dollhouse.scenes.readers import captures
from dollhouse.scenes.readers.reader import list_photos

_FILES = "keyframes images cameras depth confidence corrected_* mesh_info.json thumbnail.jpg"


def _collect(capture: captures.Capture) -> None:
    """Collect the keyframes, the corrected ones where Polycam optimised the poses."""
    root = capture.path if (capture.path / "cameras").is_dir() else capture.path / "keyframes"
    prefix = "corrected_" if (root / "corrected_cameras").is_dir() and list_photos(root / "corrected_images") else ""
    for image in list_photos(root / f"{prefix}images"):
        file, name = root / f"{prefix}cameras" / f"{image.stem}.json", f"{image.stem}.png"
        with capture.collect(file):
            values = captures.read_json(file)
            pose = captures.as_matrix([values[f"t_{row}{column}"] for row in range(3) for column in range(4)])
            camera = captures.Camera(captures.named_lens(values), (int(values["width"]), int(values["height"])))
            pose = pose @ captures.OPENCV_FROM_OPENGL
            capture.add_files(image, pose, camera, root / "depth" / name, confidence=root / "confidence" / name)


def _matches(path: Path) -> bool:
    roots = (path, path / "keyframes")
    return any((root / "cameras").is_dir() and (root / "images").is_dir() for root in roots)


POLYCAM = captures.capture_reader("Polycam's raw export", _matches, _collect, _FILES, captures.Y_UP)
