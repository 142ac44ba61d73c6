"""Reader of Sweet Home 3D furniture libraries (``.sh3f``): their catalogues, and each piece as a coloured mesh.

Debian's package ``sweethome3d-furniture`` installs five of them; each model has its own creator and licence, which must
accompany images made from it. A library is a zip file with a catalogue in Java's properties format and OBJ models.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dollhouse.errors import SceneError
from dollhouse.geometry import Array
from dollhouse.scenes.archives import open_archive, read_member
from dollhouse.scenes.synthetic.furniture import CATEGORIES, Rgb

DEBIAN_FOLDER = Path("/usr/share/sweethome3d/furniture")
CATALOGUE = "PluginFurnitureCatalog.properties"
MAX_MODEL_BYTES = 50_000_000  #: limit of an OBJ file; the largest of Debian's has a fifth of it
_SYNONYMS = {
    "couch": "sofa", "bookcase": "bookshelf", "refrigerator": "fridge", "tv": "television", "cupboard": "cabinet",
}  # fmt: skip
_DEFAULT_COLOUR = (0.7, 0.7, 0.7)


@dataclass(frozen=True)
class Piece:
    """One entry of a library's catalogue."""

    library: Path
    id: str
    name: str  #: as in the catalogue: "Glass table"
    category: str | None  #: our category: "table"; None where there is none
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
    colours: Array  #: (F, 3) RGB in [0, 1] of each face: the material's, or its texture's mean


def installed_libraries(folder: Path = DEBIAN_FOLDER) -> list[Path]:
    """List the ``.sh3f`` files of a folder, sorted; [] where it does not exist."""
    return sorted(folder.glob("*.sh3f"))


def list_pieces(libraries: Iterable[Path]) -> list[Piece]:
    """List the pieces that stand on the floor or on furniture (no doors, windows or wall lights); raises SceneError."""
    return [piece for library in libraries for piece in _read_catalogue(library)]


def load_piece(piece: Piece) -> PieceMesh:
    """Read the mesh of a piece, rotated by its ``rotation`` and scaled to its catalogue size; raises SceneError.

    OBJ files come in any unit, so the size in the catalogue is the only one.
    """
    with open_archive(piece.library) as library:
        vertices, faces, colours = _read_obj(library, piece.model)
    if piece.rotation is not None:
        vertices = vertices @ np.array(piece.rotation).reshape(3, 3).T
    used = vertices[np.unique(faces)]  # unused vertices must not change the size
    low, high = used.min(0), used.max(0)
    # In the libraries x points to the piece's left, y up and z to its front.
    extent = np.maximum(high - low, 1e-9)[[2, 0, 1]]
    own = (vertices - 0.5 * (low + high))[:, [2, 0, 1]] / extent * piece.size
    own[:, 2] += 0.5 * piece.size[2]
    return PieceMesh(own, faces, colours)


def nearest_category(name: str) -> str | None:
    """Find our category by the last word of a catalogue name: "Coffee table" is a table."""
    words = re.findall(r"[a-z]+", name.lower())
    last = _SYNONYMS.get(words[-1], words[-1]) if words else ""
    return last if last in CATEGORIES else None


def _read_catalogue(path: Path) -> Iterator[Piece]:
    with open_archive(path) as library:
        text = _read_text(library, CATALOGUE)
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
            if float(entry.get("elevation", "0")) > 0:
                continue
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
            category=nearest_category(entry.get("name", "")),
            size=(depth, width, height),
            model=entry["model"].lstrip("/"),
            rotation=rotation,
            creator=entry.get("creator", "unknown"),
            licence=general.get("license", "unknown"),
        )


def _read_text(library: zipfile.ZipFile, member: str) -> str:
    return read_member(library, member, MAX_MODEL_BYTES).decode("latin-1")


def _read_obj(library: zipfile.ZipFile, member: str) -> tuple[Array, NDArray[np.int64], Array]:
    """Read vertices (N, 3), triangles (F, 3) and colours (F, 3) of an OBJ file (v, f, usemtl and mtllib lines)."""
    where, folder = f"{library.filename}/{member}", posixpath.dirname(member)
    vertices: list[list[float]] = []
    faces: list[tuple[int, int, int]] = []
    colours: list[Rgb] = []
    materials: dict[str, Rgb] = {}
    colour = _DEFAULT_COLOUR
    try:
        for line in _read_text(library, member).splitlines():
            words = line.split()
            if not words:
                continue
            if words[0] == "v":
                vertices.append([float(word) for word in words[1:4]])
            elif words[0] == "f":
                corners = [int(word.split("/")[0]) for word in words[1:]]
                corners = [corner - 1 if corner > 0 else len(vertices) + corner for corner in corners]
                fan = [(corners[0], b, c) for b, c in pairwise(corners[1:])]
                faces += fan
                colours += [colour] * len(fan)
            elif words[0] == "usemtl":
                colour = materials.get(" ".join(words[1:]), _DEFAULT_COLOUR)
            elif words[0] == "mtllib":
                materials |= _read_materials(library, posixpath.join(folder, " ".join(words[1:])))
        points, triangles = np.array(vertices, dtype=np.float64), np.array(faces, dtype=np.int64)
    except (ValueError, IndexError) as error:
        raise SceneError(f"{where}: is not an OBJ model that can be read ({error})") from error
    if not len(triangles) or points.ndim != 2 or triangles.min() < 0 or triangles.max() >= len(points):
        raise SceneError(f"{where}: has no faces, or faces of vertices that are not there")
    return points, triangles, np.array(colours)


def _read_materials(library: zipfile.ZipFile, member: str) -> dict[str, Rgb]:
    """Read the colour of each material: the mean of its texture, else its diffuse colour."""
    if member not in library.namelist():
        return {}
    colours: dict[str, Rgb] = {}
    name = ""
    for line in _read_text(library, member).splitlines():
        words = line.split()
        if len(words) < 2:
            continue
        if words[0] == "newmtl":
            name = " ".join(words[1:])
        elif words[0] == "Kd":
            colours[name] = (float(words[1]), float(words[2]), float(words[3]))
        elif words[0] == "map_Kd":
            texture = posixpath.join(posixpath.dirname(member), words[-1])
            if texture not in library.namelist():
                continue
            data = io.BytesIO(read_member(library, texture, MAX_MODEL_BYTES))
            try:
                with Image.open(data, formats=("JPEG", "PNG", "BMP", "GIF")) as image:
                    red, green, blue = np.asarray(image.convert("RGB").resize((1, 1), Image.Resampling.BOX))[0, 0] / 255
            except (OSError, SyntaxError, ValueError) as error:
                raise SceneError(f"{library.filename}/{texture}: is not a readable texture ({error})") from error
            colours[name] = float(red), float(green), float(blue)
    return colours
