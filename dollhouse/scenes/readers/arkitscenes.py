"""Reader of ARKitScenes: the low-resolution stream with LiDAR depth, and the annotated boxes; z up."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.geometry import invert_rigid
from dollhouse.scenes.readers.captures import (
    Camera,
    Capture,
    file_view,
    nearest,
    numbers,
    pinhole,
    read_json,
    read_rows,
    rigid,
)
from dollhouse.scenes.readers.reader import Reader, list_photos
from dollhouse.scenes.scene import Box, Scene, View


def open_arkitscenes(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open ``lowres_wide/`` with the poses nearest in time; the trajectory stores camera-from-world."""
    root = _find(path) or path
    capture = Capture(path, skip_bad=skip_bad, frames=frames)
    times, trajectory = capture.read_trajectory(root / "lowres_wide.traj", 7)
    has_depth = (root / "lowres_depth").is_dir()
    for image in list_photos(root / "lowres_wide"):
        with capture.collect(image):
            if (index := nearest(times, float(image.stem.rpartition("_")[2]))) is None:
                capture.lost += 1
                continue
            pose = invert_rigid(rigid(trajectory[index][1:4], trajectory[index][4:]))
            capture.add(image.stem, pose, partial(_open_view, root, image, has_depth))
    boxes: list[Box] | None = None
    for annotation in (file for folder in (path, root.parent) for file in folder.glob("*_3dod_annotation.json")):
        boxes = []
        with capture.collect(annotation):
            for entry in read_json(annotation)["data"]:
                with capture.collect(f"{annotation}: {entry.get('uid')}"):
                    boxes.append(_box(len(boxes) + 1, entry))
        break
    return capture.scene(None if boxes is None else tuple(boxes))


def _open_view(root: Path, image: Path, has_depth: bool) -> View:
    folder, (name, _, time) = root / "lowres_wide_intrinsics", image.stem.rpartition("_")
    # Times in names are rounded to milliseconds, each kind of file by itself.
    files = (folder / f"{name}_{float(time) + shift:.3f}.pincam" for shift in (0.0, 0.001, -0.001))
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise SceneError(f"{image}: has no intrinsics in {folder}")
    width, height, fx, fy, cx, cy = numbers(read_rows(file)[0])
    camera = Camera(pinhole(fx, fy, cx, cy), (int(width), int(height)))
    confidence = root / "confidence" / image.name
    return file_view(image, camera, root / "lowres_depth" / image.name if has_depth else None, confidence=confidence)


def _box(id: int, entry: Any) -> Box:
    """Build an upright box from an annotated one, whose rows of ``normalizedAxes`` are its axes in the world."""
    bounds = entry["segments"]["obbAligned"]
    axes, lengths = (
        np.array(bounds["normalizedAxes"], dtype=float).reshape(3, 3),
        np.array(bounds["axesLengths"], float),
    )
    center = np.array(bounds["centroid"], dtype=float).reshape(3)
    upright = int(np.abs(axes[:, 2]).argmax())
    first, second = (axis for axis in range(3) if axis != upright)
    size = lengths.reshape(3)[[first, second, upright]]
    if not (np.isfinite(center).all() and np.isfinite(axes).all() and (size > 0).all()):
        raise ValueError("its box is not finite or has no size")
    yaw = float(np.arctan2(axes[first, 1], axes[first, 0]))
    return Box(id, str(entry["label"]).replace("_", " ").strip().lower(), center, size, yaw)


def _find(path: Path) -> Path | None:
    folders = [path, path / f"{path.resolve().name}_frames"] if path.is_dir() else []
    return next((f for f in folders if (f / "lowres_wide").is_dir() and (f / "lowres_wide.traj").is_file()), None)


ARKITSCENES = Reader("an ARKitScenes scan", lambda path: _find(path) is not None, open_arkitscenes)
