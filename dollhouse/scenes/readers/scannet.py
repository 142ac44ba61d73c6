"""Reader of ScanNet's exported layout: ``color/``, ``pose/``, ``intrinsic/`` and optionally ``depth/``.

The layout is that of ScanNet's SensReader; other data sets are often converted to it. ``<scene>.txt`` (sizes, axis
alignment) and the annotation files (:mod:`dollhouse.scenes.readers.scannet_boxes`) are read where they exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, is_rigid
from dollhouse.scenes.images import depth_size, image_size, read_depth, read_image
from dollhouse.scenes.readers.reader import FaultLog, Reader, describe_unused, list_photos, read_text
from dollhouse.scenes.readers.scannet_boxes import AGGREGATION, MESH, SEGMENTS, read_boxes
from dollhouse.scenes.scene import Scene, View, spaced_indices

_FILES = (".txt", MESH, SEGMENTS, AGGREGATION)
_FOLDERS = ("color", "depth", "pose", "intrinsic")
_DECODED_FRAMES = 300  #: frames of a longer choice are checked when they are read
Size = tuple[int, int]  #: width, height


@dataclass(frozen=True)
class _Stream:
    """Properties shared by all colour images, or all depth maps, of a scan."""

    intrinsics: Array
    size: Size
    size_source: str  #: the file that gives the size, for messages


def open_scannet(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open the exported frames of one scan as a posed, metric scene, in numeric order.

    Poses and boxes are in the aligned frame (z up) where ``<scene>.txt`` has an ``axisAlignment``. Frames whose pose is
    not finite (lost tracking) are left out and counted in ``metadata["frames_skipped"]``. Takes at most ``frames`` of
    the others, evenly spaced. ``skip_bad`` decodes every chosen frame (of up to 300), leaves out those with a broken
    image, depth map or pose, and annotated objects with faults, and lists the faults in ``metadata["skipped"]``;
    otherwise only headers are checked here. Raises SceneError, naming the file: missing or malformed intrinsics, a
    pose that is not rigid, an image or depth map of another size than the scan's, broken annotation.
    """
    name = path.resolve().name
    parameters = _read_parameters(path, name)
    alignment = _axis_alignment(parameters)
    images = list_photos(path / "color")
    if not images:
        raise SceneError(f"{path / 'color'}: contains no images")

    log = FaultLog(skip_bad, "frames")
    tracked: list[tuple[Path, Array]] = []
    lost = 0
    for image in images:
        with log.collect():
            pose_path = path / "pose" / f"{image.stem}.txt"
            pose = _read_matrix(pose_path)
            if not np.isfinite(pose).all():  # tracking was lost
                lost += 1
            elif not is_rigid(pose):
                fault = "is not a rigid pose (a rotation without scale or mirror, and a translation)"
                raise SceneError(f"{pose_path}: {fault}")
            else:
                tracked.append((image, pose))
    if not tracked:
        raise SceneError(f"{path}: none of its {len(images)} frames has a usable pose")

    chosen = [tracked[index] for index in spaced_indices(len(tracked), frames)]
    first = chosen[0][0]
    colour, depth = _stream(path, "color", parameters, first), None
    if list_photos(path / "depth"):
        depth = _stream(path, "depth", parameters, path / "depth" / f"{first.stem}.png", shared=colour)
    views: list[View] = []
    for image, pose in chosen:
        with log.collect():
            view = _open_view(path, image, alignment @ pose, colour, depth)
            if skip_bad and len(chosen) <= _DECODED_FRAMES:  # only decoding finds every broken frame
                _ = view.image, view.depth
            views.append(view)
    if not views:
        raise SceneError(f"{path}: none of its frames can be used; the first fault: {log.faults[0]}")
    boxes = None
    objects = FaultLog(skip_bad, "objects")
    with objects.collect():
        boxes = read_boxes(path, alignment, objects)
    metadata: dict[str, Any] = {"source": str(path), "frames_skipped": lost, "skipped": (*log.faults, *objects.faults)}
    metadata |= {"axis_aligned": "axisAlignment" in parameters, "world_from_source": alignment.tolist()}
    used = [file for file in path.iterdir() if file.name in _FOLDERS or file.name.endswith(_FILES)]
    metadata["unused"] = describe_unused(path, used)
    return Scene(name, tuple(views), boxes=boxes, metadata=metadata)


def _open_view(folder: Path, image: Path, world_from_camera: Array, colour: _Stream, depth: _Stream | None) -> View:
    _check_size(image, image_size(image), colour)
    open_depth = None
    if depth is not None:
        depth_path = folder / "depth" / f"{image.stem}.png"
        _check_size(depth_path, depth_size(depth_path), depth)
        open_depth = partial(read_depth, depth_path)
    return View(
        name=image.stem,
        open_image=partial(read_image, image),
        intrinsics=colour.intrinsics,
        world_from_camera=world_from_camera,
        open_depth=open_depth,
        depth_intrinsics=depth.intrinsics if depth else None,
    )


