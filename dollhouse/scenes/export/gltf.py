"""Writer of points and boxes as one binary glTF 2.0 file (GLB), which browsers, Blender and AR viewers open."""

from __future__ import annotations

import colorsys
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse import __version__
from dollhouse.geometry import box_corners
from dollhouse.scenes.description import describe_lengths
from dollhouse.scenes.export.boxes_json import box_fields
from dollhouse.scenes.export.points import ColouredPoints
from dollhouse.scenes.scene import Box, Scene
from dollhouse.system.atomic_io import atomic_path

_POINTS, _LINES = 0, 1  # modes of a primitive
_TYPES = {"f": 5126, "H": 5123}  # of an accessor's components, by NumPy's character
_UNLIT = "KHR_materials_unlit"
_Y_UP_FROM_Z_UP = [-(0.5**0.5), 0.0, 0.0, 0.5**0.5]  # quaternion x, y, z, w: a quarter turn about x
_EDGES = [[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7]]
_HUE_STEP = 0.618  # golden ratio: labels in a row get unlike hues


class _Buffer:
    """The binary chunk with its views and accessors."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: NDArray[Any], **fields: Any) -> int:
        """Append an array (N,) or (N, C) and return its accessor's number."""
        raw = np.ascontiguousarray(array).tobytes()
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(raw)})
        self.data += raw + bytes(-len(raw) % 4)
        kind = "SCALAR" if array.ndim == 1 else f"VEC{array.shape[1]}"
        accessor = {"bufferView": len(self.views) - 1, "componentType": _TYPES[array.dtype.char], "count": len(array)}
        self.accessors.append({**accessor, "type": kind, **fields})
        return len(self.accessors) - 1

    def add_positions(self, positions: NDArray[np.float32]) -> int:
        """Append positions (N, 3) with their bounds, which glTF demands."""
        return self.add(positions, min=positions.min(0).tolist(), max=positions.max(0).tolist())


def write_glb(scene: Scene, points: ColouredPoints | None, path: Path) -> None:
    """Write points and boxes as GLB, atomically; the root node turns the scene's z-up world to glTF's y-up one.

    Points are one primitive. Each box is a node of 12 edges, named by label and id ("chair 3"), with its fields as
    ``extras``; each label has one mesh and material. Raises StorageError where the file cannot be written.
    """
    buffer = _Buffer()
    root: dict[str, Any] = {"name": scene.name, "rotation": _Y_UP_FROM_Z_UP, "extras": describe_lengths(scene)}
    nodes, meshes, materials = [root], [], [_material("points", [1.0, 1.0, 1.0])]
    if points is not None:
        colours = {"COLOR_0": buffer.add(_linear_colours(points.colours))}
        attributes = {"POSITION": buffer.add_positions(points.positions), **colours}
        meshes.append({"primitives": [{"attributes": attributes, "mode": _POINTS, "material": 0}], "name": "points"})
        nodes.append({"name": "points", "mesh": 0})
    labels = sorted({box.label for box in scene.boxes or ()})
    if labels:
        edges = {
            "attributes": {"POSITION": buffer.add_positions(box_corners(np.zeros(3), np.ones(3), 0.0).astype("<f4"))},
            "indices": buffer.add(np.array(_EDGES, dtype="<u2").ravel()),
            "mode": _LINES,
        }
        first = len(meshes)
        for number, label in enumerate(labels):
            materials.append(_material(label, list(colorsys.hsv_to_rgb(number * _HUE_STEP % 1.0, 0.9, 0.9))))
            meshes.append({"primitives": [{**edges, "material": len(materials) - 1}], "name": label})
        nodes += [_box_node(box, first + labels.index(box.label)) for box in scene.boxes or ()]
    root["children"] = list(range(1, len(nodes)))
    tree = {
        "asset": {"version": "2.0", "generator": f"dollhouse {__version__}"},
        "extensionsUsed": [_UNLIT],
        "scene": 0,
        "scenes": [{"nodes": [0], "name": scene.name}],
        "nodes": nodes if root["children"] else [{key: root[key] for key in root if key != "children"}],
        "materials": materials,
        "meshes": meshes,
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(_glb({key: value for key, value in tree.items() if value != []}, bytes(buffer.data)))


def _box_node(box: Box, mesh: int) -> dict[str, Any]:
    return {
        "name": f"{box.label} {box.id}",
        "mesh": mesh,
        "translation": [float(x) for x in box.center],
        "rotation": [0.0, 0.0, float(np.sin(box.yaw / 2)), float(np.cos(box.yaw / 2))],
        "scale": [float(x) for x in box.size],
        "extras": box_fields(box),
    }


def _material(name: str, colour: list[float]) -> dict[str, Any]:
    surface = {"baseColorFactor": [*colour, 1.0], "metallicFactor": 0.0, "roughnessFactor": 1.0}
    return {"name": name, "pbrMetallicRoughness": surface, "extensions": {_UNLIT: {}}}


def _linear_colours(colours: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert sRGB (N, 3) to linear RGB in [0, 1], as vertex colours of glTF are; bytes would merge dark shades."""
    value = colours / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return linear.astype("<f4")


def _glb(tree: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(tree, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if binary:
        chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
