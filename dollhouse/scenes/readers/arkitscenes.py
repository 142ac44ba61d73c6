"""Reader of ARKitScenes: the low-resolution stream with LiDAR depth, and the annotated boxes; z up."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.geometry import invert_rigid
from dollhouse.scenes.readers import captures
from dollhouse.scenes.readers.reader import list_photos
from dollhouse.scenes.scene import Box, View

_FILES = "lowres_wide* lowres_depth confidence *_frames *_3dod_annotation.json"


def _collect(capture: captures.Capture) -> None:
    """Collect images with the poses nearest in time; the trajectory stores camera-from-world, axis times angle."""
    root = _find(capture.path) or capture.path
    times, rows = capture.read_trajectory(root / "lowres_wide.traj", 7)
    for image in list_photos(root / "lowres_wide"):
        with capture.collect(image):
            index = captures.nearest(times, float(image.stem.rpartition("_")[2]))
            pose = None if index is None else invert_rigid(captures.rigid(rows[index][1:4], rows[index][4:]))
            capture.add(image.stem, pose, partial(_open_view, root, image))
    scan = root.resolve().name.removesuffix("_frames")  # other scans may have theirs in the folder above
    annotations = [root.parent / f"{scan}_3dod_annotation.json", *capture.path.glob("*_3dod_annotation.json")]
    if annotation := next(filter(Path.is_file, annotations), None):
        capture.boxes = []
        with capture.collect(annotation):
            for entry in captures.read_json(annotation)["data"]:
                with capture.collect(f"{annotation}: {entry.get('uid')}"):
                    capture.boxes.append(_box(len(capture.boxes) + 1, entry))


def _open_view(root: Path, image: Path) -> View:
    folder, (name, _, time) = root / "lowres_wide_intrinsics", image.stem.rpartition("_")
    # Times in names are rounded to milliseconds, each kind of file by itself.
    files = (folder / f"{name}_{float(time) + shift:.3f}.pincam" for shift in (0.0, 0.001, -0.001))
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise SceneError(f"{image}: has no intrinsics in {folder}")
    width, height, fx, fy, cx, cy = captures.read_numbers(file)
    camera = captures.Camera((fx, fy, cx, cy), (int(width), int(height)))
    depth, confidence = root / "lowres_depth" / image.name, root / "confidence" / image.name
    return captures.file_view(image, camera, depth, confidence=confidence)


def _box(id: int, entry: Any) -> Box:
    """Build an upright box from an annotated one, whose rows of ``normalizedAxes`` are its axes in the world."""
    bounds = entry["segments"]["obbAligned"]
    axes, center = np.reshape(bounds["normalizedAxes"], (3, 3)).astype(float), np.reshape(bounds["centroid"], 3)
    upright = int(np.abs(axes[:, 2]).argmax())
    first, second = (axis for axis in range(3) if axis != upright)
    size = np.reshape(bounds["axesLengths"], 3).astype(float)[[first, second, upright]]
    if not (np.isfinite([*axes, center]).all() and (size > 0).all()):
        raise ValueError("its box is not finite or has no size")
    label = str(entry["label"]).replace("_", " ").strip().lower()
    return Box(id, label, center.astype(float), size, float(np.arctan2(axes[first, 1], axes[first, 0])))


def _find(path: Path) -> Path | None:
    folders = (path, path / f"{path.resolve().name}_frames")
    return next((f for f in folders if (f / "lowres_wide").is_dir() and (f / "lowres_wide.traj").is_file()), None)


ARKITSCENES = captures.capture_reader("an ARKitScenes scan", lambda path: _find(path) is not None, _collect, _FILES)
