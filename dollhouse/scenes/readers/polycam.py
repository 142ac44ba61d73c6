"""Reader of Polycam's raw export: ``keyframes/`` with images, cameras and depth; ARKit axes, y up."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dollhouse.scenes.readers.captures import (
    OPENCV_FROM_OPENGL,
    Y_UP,
    Camera,
    Capture,
    as_matrix,
    file_view,
    pinhole,
    read_json,
)
from dollhouse.scenes.readers.reader import Reader, list_photos
from dollhouse.scenes.scene import Scene


def open_polycam(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open the keyframes, the corrected ones where Polycam optimised the poses; depth of confidence 0 is unknown."""
    root = path if (path / "cameras").is_dir() else path / "keyframes"
    prefix = "corrected_" if (root / "corrected_cameras").is_dir() and list_photos(root / "corrected_images") else ""
    depth_maps = {depth.stem: depth for depth in list_photos(root / "depth")}
    capture = Capture(path, skip_bad=skip_bad, frames=frames, up=Y_UP)
    for image in list_photos(root / f"{prefix}images"):
        file = root / f"{prefix}cameras" / f"{image.stem}.json"
        with capture.collect(file):
            values = read_json(file)
            pose = as_matrix([values[f"t_{row}{column}"] for row in range(3) for column in range(4)])
            intrinsics = pinhole(*(float(values[key]) for key in ("fx", "fy", "cx", "cy")))
            camera = Camera(intrinsics, (int(values["width"]), int(values["height"])))
            depth = depth_maps.get(image.stem, root / "depth" / f"{image.stem}.png") if depth_maps else None
            confidence = root / "confidence" / f"{image.stem}.png"
            open_view = partial(file_view, image, camera, depth, confidence=confidence)
            capture.add(image.stem, pose @ OPENCV_FROM_OPENGL, open_view)
    return capture.scene()


def _matches(path: Path) -> bool:
    return any(
        (path / folder / "cameras").is_dir() and (path / folder / "images").is_dir() for folder in ("", "keyframes")
    )


POLYCAM = Reader("Polycam's raw export", _matches, open_polycam)
