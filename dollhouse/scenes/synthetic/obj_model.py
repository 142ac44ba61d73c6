"""Reader of OBJ models inside a zip file: triangles, texture coordinates and MTL materials."""

from __future__ import annotations

import io
import posixpath
import zipfile
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dollhouse.errors import SceneError
from dollhouse.geometry import Array
from dollhouse.scenes.archives import read_member
from dollhouse.scenes.synthetic.furniture import Rgb

MAX_MODEL_BYTES = 50_000_000  #: limit of an OBJ file; the largest of Debian's has a fifth of it
TEXTURE_SIDE: Final = 256  #: pixels; larger textures are reduced to it


@dataclass(frozen=True, eq=False)
class ObjMaterial:
    """Material of an MTL file."""

    rgb: Rgb = (0.7, 0.7, 0.7)  #: the texture's mean, else the diffuse colour
    texture: str | None = None  #: its path in the library, for :func:`read_texture`
    opacity: float = 1.0
    specular: float = 0.0  #: mean of the specular colour


@dataclass(frozen=True, eq=False)
class ObjModel:
    """Triangles of a model in the file's own axes and unit."""

    vertices: Array  #: (N, 3)
    faces: NDArray[np.int64]  #: (F, 3)
    uv: NDArray[np.float32]  #: (F, 3, 2) texture coordinates of the corners, v upwards; 0 where there are none
    material: NDArray[np.int16]  #: (F,) index into ``materials``
    materials: tuple[ObjMaterial, ...]


def read_text(library: zipfile.ZipFile, member: str) -> str:
    return read_member(library, member, MAX_MODEL_BYTES).decode("latin-1")


@dataclass(eq=False)
class _Corners:
    """Corners of all triangles, as they are read."""

    vertex: list[int] = field(default_factory=list)
    texture: list[int] = field(default_factory=list)
    material: list[int] = field(default_factory=list)

    def add(self, words: list[str], vertices: int, coordinates: int, material: int) -> None:
        """Add a polygon as a fan; 0 stands for no texture coordinate."""
        parts = [word.split("/") for word in words]
        vertex = [index - 1 if index > 0 else vertices + index for index in (int(part[0]) for part in parts)]
        given = (int(part[1]) if len(part) > 1 and part[1] else 0 for part in parts)
        texture = [index if index >= 0 else coordinates + 1 + index for index in given]
        for b, c in pairwise(range(1, len(words))):
            self.vertex += (vertex[0], vertex[b], vertex[c])
            self.texture += (texture[0], texture[b], texture[c])
            self.material.append(material)


def read_obj(library: zipfile.ZipFile, member: str) -> ObjModel:
    """Read an OBJ file (v, vt, f, usemtl and mtllib lines) and its materials; raises SceneError."""
    where, folder = f"{library.filename}/{member}", posixpath.dirname(member)
    vertices: list[list[float]] = []
    coordinates: list[list[float]] = [[0.0, 0.0]]
    corners, materials, current = _Corners(), [ObjMaterial()], 0
    numbers: dict[str, int] = {}
    try:
        for line in read_text(library, member).splitlines():
            words = line.split()
            if not words:
                continue
            if words[0] == "v":
                vertices.append([float(word) for word in words[1:4]])
            elif words[0] == "vt":
                coordinates.append([float(words[1]), float(words[2])])
            elif words[0] == "f":
                corners.add(words[1:], len(vertices), len(coordinates) - 1, current)
            elif words[0] == "usemtl":
                current = numbers.get(" ".join(words[1:]), 0)
            elif words[0] == "mtllib":
                for name, material in read_mtl(library, posixpath.join(folder, " ".join(words[1:]))).items():
                    numbers[name] = len(materials)
                    materials.append(material)
        points, faces = np.array(vertices, dtype=np.float64), np.array(corners.vertex, dtype=np.int64).reshape(-1, 3)
        given = np.array(corners.texture, dtype=np.int64)
        given[(given < 0) | (given >= len(coordinates))] = 0  # some files have fewer coordinates than they use
        uv = np.array(coordinates, dtype=np.float32)[given].reshape(-1, 3, 2)
    except (ValueError, IndexError) as error:
        raise SceneError(f"{where}: is not an OBJ model that can be read ({error})") from error
    if not len(faces) or points.ndim != 2 or faces.min() < 0 or faces.max() >= len(points):
        raise SceneError(f"{where}: has no faces, or faces of vertices that are not there")
    return ObjModel(points, faces, uv, np.array(corners.material, dtype=np.int16), tuple(materials))


def read_mtl(library: zipfile.ZipFile, member: str) -> dict[str, ObjMaterial]:
    """Read the materials of an MTL file by name; {} where the library lacks it. Raises SceneError."""
    if member not in library.namelist():
        return {}
    entries: dict[str, dict[str, list[str]]] = {}
    entry: dict[str, list[str]] = {}
    for line in read_text(library, member).splitlines():
        words = line.split()
        if len(words) < 2:
            continue
        if words[0] == "newmtl":
            entry = entries.setdefault(" ".join(words[1:]), {})
        else:
            entry[words[0]] = words[1:]
    return {name: _material(library, member, entry) for name, entry in entries.items()}


def _material(library: zipfile.ZipFile, member: str, entry: dict[str, list[str]]) -> ObjMaterial:
    rgb, texture = _rgb(entry.get("Kd"), ObjMaterial.rgb), None
    path = posixpath.join(posixpath.dirname(member), entry["map_Kd"][-1]) if "map_Kd" in entry else ""
    if path in library.namelist():
        red, green, blue = (
            np.asarray(_open_image(library, path, "RGB").resize((1, 1), Image.Resampling.BOX))[0, 0] / 255
        )
        rgb, texture = (float(red), float(green), float(blue)), path
    return ObjMaterial(
        rgb,
        texture,
        opacity=float(entry["d"][-1]) if "d" in entry else 1.0,
        specular=sum(_rgb(entry.get("Ks"), (0.0, 0.0, 0.0))) / 3,
    )


def _rgb(words: list[str] | None, default: Rgb) -> Rgb:
    return default if words is None else (float(words[0]), float(words[1]), float(words[2]))


def read_texture(library: zipfile.ZipFile, path: str) -> NDArray[np.uint8]:
    """Read a texture (h, w, 3), reduced to :data:`TEXTURE_SIDE`; transparent pixels get the mean of the opaque ones."""
    image = _open_image(library, path, "RGBA")
    image.thumbnail((TEXTURE_SIDE, TEXTURE_SIDE), Image.Resampling.BOX)
    pixels = np.asarray(image)
    clear, texture = pixels[..., 3] < 128, pixels[..., :3].copy()
    if clear.any() and not clear.all():
        texture[clear] = texture[~clear].mean(0)
    return texture


def _open_image(library: zipfile.ZipFile, path: str, mode: str) -> Image.Image:
    data = io.BytesIO(read_member(library, path, MAX_MODEL_BYTES))
    try:
        with Image.open(data, formats=("JPEG", "PNG", "BMP", "GIF")) as image:
            return image.convert(mode)
    except (OSError, SyntaxError, ValueError) as error:
        raise SceneError(f"{library.filename}/{path}: is not a readable texture ({error})") from error
