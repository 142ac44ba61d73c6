"""Boxes from ScanNet's annotation: objects (aggregation) of segments (segs) of mesh vertices (PLY).

Boxes follow VoteNet's convention: axis-aligned bounds of an object's vertices after axis alignment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, transform_points
from dollhouse.scenes.labels import unmapped_words
from dollhouse.scenes.readers.captures import FILE_ERRORS, read_json
from dollhouse.scenes.readers.reader import FaultLog
from dollhouse.scenes.scene import Box

MESH = "_vh_clean_2.ply"
SEGMENTS = "_vh_clean_2.0.010000.segs.json"
AGGREGATION = ".aggregation.json"
KIND = "ScanNet's annotation"
HIGH_RESOLUTION = "_vh_clean.aggregation.json"  #: refers to the segments of the other mesh


def read_boxes(folder: Path, alignment: Array, log: FaultLog, scan: str, *, strict: bool) -> tuple[Box, ...] | None:
    """Read the annotated objects as boxes: id = objectId + 1, raw label in lower case, yaw 0.

    A raw label that has no default label becomes its NYU40 class, where ScanNet's table of labels lies above the scan.
    ``alignment`` (4, 4) is the scan's axisAlignment. ``log`` collects the faults of single objects, which are then left
    out. Files whose names start with ``scan`` are preferred; with ``strict`` no others are read. Returns None where an
    annotation file is missing; raises SceneError, naming the file, where JSON or mesh is broken or the three files do
    not fit each other.
    """
    from dollhouse.scenes.readers.schemas import Aggregation, Group, Segments, check

    mesh_path, segments_path, groups_path = (
        _find_file(folder, scan, ending, strict) for ending in (MESH, SEGMENTS, AGGREGATION)
    )
    if mesh_path is None or segments_path is None or groups_path is None:
        return None
    vertices = transform_points(alignment, _read_vertices(mesh_path))
    segment_of_vertex = np.array(
        check(Segments, read_json(segments_path), f"{segments_path}:", KIND).seg_indices, dtype=np.int64
    )
    if len(segment_of_vertex) != len(vertices):
        raise SceneError(
            f"{segments_path}: refers to {len(segment_of_vertex)} vertices, "
            f"but {mesh_path.name} has {len(vertices)}; the two are not of the same mesh"
        )
    order = np.argsort(segment_of_vertex, kind="stable")
    segments, starts = np.unique(segment_of_vertex[order], return_index=True)
    grouped = vertices[order] if len(segments) else np.empty((0, 3))
    low, high = np.minimum.reduceat(grouped, starts), np.maximum.reduceat(grouped, starts)
    words = unmapped_words(folder)
    boxes: dict[int, Box] = {}
    for number, entry in enumerate(check(Aggregation, read_json(groups_path), f"{groups_path}:", KIND).seg_groups):
        with log.collect():
            group = check(Group, entry, f"{groups_path}: object {number}", "valid")
            id, label, members = group.object_id + 1, group.label.strip().lower(), np.array(group.segments)
            if id in boxes:
                raise SceneError(f"{groups_path}: objectId {group.object_id} occurs twice")
            rows = np.searchsorted(segments, members)
            known = rows < len(segments)
            known[known] = segments[rows[known]] == members[known]
            if not known.all():
                where = f"{groups_path}: object {group.object_id} ({label})"
                raise SceneError(f"{where} has segment {members[~known][0]}, which is not in {segments_path.name}")
            bottom, top = low[rows].min(0), high[rows].max(0)
            boxes[id] = Box(
                id=id, label=words.get(label, label), center=0.5 * (bottom + top), size=top - bottom, yaw=0.0
            )
    return tuple(boxes.values())


def _find_file(folder: Path, scan: str, ending: str, strict: bool) -> Path | None:
    own = folder / f"{scan}{ending}"
    if own.is_file() or strict:
        return own if own.is_file() else None
    paths = sorted(p for p in folder.glob(f"*{ending}") if not p.name.endswith(HIGH_RESOLUTION))
    if len(paths) > 1:
        raise SceneError(f"{folder}: has {len(paths)} files ending in {ending}; a scan has one")
    return paths[0] if paths else None


def _read_vertices(path: Path) -> Array:
    import trimesh

    try:
        mesh: Any = trimesh.load(path, file_type="ply", process=False)  # processing would merge and reorder vertices
        vertices = np.asarray(mesh.vertices, dtype=np.float64)
    except (*FILE_ERRORS, NameError) as error:  # NameError: trimesh reads a variable that it never sets
        raise SceneError(f"{path}: is not a PLY mesh that can be read ({error})") from error
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not np.isfinite(vertices).all():
        raise SceneError(f"{path}: its vertices are not finite points in space")
    return vertices
