"""Scenes kept in a folder: pictures as PNG, everything else in ``scene.json``.

Any scene can be saved, made or photographed; what is read back is checked first, since a folder may come from
anywhere. Layout: ``images/0000.png`` and so on (8-bit RGB), ``depth/0000.png`` (16-bit, thousandths of the scene's
unit: millimetres where it is metric), ``instances/0000.png`` (16-bit box ids) and ``scene.json``, which holds no paths.
Knows nothing of where scenes come from.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError

from dollhouse.errors import SceneError, StorageError
from dollhouse.geometry import is_rigid
from dollhouse.scenes.images import depth_size, image_size, read_depth, read_image
from dollhouse.scenes.scene import Box, Scene, View

_UNITS_PER_METRE = 1000.0
_LARGEST = 65535  #: of a 16-bit picture

Row3 = Annotated[list[FiniteFloat], Field(min_length=3, max_length=3)]
Row4 = Annotated[list[FiniteFloat], Field(min_length=4, max_length=4)]
Matrix3 = Annotated[list[Row3], Field(min_length=3, max_length=3)]
Matrix4 = Annotated[list[Row4], Field(min_length=4, max_length=4)]
Positive3 = Annotated[list[Annotated[FiniteFloat, Field(gt=0)]], Field(min_length=3, max_length=3)]


class _Checked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _BoxEntry(_Checked):
    id: PositiveInt
    label: str = Field(min_length=1)
    center: Row3
    size: Positive3
    yaw: FiniteFloat
    has_front: bool = False
    colour: str | None = None
    score: FiniteFloat | None = None


class _ViewEntry(_Checked):
    name: str
    intrinsics: Matrix3 | None = None
    world_from_camera: Matrix4 | None = None
    depth: bool = False
    depth_intrinsics: Matrix3 | None = None
    instances: bool = False


class _SceneEntry(_Checked):
    format: Literal["dollhouse scene 1"]
    name: str
    metric: bool = True
    metadata: dict[str, Any] = {}
    views: list[_ViewEntry] = Field(min_length=1)
    boxes: list[_BoxEntry] | None = None


def save_scene(scene: Scene, folder: str | Path) -> Path:
    """Write ``scene`` to ``folder``, which must not exist yet; returns it. Depth is rounded to millimetres.

    The folder appears whole or not at all. Raises SceneError where the folder is there already or the scene cannot
    be kept in this form, and StorageError where it cannot be written.
    """
    folder = Path(folder)
    if folder.exists():
        raise SceneError(f"{folder}: is there already; choose another folder for the scene, or delete it")
    # A plain dict first: what cannot be written as JSON is found before anything is on disk.
    text = _to_json(scene, folder)
    unfinished: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        for index, view in enumerate(scene.views):
            _save_pictures(view, unfinished, index)
        (unfinished / "scene.json").write_text(text, encoding="utf-8")
        unfinished.chmod(0o755)  # mkdtemp's folders are closed to others
        unfinished.rename(folder)
        unfinished = None
    except OSError as error:
        raise StorageError(f"{folder}: the scene could not be written ({error.strerror or error})") from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def open_saved(folder: str | Path) -> Scene:
    """The scene that :func:`save_scene` wrote to ``folder``; pictures are opened when looked at.

    Raises SceneError where ``scene.json`` or a picture is missing, broken, or does not fit the rest.
    """
    folder = Path(folder)
    entry = _read_entry(folder)
    views = tuple(_open_view(folder, index, view) for index, view in enumerate(entry.views))
    boxes = None if entry.boxes is None else tuple(_open_box(box) for box in entry.boxes)
    if boxes and len({box.id for box in boxes}) < len(boxes):
        raise SceneError(f"{folder / 'scene.json'}: two boxes have the same id")
    return Scene(entry.name, views, boxes, entry.metric, entry.metadata)


# Writing


def _to_json(scene: Scene, folder: Path) -> str:
    entry = {
        "format": "dollhouse scene 1",
        "name": scene.name,
        "metric": scene.metric,
        "metadata": dict(scene.metadata),
        "views": [_view_entry(view) for view in scene.views],
        "boxes": None if scene.boxes is None else [_box_entry(box) for box in scene.boxes],
    }
    try:
        text = json.dumps(entry, indent=1, allow_nan=False)
        _SceneEntry.model_validate_json(text)
    except (TypeError, ValueError) as error:  # pydantic's ValidationError is a ValueError
        raise SceneError(f"{scene.name}: cannot be saved to {folder} ({_first_line(error)})") from error
    return text


def _view_entry(view: View) -> Mapping[str, Any]:
    return {
        "name": view.name,
        "intrinsics": _rows(view.intrinsics),
        "world_from_camera": _rows(view.world_from_camera),
        "depth": view.open_depth is not None,
        "depth_intrinsics": _rows(view.depth_intrinsics),
        "instances": view.open_instances is not None,
    }


def _box_entry(box: Box) -> Mapping[str, Any]:
    return {
        "id": box.id,
        "label": box.label,
        "center": np.asarray(box.center, dtype=float).tolist(),
        "size": np.asarray(box.size, dtype=float).tolist(),
        "yaw": float(box.yaw),
        "has_front": box.has_front,
        "colour": box.colour,
        "score": box.score,
    }


def _rows(matrix: NDArray[np.floating] | None) -> list[list[float]] | None:
    return None if matrix is None else np.asarray(matrix, dtype=float).tolist()


def _save_pictures(view: View, folder: Path, index: int) -> None:
    Image.fromarray(view.image).save(_picture(folder, "images", index, make=True))
    depth, instances = view.depth, view.instances
    if depth is not None:
        # Beyond what 16 bits hold (65 m), or not a number: unknown.
        units = np.nan_to_num(depth.astype(np.float64) * _UNITS_PER_METRE, nan=0.0, posinf=0.0, neginf=0.0).round()
        units[(units < 0) | (units > _LARGEST)] = 0
        Image.fromarray(units.astype(np.uint16)).save(_picture(folder, "depth", index, make=True))
    if instances is not None:
        if instances.min(initial=0) < 0 or instances.max(initial=0) > _LARGEST:
            raise SceneError(f"view {view.name}: box ids must lie between 0 and {_LARGEST} to be saved")
        Image.fromarray(instances.astype(np.uint16)).save(_picture(folder, "instances", index, make=True))


def _picture(folder: Path, sort: str, index: int, *, make: bool = False) -> Path:
    if make:
        (folder / sort).mkdir(exist_ok=True)
    return folder / sort / f"{index:04d}.png"


# Reading


def _read_entry(folder: Path) -> _SceneEntry:
    path = folder / "scene.json"
    try:
        return _SceneEntry.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SceneError(f"{path}: cannot be read ({error.strerror}); a saved scene has this file") from error
    except ValidationError as error:
        raise SceneError(f"{path}: is not a saved scene ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
    return str(error).splitlines()[0]


def _open_view(folder: Path, index: int, entry: _ViewEntry) -> View:
    where = f"{folder / 'scene.json'}: view {index} ({entry.name})"
    pose = None if entry.world_from_camera is None else np.array(entry.world_from_camera)
    if pose is not None and not is_rigid(pose):
        raise SceneError(f"{where}: its pose is not a rotation with a translation")
    for matrix in (entry.intrinsics, entry.depth_intrinsics):
        if matrix is not None and (matrix[0][0] <= 0 or matrix[1][1] <= 0 or matrix[2] != [0, 0, 1]):
            raise SceneError(f"{where}: its intrinsics are not those of a camera")
    image, depth, instances = (_picture(folder, sort, index) for sort in ("images", "depth", "instances"))
    size = image_size(image)
    if entry.depth and depth_size(depth) != size and entry.depth_intrinsics is None:
        raise SceneError(f"{depth}: differs in size from the photo, and scene.json has no depth_intrinsics for it")
    if entry.instances and depth_size(instances) != size:
        raise SceneError(f"{instances}: differs in size from the photo")
    return View(
        name=entry.name,
        open_image=partial(read_image, image),
        intrinsics=None if entry.intrinsics is None else np.array(entry.intrinsics),
        world_from_camera=pose,
        open_depth=partial(read_depth, depth, _UNITS_PER_METRE) if entry.depth else None,
        depth_intrinsics=None if entry.depth_intrinsics is None else np.array(entry.depth_intrinsics),
        open_instances=partial(_read_ids, instances) if entry.instances else None,
    )


def _read_ids(path: Path) -> NDArray[np.int32]:
    return read_depth(path, 1.0).astype(np.int32)  # the same 16-bit grey picture, in whole numbers


def _open_box(entry: _BoxEntry) -> Box:
    return Box(
        entry.id,
        entry.label,
        np.array(entry.center),
        np.array(entry.size),
        entry.yaw,
        entry.has_front,
        entry.colour,
        entry.score,
    )
