"""Reader of Replica as NICE-SLAM renders it: ``results/`` and ``traj.txt``; depth / 6553.5 m."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dollhouse.scenes.readers.captures import (
    Camera,
    Capture,
    as_matrix,
    centred_pinhole,
    file_view,
    numbers,
    read_json,
    read_rows,
)
from dollhouse.scenes.readers.reader import Reader, list_photos
from dollhouse.scenes.scene import Scene


def open_replica(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open the rendered frames; ``cam_params.json`` here or in the parent folder replaces the usual camera."""
    capture = Capture(path, skip_bad=skip_bad, frames=frames)
    camera, units = Camera(centred_pinhole(600.0, 600.0, 599.5, 339.5), (1200, 680)), 6553.5
    files = (folder / "cam_params.json" for folder in (path, path.parent))
    if file := next((file for file in files if file.is_file()), None):
        with capture.collect(file):
            values = read_json(file)["camera"]
            intrinsics = centred_pinhole(*(float(values[key]) for key in ("fx", "fy", "cx", "cy")))
            camera, units = Camera(intrinsics, (int(values["w"]), int(values["h"]))), float(values["scale"])
    photos = list_photos(path / "results")
    images = [photo for photo in photos if photo.name.startswith("frame")]
    has_depth = any(photo.name.startswith("depth") for photo in photos)
    poses = read_rows(path / "traj.txt")
    for number, image in enumerate(images):
        with capture.collect(f"{path / 'traj.txt'}: {image.name}"):
            depth = image.with_name(f"{image.stem.replace('frame', 'depth')}.png") if has_depth else None
            open_view = partial(file_view, image, camera, depth, units=units)
            capture.add(image.stem, as_matrix(numbers(poses[number])), open_view)
    return capture.scene()


def _matches(path: Path) -> bool:
    return (path / "results").is_dir() and (path / "traj.txt").is_file()


REPLICA = Reader("a Replica sequence (NICE-SLAM's layout)", _matches, open_replica)
