"""Boxes from ScanNet's annotation: objects (aggregation) of segments (segs) of mesh vertices (PLY).

Boxes follow VoteNet's convention: axis-aligned bounds of an object's vertices after axis alignment.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, transform_points
from dollhouse.scenes.scene import Box

MESH = "_vh_clean_2.ply"
SEGMENTS = "_vh_clean_2.0.010000.segs.json"
AGGREGATION = ".aggregation.json"
HIGH_RESOLUTION = "_vh_clean.aggregation.json"  #: refers to the segments of the other mesh
# Raised by trimesh's reader on damaged files; NameError comes from a variable that it never sets.
_PLY_ERRORS = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, NameError, struct.error)


def read_boxes(folder: Path, alignment: Array) -> tuple[Box, ...] | None:
    """Read the annotated objects as boxes: id = objectId + 1, raw label in lower case, yaw 0.

    Args:
        folder: the scan's folder.
        alignment: the scan's axisAlignment (4, 4).

    Returns:
        The boxes, or None where an annotation file is missing.

    Raises:
        SceneError: JSON or mesh is broken, or the three files do not fit each other. The message names the file.
    """
    mesh_path, segments_path, groups_path = (_find_file(folder, name) for name in (MESH, SEGMENTS, AGGREGATION))
    if mesh_path is None or segments_path is None or groups_path is None:
        return None
    vertices = transform_points(alignment, _read_vertices(mesh_path))
    segment_of_vertex = _read_segments(segments_path)
    if len(segment_of_vertex) != len(vertices):
        raise SceneError(
            f"{segments_path}: refers to {len(segment_of_vertex)} vertices, "
            f"but {mesh_path.name} has {len(vertices)}; the two are not of the same mesh"
        )
    segments, low, high = _segment_bounds(vertices, segment_of_vertex)
    boxes: dict[int, Box] = {}
    for id, label, members in _read_groups(groups_path):
        if id in boxes:
            raise SceneError(f"{groups_path}: objectId {id - 1} occurs twice")
        rows = np.searchsorted(segments, members)
        known = rows < len(segments)
        known[known] = segments[rows[known]] == members[known]
        if not known.all():
            raise SceneError(
                f"{groups_path}: object {id - 1} ({label}) has segment {members[~known][0]}, "
                f"which is not in {segments_path.name}"
            )
        bottom, top = low[rows].min(0), high[rows].max(0)
        boxes[id] = Box(id=id, label=label, center=0.5 * (bottom + top), size=top - bottom, yaw=0.0)
    return tuple(boxes.values())


def _find_file(folder: Path, ending: str) -> Path | None:
    paths = sorted(p for p in folder.glob(f"*{ending}") if not p.name.endswith(HIGH_RESOLUTION))
    if len(paths) > 1:
        raise SceneError(f"{folder}: has {len(paths)} files ending in {ending}; a scan has one")
    return paths[0] if paths else None


def _segment_bounds(vertices: Array, segment_of_vertex: NDArray[np.int64]) -> tuple[NDArray[np.int64], Array, Array]:
    """Compute sorted segment numbers (S,) and the lowest and highest corner (S, 3) of their vertices."""
    order = np.argsort(segment_of_vertex, kind="stable")
    segments, starts = np.unique(segment_of_vertex[order], return_index=True)
    if not len(segments):
        return segments, np.empty((0, 3)), np.empty((0, 3))
    grouped = vertices[order]
    return segments, np.minimum.reduceat(grouped, starts), np.maximum.reduceat(grouped, starts)


def _read_vertices(path: Path) -> Array:
    import trimesh

    try:
        mesh: Any = trimesh.load(path, file_type="ply", process=False)  # processing would merge and reorder vertices
        vertices = np.asarray(mesh.vertices, dtype=np.float64)
    except _PLY_ERRORS as error:
        raise SceneError(f"{path}: is not a PLY mesh that can be read ({error})") from error
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not np.isfinite(vertices).all():
        raise SceneError(f"{path}: its vertices are not finite points in space")
    return vertices


def _read_segments(path: Path) -> NDArray[np.int64]:
    return _integers(_read_json(path).get("segIndices"), f"{path}: segIndices")


def _read_groups(path: Path) -> list[tuple[int, str, NDArray[np.int64]]]:
    """Read (box id, label, segment numbers) of each annotated object."""
    groups = _read_json(path).get("segGroups")
    if not isinstance(groups, list):
        raise SceneError(f"{path}: segGroups should be a list")
    parsed = []
    for position, group in enumerate(groups):
        where = f"{path}: segGroups[{position}]"
        if not isinstance(group, dict):
            raise SceneError(f"{where} should be an object")
        id, label = group.get("objectId"), group.get("label")
        if type(id) is not int or id < 0:
            raise SceneError(f"{where}: objectId should be a whole number from 0 up, not {id!r}")
        if not isinstance(label, str) or not label.strip():
            raise SceneError(f"{where}: label should be a word, not {label!r}")
        members = _integers(group.get("segments"), f"{where}: segments")
        if not len(members):
            raise SceneError(f"{where}: {label!r} has no segments")
        parsed.append((id + 1, label.strip().lower(), members))
    return parsed


def _integers(values: object, where: str) -> NDArray[np.int64]:
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise SceneError(f"{where} should be a list of whole numbers")
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError as error:
        raise SceneError(f"{where} holds a number that is too large") from error


def _read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; {} where the file holds another JSON value."""
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise SceneError(
            f"{path}: is not valid JSON (line {error.lineno}, column {error.colno}: {error.msg})"
        ) from error
    except RecursionError as error:
        raise SceneError(f"{path}: is nested too deeply") from error
    return content if isinstance(content, dict) else {}


def read_text(path: Path) -> str:
    """Read a UTF-8 text file; raises SceneError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SceneError(f"{path}: cannot be read as text ({error})") from error