def _check_size(path: Path, size: Size, stream: _Stream) -> None:
    if size != stream.size:
        width, height = stream.size
        raise SceneError(f"{path}: is {size[0]}x{size[1]} pixels, but {stream.size_source} says {width}x{height}")


def _stream(folder: Path, kind: str, parameters: dict[str, str], first: Path, shared: _Stream | None = None) -> _Stream:
    """Read size and intrinsics of "color" or "depth" images; those of ``shared`` serve where none exist."""
    declared = parameters.get(f"{kind}Width"), parameters.get(f"{kind}Height")
    if None in declared:
        size, source = (depth_size if kind == "depth" else image_size)(first), first.name
    else:
        width, height = map(str, declared)
        if not (width.isdecimal() and height.isdecimal()):
            fault = f"{kind}Width and {kind}Height must be whole numbers, not {width!r} and {height!r}"
            raise SceneError(f"{parameters['']}: {fault}")
        size, source = (int(width), int(height)), Path(parameters[""]).name
    path = folder / "intrinsic" / f"intrinsic_{kind}.txt"
    if shared is not None and not path.exists() and size == shared.size:
        return _Stream(shared.intrinsics, size, source)
    return _Stream(_read_intrinsics(path, size, source), size, source)


def _read_intrinsics(path: Path, size: Size, size_source: str) -> Array:
    """Read intrinsics (3, 3) in our pixel convention and check them against the size of the images."""
    matrix = _read_matrix(path)
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise SceneError(f"{path}: is not a camera matrix (focal lengths must be positive numbers)")
    # ScanNet counts from the centre of the top left pixel (mx_depth = 319.5 of 640); we count from its corner.
    intrinsics = matrix[:3, :3] + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    x, y = intrinsics[0, 2] / size[0], intrinsics[1, 2] / size[1]
    if not (0.25 < x < 0.75 and 0.25 < y < 0.75):
        raise SceneError(
            f"{path}: its principal point ({matrix[0, 2]:g}, {matrix[1, 2]:g}) is not near the middle of "
            f"{size[0]}x{size[1]} pixels ({size_source}); images and intrinsics must have the same scale"
        )
    return intrinsics


def _read_matrix(path: Path) -> Array:
    if not path.is_file():
        raise SceneError(f"{path}: is missing")
    return _parse_matrix(read_text(path), f"{path}: should hold a 4x4 matrix")


def _parse_matrix(text: str, fault: str) -> Array:
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError as error:
        raise SceneError(f"{fault} ({error})") from error
    if len(numbers) != 16:
        raise SceneError(f"{fault}, but holds {len(numbers)} numbers")
    return np.array(numbers).reshape(4, 4)


def _read_parameters(folder: Path, name: str) -> dict[str, str]:
    """Read the ``key = value`` lines of ``<scene>.txt``, {} where it does not exist; the key "" holds its path.

    In a renamed folder the file is recognised by a ``colorWidth`` or ``axisAlignment`` line.
    """
    candidates = [folder / f"{name}.txt"] if (folder / f"{name}.txt").is_file() else sorted(folder.glob("*.txt"))
    for path in candidates:
        lines = [line.partition("=") for line in read_text(path).split("\n") if "=" in line]
        parameters = {key.strip(): value.strip() for key, _, value in lines}
        if len(candidates) == 1 or "colorWidth" in parameters or "axisAlignment" in parameters:
            return {**parameters, "": str(path)}
    return {}


def _axis_alignment(parameters: dict[str, str]) -> Array:
    if "axisAlignment" not in parameters:
        return np.eye(4)
    alignment = _parse_matrix(parameters["axisAlignment"], f"{parameters['']}: axisAlignment should be a 4x4 matrix")
    if not is_rigid(alignment):
        raise SceneError(f"{parameters['']}: axisAlignment is not a rotation with a translation")
    return alignment


def _matches(path: Path) -> bool:
    return (path / "color").is_dir() and ((path / "pose").is_dir() or (path / "intrinsic").is_dir())


def _diagnose(path: Path) -> str | None:
    if path.is_file():
        advice = ".sens streams are not read; export the frames with ScanNet's SensReader and give that folder"
        return f"{path}: {advice}" if path.suffix.lower() == ".sens" else None
    if any(file.suffix.lower() == ".sens" for file in path.iterdir()):
        return f"{path}: holds a .sens stream but no exported frames; export them with ScanNet's SensReader"
    if (path / "color").is_dir():
        return f"{path}: has color/ but neither pose/ nor intrinsic/; give {path / 'color'} to read it as plain photos"
    return None


SCANNET = Reader("ScanNet's exported layout (color/, pose/, intrinsic/)", _matches, open_scannet, _diagnose)
