"""Writer and reader of saved scenes: a folder of PNG images and ``scene.json``.

Layout: ``images/0000.png`` (8-bit RGB), ``depth/0000.png`` (16-bit, thousandths of the scene's unit: millimetres if
metric), ``instances/0000.png`` (16-bit box ids) and ``scene.json``, which contains no paths.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dollhouse.errors import SceneError
from dollhouse.geometry import is_rigid
from dollhouse.scenes.images import depth_size, image_size, read_depth, read_ids, read_image
from dollhouse.scenes.readers.reader import Reader
from dollhouse.scenes.scene import Box, Scene, View
from dollhouse.system.atomic_io import atomic_folder
from dollhouse.system.read_files import decode_json, read_json

if TYPE_CHECKING:
    from dollhouse.scenes.readers.schemas import ViewEntry

FORMAT = "dollhouse scene 1"
_UNITS_PER_METRE = 1000.0
_MAX_UINT16 = 65535


def save_scene(scene: Scene, folder: str | Path) -> Path:
    """Write ``scene`` to a new ``folder``, whole or not at all, and return the folder; depth is rounded to mm.

    Raises SceneError where the folder exists or the format cannot store the scene, and StorageError where the folder
    cannot be written.
    """
    folder = Path(folder)
    if folder.exists():
        raise SceneError(f"{folder}: exists already; choose another folder for the scene, or delete it")
    text = _to_json(scene, folder)  # first, so that what JSON cannot hold leaves nothing on disk
    with atomic_folder(folder) as unfinished:
        for index, view in enumerate(scene.views):
            _save_images(view, unfinished, index)
        (unfinished / "scene.json").write_text(text, encoding="utf-8")
    return folder


def open_saved(path: str | Path, *, skip_bad: bool = False, frames: int | None = None) -> Scene:
    """Open a folder that :func:`save_scene` wrote; images are read on access. ``skip_bad`` has no effect.

    Raises SceneError where ``scene.json`` or an image is missing, broken or inconsistent.
    """
    from dollhouse.scenes.readers.schemas import SceneEntry, check

    json_path = Path(path) / "scene.json"
    content = read_json(json_path, SceneError, "a saved scene has this file")
    entry = check(SceneEntry, content, f"{json_path}:", "a saved scene")
    views = tuple(_open_view(json_path, index, view) for index, view in enumerate(entry.views))
    boxes = None if entry.boxes is None else tuple(Box(**vars(box)) for box in entry.boxes)
    if boxes and len({box.id for box in boxes}) < len(boxes):
        raise SceneError(f"{json_path}: two boxes have the same id")
    scene = Scene(entry.name, views, boxes, entry.metric, entry.metadata)
    return scene if frames is None else scene.sample_views(frames)


def _to_json(scene: Scene, folder: Path) -> str:
    from dollhouse.scenes.readers.schemas import SceneEntry, check

    views = [
        {name: value for name, value in vars(view).items() if not name.startswith("open_")}
        | {"depth": view.open_depth is not None, "instances": view.open_instances is not None}
        for view in scene.views
    ]
    boxes = scene.boxes and [vars(box) for box in scene.boxes]
    entry = {"format": FORMAT, **vars(scene), "metadata": dict(scene.metadata), "views": views, "boxes": boxes}
    try:
        text = json.dumps(entry, indent=1, allow_nan=False, default=_array_to_list)
    except (TypeError, ValueError) as error:
        raise SceneError(f"{scene.name}: cannot be saved to {folder} ({error})") from error
    check(SceneEntry, decode_json(text), f"{scene.name}: cannot be saved to {folder}, since it", "a saved scene")
    return text


def _array_to_list(value: object) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _save_images(view: View, folder: Path, index: int) -> None:
    images: dict[str, NDArray[Any]] = {"images": view.image}
    depth, instances = view.depth, view.instances
    if depth is not None:
        images["depth"] = to_millimetres(depth)
    if instances is not None:
        if instances.min(initial=0) < 0 or instances.max(initial=0) > _MAX_UINT16:
            raise SceneError(f"view {view.name}: box ids must lie between 0 and {_MAX_UINT16} to be saved")
        images["instances"] = instances.astype(np.uint16)
    for kind, image in images.items():
        path = _image_path(folder, kind, index)
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)


def to_millimetres(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round depth in metres to 16-bit millimetres; what these cannot hold (above 65 m, not finite) becomes 0."""
    units = np.nan_to_num(depth.astype(np.float64) * _UNITS_PER_METRE, nan=0.0, posinf=0.0, neginf=0.0).round()
    units[(units < 0) | (units > _MAX_UINT16)] = 0
    return units.astype(np.uint16)


def _image_path(folder: Path, kind: str, index: int) -> Path:
    return folder / kind / f"{index:04d}.png"


def _open_view(json_path: Path, index: int, entry: ViewEntry) -> View:
    where = f"{json_path}: view {index} ({entry.name})"
    if entry.world_from_camera is not None and not is_rigid(np.array(entry.world_from_camera)):
        raise SceneError(f"{where}: its pose is not a rotation with a translation")
    for matrix in (entry.intrinsics, entry.depth_intrinsics):
        if matrix is not None and (matrix[0][0] <= 0 or matrix[1][1] <= 0 or list(matrix[2]) != [0, 0, 1]):
            raise SceneError(f"{where}: its intrinsics are not those of a camera")
    image, depth, instances = (_image_path(json_path.parent, kind, index) for kind in ("images", "depth", "instances"))
    size = image_size(image)
    if entry.depth and depth_size(depth) != size and entry.depth_intrinsics is None:
        raise SceneError(f"{depth}: differs in size from the photo, and scene.json has no depth_intrinsics for it")
    if entry.instances and depth_size(instances) != size:
        raise SceneError(f"{instances}: differs in size from the photo")
    return View(
        **{name: value for name, value in vars(entry).items() if name not in ("depth", "instances")},
        open_image=partial(read_image, image),
        open_depth=partial(read_depth, depth, _UNITS_PER_METRE) if entry.depth else None,
        open_instances=partial(read_ids, instances) if entry.instances else None,
    )


SAVED = Reader("a saved scene (scene.json)", lambda path: (path / "scene.json").is_file(), open_saved)
