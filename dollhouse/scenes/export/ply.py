"""Writer of coloured points as PLY, which MeshLab, CloudCompare, Blender and Open3D open."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dollhouse.scenes.description import scene_scale
from dollhouse.scenes.export.points import ColouredPoints
from dollhouse.scenes.scene import Scene
from dollhouse.system.atomic_io import atomic_path

_VERTEX = np.dtype([("position", "<f4", 3), ("colour", "u1", 3)])


def write_ply(scene: Scene, points: ColouredPoints, path: Path) -> None:
    """Write points as binary little-endian PLY, atomically: x, y, z in the scene's world (z up); red, green, blue.

    Raises StorageError where the file cannot be written.
    """
    vertices = np.empty(len(points.positions), dtype=_VERTEX)
    vertices["position"], vertices["colour"] = points.positions, points.colours
    properties = [f"property float {axis}" for axis in "xyz"]
    properties += [f"property uchar {colour}" for colour in ("red", "green", "blue")]
    header = ["ply", "format binary_little_endian 1.0", f"comment scale: {scene_scale(scene)}; up: z"]
    header += [f"element vertex {len(vertices)}", *properties, "end_header", ""]
    with atomic_path(path) as temporary:
        temporary.write_bytes("\n".join(header).encode("ascii", "replace") + vertices.tobytes())
