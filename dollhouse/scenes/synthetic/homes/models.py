"""Models of Sweet Home 3D pieces ready for rendering: simplified, cached per user; heights of their tops."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import blake2b
from math import cos, sin
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dollhouse.scenes.archives import open_archive
from dollhouse.scenes.synthetic.homes.catalogue import assets_hash, installed_pieces
from dollhouse.scenes.synthetic.homes.layout import Item
from dollhouse.scenes.synthetic.obj_model import ObjMaterial, read_texture
from dollhouse.scenes.synthetic.raycast import Caster
from dollhouse.scenes.synthetic.sweethome import PieceMesh, load_piece
from dollhouse.system.atomic_io import atomic_path

MODELS_VERSION = 4  #: raise it whenever the content of the cached files changes
MOST_FACES: Final = 8_000
CELLS: Final = 32  #: of the grid of heights, per side
_GRIDS: Final = (512, 384, 256, 192, 128, 96, 64)  #: cells along the longest side when vertices are merged

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Model:
    """A piece at its catalogue size in a box's own axes: x to the front, y left, z up; centred, standing on z = 0."""

    triangles: Floats  #: (F, 3, 3) metres
    uv: Floats  #: (F, 3, 2)
    material_ids: NDArray[np.int32]  #: (F,)
    materials: tuple[ObjMaterial, ...]
    seen_rgb: NDArray[np.uint8]  #: (R, 3) sRGB of points that are visible from above or from a side
    seen_material: NDArray[np.int32]  #: (R,)
    seen_share: Floats  #: (R,) of the visible outside; sums to 1
    size: Floats  #: (3,) metres
    heights: Floats  #: (CELLS, CELLS) of the topmost surface over x and y; 0 where there is none

    @property
    def exposed(self) -> Floats:
        """Return the share (M,) of each material in what is visible from outside."""
        return np.bincount(self.seen_material, self.seen_share, len(self.materials)).astype(np.float32)


@cache
def load_model(id: str) -> Model:
    """Load the model of a piece by id, from the cache where it is there.

    Raises SceneError for a broken library, StorageError where the cache cannot be written.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dollhouse" / "models"
    key = blake2b(f"{MODELS_VERSION} {assets_hash()} {id}".encode(), digest_size=12).hexdigest()
    path = folder / f"{key}.npz"
    with suppress(Exception):  # absent, or whatever a decoder raises on a damaged file: it is built again
        return _read(path)
    model = _build(id)
    with atomic_path(path, "set XDG_CACHE_HOME to another folder") as unfinished, unfinished.open("wb") as file:
        arrays = {name: value for name, value in vars(model).items() if name != "materials"}
        described = json.dumps([asdict(material) for material in model.materials])
        np.savez(file, materials=np.array(described), **arrays)
    return model


def _read(path: Path) -> Model:
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files if name != "materials"}
        content: list[dict[str, Any]] = json.loads(str(stored["materials"]))
    materials = []
    for material in content:
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in material.items()}
        materials.append(ObjMaterial(**fields))
    return Model(materials=tuple(materials), **arrays)


def _build(id: str) -> Model:
    piece = installed_pieces()[id]
    mesh = load_piece(piece)
    vertices, faces, kept = _simplified(mesh)
    triangles = vertices[faces].astype(np.float32)
    used, inverse = np.unique(mesh.material[kept], return_inverse=True)
    material_ids: NDArray[np.int32] = inverse.ravel().astype(np.int32)
    materials = tuple(mesh.materials[number] for number in used)
    size, uv = np.array(piece.size, np.float32), mesh.uv[kept]
    heights, hits = _outside(triangles, np.array(piece.size))
    triangle, b, c, share = hits
    at = uv[triangle, 0] * (1 - b - c)[:, None] + uv[triangle, 1] * b[:, None] + uv[triangle, 2] * c[:, None]
    seen = material_ids[triangle]
    rgb = np.array([material.rgb for material in materials])[seen] * 255
    with open_archive(piece.library) as library:
        for number, material in enumerate(materials):
            if material.texture is not None and len(own := np.flatnonzero(seen == number)):
                texture = read_texture(library, material.texture)
                size_of = np.array(texture.shape[:2])
                place = (np.stack([1 - at[own, 1], at[own, 0]], 1) % 1 * size_of).astype(int) % size_of
                rgb[own] = texture[place[:, 0], place[:, 1]]
    return Model(triangles, uv, material_ids, materials, rgb.astype(np.uint8), seen, share, size, heights)


def _simplified(mesh: PieceMesh) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Merge near vertices until few enough faces are left: vertices, faces (F, 3), their original indices (F,)."""
    vertices = np.asarray(mesh.vertices, dtype=np.float64)
    faces, kept = mesh.faces, np.arange(len(mesh.faces))
    longest = np.ptp(vertices[np.unique(faces)], axis=0).max()
    for cells in _GRIDS if len(faces) > MOST_FACES else ():
        _, cluster = np.unique(np.round(vertices * (cells / longest)).astype(np.int64), axis=0, return_inverse=True)
        cluster = cluster.ravel()
        count = np.bincount(cluster)
        merged = np.stack([np.bincount(cluster, vertices[:, axis]) / count for axis in range(3)], axis=1)
        faces = cluster[mesh.faces]
        distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
        _, first = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
        kept = first[distinct[first]]
        if len(kept) <= MOST_FACES:
            return merged, faces[kept], kept
    return (vertices, faces, kept) if len(faces) == len(kept) else (merged, faces[kept], kept)


