"""3D-FUTURE furniture: categories as short labels, and models as coloured triangles."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.geometry import Array
from dollhouse.scenes.images import read_image
from dollhouse.scenes.readers.captures import FILE_ERRORS, read_json

_MAX_MODEL_BYTES: Final = 100_000_000  #: limit of an OBJ file
_TEXTURE_PIXELS: Final = 1 << 16  #: textures are averaged to about this size, so that a face has the mean around it
_PLAIN: Final = (0.7, 0.7, 0.7)
#: Labels of the categories, in lower case, whose last word is not the label, in the spellings of all releases.
_LABELS: Final = {
    "bar": "counter", "barstool": "stool", "bed frame": "bed", "bookcase / jewelry armoire": "bookshelf",
    "couch bed": "sofa", "drawer chest / corner cabinet": "dresser", "lazy sofa": "armchair", "lighting": "lamp",
    "plants": "plant", "sideboard / side cabinet / console table": "cabinet", "tv stand": "cabinet",
    "sideboard / side cabinet / console": "cabinet", "wine cooler": "cabinet",
}  # fmt: skip
_WITHOUT_FRONT: Final = {"counter", "lamp", "plant", "stool", "table"}


def label_of(names: Iterable[str | None]) -> tuple[str | None, bool]:
    """Return the label of the first name that there is, and whether such objects have a front.

    A name is a category, or a title such as "bed/king-size bed". (None, False) without any name.
    """
    name = next((name for name in names if name and name.strip()), "").strip().lower()
    if name not in _LABELS and "/ " not in name:
        name = name.rpartition("/")[2]
    label = _LABELS.get(name) or next(iter(re.findall(r"[a-z]+", name)[-1:]), None)
    return label, label is not None and label not in _WITHOUT_FRONT


@lru_cache(maxsize=16)
def read_categories(path: Path) -> dict[str, str]:
    """Read the category of each model from 3D-FUTURE's ``model_info.json``; {} where it does not exist."""
    if not path.is_file():
        return {}
    entries: Any = read_json(path)
    if not isinstance(entries, list):
        raise SceneError(f"{path}: is not 3D-FUTURE's list of models")
    entries = [entry for entry in entries if isinstance(entry, dict)]
    named = {str(entry.get("model_id")): entry.get("category") or entry.get("super-category") for entry in entries}
    return {model: str(category) for model, category in named.items() if category}


class Model(NamedTuple):
    """Triangles of a model: y up, z to the front, metres."""

    triangles: Array  #: (T, 3, 3)
    rgb: Array  #: (T, 3) in [0, 1]
    fault: str | None  #: why the texture is not used


def load_model(folder: Path) -> Model:
    """Read ``raw_model.obj``; raises SceneError.

    A face's colour is that of ``texture.png`` around its middle, or grey where that cannot be used.
    """
    import trimesh

    path = folder / "raw_model.obj"
    try:
        if path.stat().st_size > _MAX_MODEL_BYTES:
            raise SceneError(f"{path}: is too large (at most {_MAX_MODEL_BYTES // 1_000_000} MB)")
        # Materials are skipped, since they may name files anywhere.
        mesh: Any = trimesh.load(path, file_type="obj", force="mesh", process=False, skip_materials=True)
        faces = np.asarray(mesh.faces).reshape(-1, 3)
        triangles = np.asarray(mesh.vertices, dtype=np.float64)[faces]
        coordinates = getattr(mesh.visual, "uv", None)
        middle = None if coordinates is None else np.asarray(coordinates, dtype=np.float64)[faces].mean(axis=1)
    except (*FILE_ERRORS, NameError, MemoryError) as error:
        raise SceneError(f"{path}: is not a model that can be read ({error})") from error
    if not len(triangles) or not np.isfinite(triangles).all():
        raise SceneError(f"{path}: has no faces, or vertices that are not finite")
    try:
        pixels = read_image(folder / "texture.png", _TEXTURE_PIXELS)
    except SceneError as error:
        return Model(triangles, np.tile(_PLAIN, (len(triangles), 1)), f"texture, so that the model is grey: {error}")
    if middle is None or not np.isfinite(middle).all():
        return Model(triangles, np.tile(pixels.mean((0, 1)) / 255.0, (len(triangles), 1)), None)
    height, width = pixels.shape[:2]
    column, row = (middle * [width, -height]).astype(int).T % [[width], [height]]
    return Model(triangles, pixels[row, column] / 255.0, None)
