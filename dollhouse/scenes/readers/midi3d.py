"""Reader of MIDI-3D's renders of 3D-FRONT rooms, and of its example pairs of image and instance map."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from math import tan
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError, SeveralScenesError
from dollhouse.scenes.images import image_size, read_ids, read_image
from dollhouse.scenes.readers import captures
from dollhouse.scenes.readers.front3d import LICENCE, UUID
from dollhouse.scenes.readers.reader import Reader, natural_key
from dollhouse.scenes.scene import Scene, View

_FILES: Final = "meta.json render_*.webp depth_*.exr semantic_*.png"
_PAIR: Final = re.compile(UUID + r"_\w+-\d+_rgb\.png")
_UNKNOWN: Final = 1e4  #: metres from which depth is a sentinel
_DEPTH_CHANNELS: Final = ("Z", "V", "Y", "R")


def open_midi3d(path: Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open a room folder ``<house>/<room>/``, or one ``<house>_<room>_rgb.png`` with its ``_seg.png``.

    A room has poses, depth and instance maps; a pair has an image and an instance map. Neither has boxes, so that
    instance ids are in no box. Raises SceneError.
    """
    if path.is_file():
        return _open_pair(path)
    if not (path / "meta.json").is_file():
        scenes = _list_scenes(path)
        if len(scenes) > 1:
            raise SeveralScenesError(f"{path}: holds {len(scenes)} scenes ({scenes[0]}, ...); give one of them")
        return open_midi3d(scenes[0], skip_bad=skip_bad, frames=frames)
    capture = captures.Capture(path, captures.Z_UP, _FILES)
    with capture.collect(path):
        _collect(capture)
    scene = capture.scene(skip_bad, frames)
    name = f"{path.resolve().parent.name}/{path.resolve().name}"
    return replace(scene, name=name, metadata={**scene.metadata, "licence": LICENCE})


def _collect(capture: captures.Capture) -> None:
    path = capture.path
    meta = captures.read_json(path / "meta.json")
    angle = float(meta["camera_angle_x"])
    if not 0.01 < angle < 3.1:
        raise ValueError(f"camera_angle_x is {angle:g}")
    has_exr = find_spec("OpenEXR") is not None
    if not has_exr and next(path.glob("depth_*.exr"), None):
        capture.log.faults.append(f"{path}: its depth (pip install 'dollhouse[exr]' reads it)")
    for location in meta["locations"]:
        with capture.collect(f"{path / 'meta.json'}: {location.get('index')}"):
            names = {frame["type"]: str(frame["name"]) for frame in location["frames"]}
            index = str(location["index"])
            image = path / names.get("render", f"render_{index}.webp")
            depth = path / names.get("depth", f"depth_{index}.exr") if has_exr else None
            instances = path / names.get("semantic", f"semantic_{index}.png")
            if any(file is not None and file.parent != path for file in (image, depth, instances)):
                raise ValueError("a frame's name is no plain file name")
            pose = captures.as_matrix(location["transform_matrix"]) @ captures.OPENCV_FROM_OPENGL
            capture.add(image.stem, pose, partial(_open_view, angle, image, depth, instances))


def _open_view(angle: float, image: Path, depth: Path | None, instances: Path) -> View:
    width, height = image_size(image)
    focal = 0.5 * width / tan(0.5 * angle)
    camera = captures.Camera((focal, focal, 0.5 * width, 0.5 * height), (width, height))
    view = captures.file_view(image, camera)
    if depth is not None and depth.is_file():
        view = replace(view, open_depth=partial(_read_exr_depth, depth, (height, width)))
    if instances.is_file():
        view = replace(view, open_instances=partial(_read_instances, instances, (height, width)))
    return view


def _read_exr_depth(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Read z-depth (H, W) in metres, 0 where unknown; the size is checked before anything is decoded."""
    import OpenEXR

    try:
        low, high = OpenEXR.File(str(path), header_only=True).header()["dataWindow"]
        size = tuple(int(side) for side in (np.asarray(high) - low + 1)[::-1])
        if size != shape:
            raise SceneError(f"{path}: its {size[1]}x{size[0]} pixels are not those of the image")
        channels: dict[str, Any] = OpenEXR.File(str(path), separate_channels=True).channels()
        name = next(name for name in _DEPTH_CHANNELS if name in channels)
        depth = np.asarray(channels[name].pixels, dtype=np.float32).reshape(shape)
    except (RuntimeError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise SceneError(f"{path}: is not an EXR depth map that can be read ({error})") from error
    return np.where((depth > 0) & (depth < _UNKNOWN), depth, np.float32(0.0))  # NaN and infinity are unknown as well


def _read_instances(path: Path, shape: tuple[int, int]) -> NDArray[np.int32]:
    instances = read_ids(path)
    if instances.shape != shape:
        raise SceneError(f"{path}: its {instances.shape[1]}x{instances.shape[0]} pixels are not those of the image")
    return instances


def _open_pair(image: Path) -> Scene:
    width, height = image_size(image)
    instances = image.with_name(image.name.replace("_rgb.png", "_seg.png"))
    view = View(
        image.name, partial(read_image, image), open_instances=partial(_read_instances, instances, (height, width))
    )
    _ = view.instances  # checked now
    metadata = {"source": str(image), "licence": LICENCE, "scale": "relative"}
    return Scene(image.name.removesuffix("_rgb.png"), (view,), metric=False, metadata=metadata)


def _is_pair(path: Path) -> bool:
    return bool(_PAIR.fullmatch(path.name)) and path.with_name(path.name.replace("_rgb.png", "_seg.png")).is_file()


def _list_scenes(path: Path) -> list[Path]:
    """List the rooms ``<house>/<room>/`` or the pairs in a folder; a room and a pair are scenes themselves."""
    if path.is_file() or (path / "meta.json").is_file():
        return [path]
    rooms = [meta.parent for meta in path.glob(f"{UUID}/*/meta.json")]
    scenes = rooms or [image for image in path.glob("*_rgb.png") if _is_pair(image)]
    return sorted(scenes, key=lambda scene: natural_key(str(scene)))


def _matches(path: Path) -> bool:
    if path.is_file():
        return _is_pair(path)
    if (path / "meta.json").is_file():
        return next(path.glob("render_*.webp"), None) is not None
    return path.is_dir() and bool(_list_scenes(path))


MIDI3D = Reader("MIDI-3D's renders of 3D-FRONT", _matches, open_midi3d, list_scenes=_list_scenes)
