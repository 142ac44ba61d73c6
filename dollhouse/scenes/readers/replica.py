"""Reader of Replica as NICE-SLAM renders it: ``results/`` and ``traj.txt``; depth / 6553.5 m."""

from __future__ import annotations

from pathlib import Path

from dollhouse.scenes.readers import captures
from dollhouse.scenes.readers.reader import list_photos


def _collect(capture: captures.Capture) -> None:
    """Collect frames; ``cam_params.json`` here or in the parent folder replaces the usual camera."""
    path = capture.path
    values = {"w": 1200, "h": 680, "fx": 600.0, "fy": 600.0, "cx": 599.5, "cy": 339.5, "scale": 6553.5}
    for file in (path.parent / "cam_params.json", path / "cam_params.json"):
        if file.is_file():
            values |= captures.read_json(file)["camera"]
    camera = captures.Camera(captures.named_lens(values, shift=0.5), (int(values["w"]), int(values["h"])))
    poses = captures.read_rows(path / "traj.txt")
    has_depth = any((path / "results").glob("depth*.png"))
    for number, image in enumerate(p for p in list_photos(path / "results") if p.name.startswith("frame")):
        with capture.collect(f"{path / 'traj.txt'}: {image.name}"):
            depth = image.with_name(f"depth{image.stem.removeprefix('frame')}.png") if has_depth else None
            pose = captures.as_matrix([float(word) for word in poses[number]])
            capture.add_files(image, pose, camera, depth, units=float(values["scale"]))


def _matches(path: Path) -> bool:
    return (path / "results").is_dir() and (path / "traj.txt").is_file()


REPLICA = captures.capture_reader(
    "a Replica sequence (NICE-SLAM's layout)", _matches, _collect, "results traj.txt cam_params.json"
)
