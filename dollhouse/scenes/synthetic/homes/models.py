"""Models of Sweet Home 3D pieces ready for rendering: simplified, with heights of their tops, cached per user."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from dollhouse.scenes.synthetic.homes.catalogue import assets_hash, installed_pieces
from dollhouse.scenes.synthetic.obj_model import ObjMaterial
from dollhouse.scenes.synthetic.sweethome import PieceMesh, load_piece
from dollhouse.system.atomic_io import atomic_path

MODELS_VERSION = 1  #: raise it whenever the content of the cached files changes
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
    exposed: Floats  #: (M,) share of each material in what is visible from outside
    size: Floats  #: (3,) metres
    heights: Floats  #: (CELLS, CELLS) of the topmost surface over x and y; 0 where there is none


@cache
def load_model(id: str) -> Model:
    """Load the model of a piece by id, from the cache where it is there.

    Raises SceneError for a broken library, StorageError where the cache cannot be written.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dollhouse" / "models"
    key = blake2b(f"{MODELS_VERSION} {assets_hash()} {id}".encode(), digest_size=12).hexdigest()
    path = folder / f"{key}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        model = _build(id)
        with atomic_path(path, "set XDG_CACHE_HOME to another folder") as unfinished, unfinished.open("wb") as file:
            arrays = {
                name: getattr(model, name) for name in ("triangles", "uv", "material_ids", "exposed", "size", "heights")
            }
            described = json.dumps([asdict(material) for material in model.materials])
            np.savez(file, materials=np.array(described), **arrays)
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
    caster = EmbreeScene()
    TriangleMesh(caster, triangles)
    heights, exposed = _outside(caster, np.array(piece.size), material_ids, len(materials))
    return Model(triangles, mesh.uv[kept], material_ids, materials, exposed, np.array(piece.size, np.float32), heights)


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
    caster: EmbreeScene, size: NDArray[np.float64], material_ids: NDArray[np.int32], materials: int
) -> tuple[Floats, Floats]:
    """Cast parallel rays from above and the four sides: heights of the tops, and the shares of the materials."""
    middle = (np.arange(CELLS) + 0.5) / CELLS - 0.5
    a, b = (grid.ravel() for grid in np.meshgrid(middle, middle, indexing="ij"))
    area = np.zeros(materials)
    heights = np.zeros(a.shape, dtype=np.float32)
    for axis, side in ((2, 1), (0, 1), (0, -1), (1, 1), (1, -1)):
        across = [other for other in range(3) if other != axis]
        unit = np.zeros((len(a), 3))
        unit[:, across[0]], unit[:, across[1]], unit[:, axis] = a, b, side
        origins = (unit * size + [0, 0, 0.5 * size[2]]).astype(np.float32)
        directions = np.zeros_like(origins)
        directions[:, axis] = -side
        hit = caster.run(origins, directions, output=1)
        found = hit["primID"] >= 0
        area += np.bincount(material_ids[hit["primID"][found]], minlength=materials) * size[across[0]] * size[across[1]]
        if axis == 2:
            heights = np.where(found, origins[:, 2] - hit["tfar"], 0).astype(np.float32)
    return heights.reshape(CELLS, CELLS), (area / max(area.sum(), 1e-9)).astype(np.float32)
