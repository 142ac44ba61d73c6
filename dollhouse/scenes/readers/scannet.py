"""Scenes in ScanNet's exported layout: ``color/``, ``pose/``, ``intrinsic/`` and, where there is one, ``depth/``.

Beside them may lie ``<scene>.txt`` (sizes, axis alignment) and ScanNet's annotation, which
:mod:`dollhouse.scenes.readers.scannet_boxes` reads. The layout is that of ScanNet's SensReader; other datasets
are often converted to it. Knows nothing of ``.sens`` streams: export them first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, is_rigid
from dollhouse.scenes.images import depth_size, image_size, read_depth, read_image
from dollhouse.scenes.readers.photos import list_photos, spread
from dollhouse.scenes.readers.scannet_boxes import read_boxes
from dollhouse.scenes.scene import Scene, View

Size = tuple[int, int]  #: width, height


@dataclass(frozen=True)
class _Stream:
    """What every colour image, or every depth map, of a scene shares."""

    intrinsics: Array
    size: Size
    told_by: str  #: who told the size, for messages


def is_scannet(folder: Path) -> bool:
    """Whether a folder looks like ScanNet's exported layout."""
    return (folder / "color").is_dir() and ((folder / "pose").is_dir() or (folder / "intrinsic").is_dir())


def open_scannet(folder: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """The exported frames of one scan as a posed, metric scene.

    Frames stand in numeric order. Those whose pose is not finite (lost tracking) are left out and counted in
    ``metadata["frames_skipped"]``; ``frames`` then thins the rest evenly. Poses and boxes are brought into the
    aligned frame (z up) where ``<scene>.txt`` has an ``axisAlignment``. With ``skip_bad``, frames with a broken
    colour image, depth map or pose are left out and told in ``metadata["skipped"]``; every chosen
    frame is decoded to find them. Otherwise headers are checked here and pixels decoded when looked at.

    Raises SceneError, naming the file: missing or malformed intrinsics, a pose that is not rigid, an image or
    depth map of another size than the scene's, broken annotation.
    """
    name = folder.resolve().name
    parameters = _read_parameters(folder, name)
    alignment = _axis_alignment(folder, name, parameters)
    images = list_photos(folder / "color")
    if not images:
        raise SceneError(f"{folder / 'color'}: holds no images")

    skipped: list[str] = []
    tracked: list[tuple[Path, Array]] = []
    lost = 0
    for image in images:
        try:
            pose = _read_pose(folder / "pose" / f"{image.stem}.txt")
        except SceneError as error:
            _skip(error, skipped, skip_bad)
            continue
        if pose is None:
            lost += 1
        else:
            tracked.append((image, pose))
    if not tracked:
        raise SceneError(f"{folder}: none of its {len(images)} frames has a usable pose")

    chosen = [tracked[index] for index in spread(len(tracked), frames)]
    colour = _colour_stream(folder, parameters, chosen[0][0])
    depth = _depth_stream(folder, parameters, colour, chosen[0][0].stem)
    views: list[View] = []
    for image, pose in chosen:
        try:
            view = _view(folder, image, alignment @ pose, colour, depth)
            if skip_bad:  # to leave out what is broken, it must be decoded now
                _ = view.image, view.depth
            views.append(view)
        except SceneError as error:
            _skip(error, skipped, skip_bad)
    if not views:
        raise SceneError(f"{folder}: none of its frames can be used; the first fault: {skipped[0]}")
    metadata = {
        "source": str(folder),
        "frames_skipped": lost,
        "skipped": tuple(skipped),
        "axis_aligned": "axisAlignment" in parameters,
    }
    return Scene(name, tuple(views), boxes=read_boxes(folder, alignment), metadata=metadata)


def _skip(error: SceneError, skipped: list[str], skip_bad: bool) -> None:
    if not skip_bad:
        raise SceneError(f"{error}; --skip-bad uses the other frames") from error
    skipped.append(str(error))


def _view(folder: Path, image: Path, world_from_camera: Array, colour: _Stream, depth: _Stream | None) -> View:
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
        raise SceneError(
            f"{path}: is {size[0]}x{size[1]} pixels, but {stream.told_by} says {stream.size[0]}x{stream.size[1]}"
        )


def _colour_stream(folder: Path, parameters: dict[str, str], first: Path) -> _Stream:
    path = folder / "intrinsic" / "intrinsic_color.txt"
    size, told_by = _told_size(parameters, "color") or (image_size(first), first.name)
    return _Stream(_checked_intrinsics(path, size, told_by), size, told_by)


def _depth_stream(folder: Path, parameters: dict[str, str], colour: _Stream, first: str) -> _Stream | None:
    """None where the scene has no depth at all."""
    first_path = folder / "depth" / f"{first}.png"
    if not (folder / "depth").is_dir() or not list_photos(folder / "depth"):
        return None
    size, told_by = _told_size(parameters, "depth") or (depth_size(first_path), first_path.name)
    path = folder / "intrinsic" / "intrinsic_depth.txt"
    if not path.exists() and size == colour.size:
        return _Stream(colour.intrinsics, size, told_by)
    return _Stream(_checked_intrinsics(path, size, told_by), size, told_by)


def _told_size(parameters: dict[str, str], kind: str) -> tuple[Size, str] | None:
    width, height = parameters.get(f"{kind}Width"), parameters.get(f"{kind}Height")
    if width is None or height is None:
        return None
    source = parameters[""]
    if not (width.isdecimal() and height.isdecimal()):
        raise SceneError(f"{source}: {kind}Width and {kind}Height must be whole numbers, not {width!r} and {height!r}")
    return (int(width), int(height)), Path(source).name


def _checked_intrinsics(path: Path, size: Size, told_by: str) -> Array:
    """Intrinsics (3, 3) in our pixel convention, proved to belong to images of this size."""
    matrix = _read_matrix(path)
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise SceneError(f"{path}: is not a camera matrix (focal lengths must be positive numbers)")
    # ScanNet counts from the centre of the top left pixel (mx_depth = 319.5 of 640); we count from its corner.
    intrinsics = matrix[:3, :3] + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    x, y = intrinsics[0, 2] / size[0], intrinsics[1, 2] / size[1]
    if not (0.25 < x < 0.75 and 0.25 < y < 0.75):
        raise SceneError(
            f"{path}: its principal point ({matrix[0, 2]:g}, {matrix[1, 2]:g}) is not near the middle of "
            f"{size[0]}x{size[1]} pixels ({told_by}); images and intrinsics must have the same scale"
        )
    return intrinsics


def _read_pose(path: Path) -> Array | None:
    """``world_from_camera``, or None where tracking was lost (the file holds inf or nan)."""
    pose = _read_matrix(path)
    if not np.isfinite(pose).all():
        return None
    if not is_rigid(pose):
        raise SceneError(f"{path}: is not a rigid pose (a rotation without scale or mirror, and a translation)")
    return pose


def _read_matrix(path: Path) -> Array:
    if not path.is_file():
        raise SceneError(f"{path}: is missing")
    return _matrix(_read_text(path).split(), f"{path}: should hold a 4x4 matrix")


def _matrix(words: list[str], complaint: str) -> Array:
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise SceneError(f"{complaint} ({error})") from error
    if len(numbers) != 16:
        raise SceneError(f"{complaint}, but holds {len(numbers)} numbers")
    return np.array(numbers).reshape(4, 4)


def _read_parameters(folder: Path, name: str) -> dict[str, str]:
    """The ``key = value`` lines of ``<scene>.txt``; empty where there is none. Key "" names the file.

    A scan whose folder was renamed keeps its alignment: the file is then known by its ``colorWidth`` line.
    """
    candidates = [folder / f"{name}.txt"] if (folder / f"{name}.txt").is_file() else sorted(folder.glob("*.txt"))
    for path in candidates:
        lines = [line.partition("=") for line in _read_text(path).splitlines() if "=" in line]
        parameters = {key.strip(): value.strip() for key, _, value in lines}
        if len(candidates) == 1 or "colorWidth" in parameters or "axisAlignment" in parameters:
            return {**parameters, "": str(path)}
    return {}


def _axis_alignment(folder: Path, name: str, parameters: dict[str, str]) -> Array:
    if "axisAlignment" not in parameters:
        return np.eye(4)
    alignment = _matrix(parameters["axisAlignment"].split(), f"{parameters['']}: axisAlignment should be a 4x4 matrix")
    if not is_rigid(alignment):
        raise SceneError(f"{parameters['']}: axisAlignment is not a rotation with a translation")
    return alignment


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SceneError(f"{path}: cannot be read as text ({error})") from error