def _outside(
    triangles: Floats, size: NDArray[np.float64]
) -> tuple[Floats, tuple[NDArray[np.int32], Floats, Floats, Floats]]:
    """Cast parallel rays from above and the four sides.

    Returns the heights of the tops, and of each hit (R,): triangle, two barycentric coordinates, share of the outside.
    """
    middle = (np.arange(CELLS) + 0.5) / CELLS - 0.5
    a, b = (grid.ravel() for grid in np.meshgrid(middle, middle, indexing="ij"))
    heights, hits, caster = np.zeros(a.shape, dtype=np.float32), [], Caster(triangles)
    for axis, side in ((2, 1), (0, 1), (0, -1), (1, 1), (1, -1)):
        across = [other for other in range(3) if other != axis]
        unit = np.zeros((len(a), 3))
        unit[:, across[0]], unit[:, across[1]], unit[:, axis] = a, b, side
        origins = (unit * size + [0, 0, 0.5 * size[2]]).astype(np.float32)
        directions = np.zeros_like(origins)
        directions[:, axis] = -side
        hit = caster.first_hit(origins, directions)
        found = hit.triangle >= 0
        share = np.full(found.sum(), size[across[0]] * size[across[1]], np.float32)
        hits.append((hit.triangle[found], hit.b[found], hit.c[found], share))
        if axis == 2:
            heights = np.where(found, origins[:, 2] - hit.distance, 0).astype(np.float32)
    triangle, first, second, share = (np.concatenate(parts) for parts in zip(*hits, strict=True))
    share = (share / max(float(share.sum()), 1e-9)).astype(np.float32)
    return heights.reshape(CELLS, CELLS), (triangle, first, second, share)


_LEVEL = 0.015  #: metres that the top may vary below an item
_FLAT_TOPS = {
    "table", "desk", "cabinet", "drawers", "counter", "island", "bookshelf", "plank", "fridge", "wardrobe", "microwave",
    "box", "radiator", "oven",
}  # fmt: skip


def standing_height(below: Item, x: float, y: float, size: tuple[float, float, float], turn: float) -> float | None:
    """Return the height at (x, y) in the frame of ``below`` for an item of this size; None where it is not level."""
    c, s = abs(cos(turn)), abs(sin(turn))
    half_x, half_y = 0.5 * (size[0] * c + size[1] * s), 0.5 * (size[0] * s + size[1] * c)
    length, width, _ = below.size
    if abs(x) + 0.8 * half_x > 0.5 * length or abs(y) + 0.8 * half_y > 0.5 * width:
        return None
    if "#" not in below.model:
        return below.top if below.model in _FLAT_TOPS else None
    heights = _patch(below, x, y, 0.85 * half_x, 0.85 * half_y)
    return below.bottom + float(np.median(heights)) if np.ptp(heights) < _LEVEL and heights.min() > 0.2 else None


def seat_height(sofa: Item, x: float, y: float) -> float | None:
    """Return the height of the seat of a sofa at (x, y) in its frame; None where there is none."""
    if "#" not in sofa.model:
        return None
    heights = _patch(sofa, x, y, 0.08, 0.15)
    seat = float(heights.max())
    return sofa.bottom + seat - 0.02 if 0.28 < seat < 0.6 and np.ptp(heights) < 0.1 else None


def _patch(item: Item, x: float, y: float, half_x: float, half_y: float) -> np.ndarray:
    """Return the heights of a model around (x, y) in its frame."""
    model = load_model(item.model)
    spans = []
    for at, half, side in ((x, half_x, item.size[0]), (y, half_y, item.size[1])):
        low = int(np.clip(np.floor(((at - half) / side + 0.5) * CELLS), 0, CELLS - 1))
        high = int(np.clip(np.ceil(((at + half) / side + 0.5) * CELLS), low + 1, CELLS))
        spans.append(slice(low, high))
    return model.heights[spans[0], spans[1]] * (item.size[2] / model.size[2])
