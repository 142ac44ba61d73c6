"""Reader of Sweet Home 3D furniture libraries (``.sh3f``): their catalogues, and each piece as a mesh.

Debian's package ``sweethome3d-furniture`` installs five of them; each model has its own creator and licence, which must
accompany images made from it. A library is a zip file with a catalogue in Java's properties format and OBJ models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.geometry import Array
from dollhouse.scenes.archives import open_archive
from dollhouse.scenes.synthetic.obj_model import ObjMaterial, read_obj, read_text

DEBIAN_FOLDER = Path("/usr/share/sweethome3d/furniture")
CATALOGUE = "PluginFurnitureCatalog.properties"


@dataclass(frozen=True)
class Piece:
    """One entry of a library's catalogue."""

    library: Path
    id: str
    name: str  #: as in the catalogue: "Glass table"
    size: tuple[float, float, float]  #: length (back to front), width, height in metres
    model: str  #: path of the OBJ file inside the library
    rotation: tuple[float, ...] | None  #: nine numbers, row by row, that set the model upright
    creator: str
    licence: str


@dataclass(frozen=True, eq=False)
class PieceMesh:
    """Mesh of a piece in a box's own axes: x to the front, y left, z up; centred, standing on z = 0; metres."""

    vertices: Array  #: (N, 3)
    faces: NDArray[np.int64]  #: (F, 3)
    uv: NDArray[np.float32]  #: (F, 3, 2) texture coordinates of the corners, v upwards
    material: NDArray[np.int16]  #: (F,) index into ``materials``
    materials: tuple[ObjMaterial, ...]


def installed_libraries(folder: Path = DEBIAN_FOLDER) -> list[Path]:
    """List the ``.sh3f`` files of a folder, sorted; [] where it does not exist."""
    return sorted(folder.glob("*.sh3f"))


def list_pieces(libraries: Iterable[Path]) -> list[Piece]:
    """List the pieces of libraries, without doors and windows; raises SceneError."""
    return [piece for library in libraries for piece in _read_catalogue(library)]


def load_piece(piece: Piece) -> PieceMesh:
    """Read the mesh of a piece, rotated by its ``rotation`` and scaled to its catalogue size; raises SceneError.

    OBJ files come in any unit, so the size in the catalogue is the only one.
    """
    with open_archive(piece.library) as library:
        model = read_obj(library, piece.model)
    vertices, faces = model.vertices, model.faces
    if piece.rotation is not None:
        vertices = vertices @ np.array(piece.rotation).reshape(3, 3).T
    used = vertices[np.unique(faces)]  # unused vertices must not change the size
    low, high = used.min(0), used.max(0)
    # In the libraries x points to the piece's left, y up and z to its front.
    extent = np.maximum(high - low, 1e-9)[[2, 0, 1]]
    own = (vertices - 0.5 * (low + high))[:, [2, 0, 1]] / extent * piece.size
    own[:, 2] += 0.5 * piece.size[2]
    return PieceMesh(own, faces, model.uv, model.material, model.materials)


def _read_catalogue(path: Path) -> Iterator[Piece]:
    with open_archive(path) as library:
        text = read_text(library, CATALOGUE)
    general: dict[str, str] = {}
    entries: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        match = re.match(r"([A-Za-z]+)(?:#(\d+))?=(.*)", line)
        if match:
            (general if match[2] is None else entries.setdefault(int(match[2]), {}))[match[1]] = match[3].strip()
    for number, entry in sorted(entries.items()):
        if entry.get("doorOrWindow") == "true" or "model" not in entry:
            continue
        try:
            depth, width, height = (0.01 * float(entry[key]) for key in ("depth", "width", "height"))
            rotation = tuple(map(float, entry["modelRotation"].split())) if "modelRotation" in entry else None
            usable = all(0 < side < 100 for side in (depth, width, height))
            if not usable or (rotation is not None and len(rotation) != 9):
                raise ValueError("out of range")
        except (KeyError, ValueError) as error:
            raise SceneError(f"{path}: {CATALOGUE}: entry {number} has no usable size or rotation ({error})") from error
        yield Piece(
            library=path,
            id=entry.get("id", f"{path.stem}#{number}"),
            name=entry.get("name", ""),
            size=(depth, width, height),
            model=entry["model"].lstrip("/"),
            rotation=rotation,
            creator=entry.get("creator", "unknown"),
            licence=general.get("license", "unknown"),
        )
