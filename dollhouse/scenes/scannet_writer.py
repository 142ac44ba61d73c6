"""Writer of posed RGB-D scenes as ScanNet distributes its scans: exported frames or a stream, boxes as annotation."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from math import cos, radians, sin
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, box_corners, invert_rigid, transform_points
from dollhouse.scenes.readers.saved import to_millimetres
from dollhouse.scenes.readers.scannet_boxes import AGGREGATION, MESH, SEGMENTS
from dollhouse.scenes.readers.sens import FRAME, HEADER, JPEG, PREAMBLE, SUFFIX, VERSION, ZLIB_USHORT
from dollhouse.scenes.scene import Scene, View
from dollhouse.system.atomic_io import atomic_folder

_MILLIMETRES = 1000.0
_FRAME_TIME = 33_333  # microseconds
_SENSOR = b"StructureSensor"
_VERTEX = np.dtype([("position", "<f4", 3), ("rgba", "u1", 4)])
_FACE = np.dtype([("count", "u1"), ("vertices", "<i4", 3)])
# Two triangles on each side of geometry.box_corners, counter-clockwise from outside.
_SIDES = [[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7], [0, 1, 5], [0, 5, 4]]
_SIDES += [[1, 2, 6], [1, 6, 5], [2, 3, 7], [2, 7, 6], [3, 0, 4], [3, 4, 7]]


@dataclass(frozen=True)
class _Frame:
    """One encoded view."""

    colour: bytes  #: JPEG
    depth: NDArray[np.uint16]  #: (H', W') millimetres
    source_from_camera: Array
    instances: bytes | None  #: 8-bit grey PNG


@dataclass(frozen=True)
class _Camera:
    """What all colour images, or all depth maps, of a scan share."""

    size: tuple[int, int]  #: width, height
    matrix: Array  #: (4, 4), counted from the centre of the top left pixel


def write_scannet(scene: Scene, folder: Path, *, stream: bool = False) -> None:
    """Write a posed RGB-D scene as a ScanNet scan, whole or not at all.

    Poses and mesh are written in a frame that differs from the scene's world by a turn about z and a shift, which the
    scan's ``axisAlignment`` reverses. Boxes become their axis-aligned bounds when the scan is read. One view at a time
    is in memory.

    Args:
        scene: Metric, with depth. All images share size and intrinsics, and so do all depth maps. Box ids are at most
            255 where views have instance ids.
        folder: New folder; its name is the scan's id.
        stream: Write ``<id>.sens`` instead of ``color/``, ``depth/``, ``pose/`` and ``intrinsic/``.

    Raises:
        SceneError: The layout cannot store the scene, or the folder exists.
        StorageError: The folder cannot be written.
    """
    folder = Path(folder)
    if folder.exists():
        raise SceneError(f"{folder}: exists already; choose another folder for the scan, or delete it")
    if not (scene.posed and scene.has_depth and scene.metric):
        raise SceneError(f"{scene.name}: only a metric scene with poses and depth can be written as a ScanNet scan")
    world_from_source = _world_from_source(scene.name)
    source_from_world = invert_rigid(world_from_source)
    with atomic_folder(folder) as unfinished:
        colour, depth = _cameras(scene.views[0], scene.views[0].image, scene.views[0].depth)
        frames = _encode(scene, (colour, depth), source_from_world)
        if any(view.open_instances for view in scene.views):
            frames = _archive_instances(frames, unfinished / f"{folder.name}_2d-instance-filt.zip")
        if stream:
            _write_stream(unfinished / f"{folder.name}{SUFFIX}", frames, len(scene.views), colour, depth)
        else:
            _write_exported(unfinished, frames, colour, depth)
        _write_parameters(unfinished, len(scene.views), colour, depth, world_from_source)
        if scene.boxes is not None:
            _write_annotation(unfinished, scene, source_from_world)


def _world_from_source(name: str) -> Array:
    """Derive a turn about z and a shift from a scene's name."""
    turn, x, y, z = (byte / 255.0 for byte in zlib.crc32(name.encode()).to_bytes(4, "little"))
    angle = radians(20.0 + 50.0 * turn)
    transform = np.eye(4)
    transform[:2, :2] = [[cos(angle), -sin(angle)], [sin(angle), cos(angle)]]
    transform[:3, 3] = np.round([1.0 + 4.0 * x, 1.0 + 4.0 * y, 0.5 * z], 3)
    return transform


def _cameras(view: View, image: NDArray[np.uint8], depth: NDArray[np.float32] | None) -> tuple[_Camera, _Camera]:
    """Return the cameras of a view's colour and depth."""
    depth_intrinsics = view.intrinsics if view.depth_intrinsics is None else view.depth_intrinsics
    if depth is None or view.intrinsics is None or depth_intrinsics is None:
        raise SceneError(f"view {view.name}: lacks depth or intrinsics, which a ScanNet scan needs")
    cameras = []
    for shape, intrinsics in ((image.shape, view.intrinsics), (depth.shape, depth_intrinsics)):
        matrix = np.eye(4)
        matrix[:3, :3] = intrinsics
        matrix[:2, 2] -= 0.5  # ScanNet counts from the centre of the top left pixel, we from its corner
        cameras.append(_Camera((shape[1], shape[0]), matrix))
    return cameras[0], cameras[1]


def _encode(scene: Scene, cameras: tuple[_Camera, _Camera], source_from_world: Array) -> Iterator[_Frame]:
    for view in scene.views:
        image, depth, instances = view.image, view.depth, view.instances
        for camera, other in zip(_cameras(view, image, depth), cameras, strict=True):
            if camera.size != other.size or not np.allclose(camera.matrix, other.matrix):
                raise SceneError(f"{scene.name}: view {view.name} has another size or camera than the first view")
        assert depth is not None
        assert view.world_from_camera is not None
        if instances is not None and (instances.min() < 0 or instances.max() > 255):
            raise SceneError(f"view {view.name}: box ids must lie between 0 and 255 to be written as ScanNet's masks")
        yield _Frame(
            colour=_compress(image, "JPEG", quality=92),
            depth=to_millimetres(depth),
            source_from_camera=source_from_world @ view.world_from_camera,
            instances=None if instances is None else _compress(instances.astype(np.uint8), "PNG", compress_level=3),
        )


def _compress(pixels: NDArray[np.uint8] | NDArray[np.uint16], format: str, **options: int) -> bytes:
    content = BytesIO()
    Image.fromarray(pixels).save(content, format, **options)
    return content.getvalue()


def _archive_instances(frames: Iterator[_Frame], path: Path) -> Iterator[_Frame]:
    """Write the instance ids of frames that pass to a zip archive."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, frame in enumerate(frames):
            if frame.instances is not None:
                archive.writestr(zipfile.ZipInfo(f"instance-filt/{number}.png"), frame.instances)  # its time is fixed
            yield frame


def _write_exported(folder: Path, frames: Iterator[_Frame], colour: _Camera, depth: _Camera) -> None:
    for kind in ("color", "depth", "pose", "intrinsic"):
        (folder / kind).mkdir()
    for kind, matrix in (("color", colour.matrix), ("depth", depth.matrix)):
        _write_matrix(folder / "intrinsic" / f"intrinsic_{kind}.txt", matrix)
        _write_matrix(folder / "intrinsic" / f"extrinsic_{kind}.txt", np.eye(4))
    for number, frame in enumerate(frames):
        (folder / "color" / f"{number}.jpg").write_bytes(frame.colour)
        (folder / "depth" / f"{number}.png").write_bytes(_compress(frame.depth, "PNG", compress_level=3))
        _write_matrix(folder / "pose" / f"{number}.txt", frame.source_from_camera)


def _write_stream(path: Path, frames: Iterator[_Frame], count: int, colour: _Camera, depth: _Camera) -> None:
    matrices = np.stack([colour.matrix, np.eye(4), depth.matrix, np.eye(4)]).ravel().tolist()
    with path.open("wb") as file:
        file.write(PREAMBLE.pack(VERSION, len(_SENSOR)) + _SENSOR)
        file.write(HEADER.pack(*matrices, JPEG, ZLIB_USHORT, *colour.size, *depth.size, _MILLIMETRES, count))
        for number, frame in enumerate(frames):
            packed = zlib.compress(frame.depth.astype("<u2").tobytes(), level=3)
            sizes = len(frame.colour), len(packed)
            file.write(FRAME.pack(*frame.source_from_camera.ravel().tolist(), *[number * _FRAME_TIME] * 2, *sizes))
            file.write(frame.colour + packed)


def _write_matrix(path: Path, matrix: Array) -> None:
    path.write_text("".join(" ".join(map(repr, row)) + "\n" for row in matrix.tolist()), encoding="utf-8")


def _write_parameters(folder: Path, count: int, colour: _Camera, depth: _Camera, world_from_source: Array) -> None:
    values = {"axisAlignment": " ".join(map(repr, world_from_source.ravel().tolist()))}
    for kind, camera in (("color", colour), ("depth", depth)):
        values |= {f"{kind}Width": str(camera.size[0]), f"{kind}Height": str(camera.size[1])}
        for key, index in (("fx", (0, 0)), ("fy", (1, 1)), ("mx", (0, 2)), ("my", (1, 2))):
            values[f"{key}_{kind}"] = repr(float(camera.matrix[index]))
    values |= {"numColorFrames": str(count), "numDepthFrames": str(count), "numIMUmeasurements": "0"}
    lines = [f"{key} = {value}\n" for key, value in sorted(values.items())]
    (folder / f"{folder.name}.txt").write_text("".join(lines), encoding="utf-8")


def _write_annotation(folder: Path, scene: Scene, source_from_world: Array) -> None:
    """Write the surfaces of boxes as a mesh of one segment each; segment 0 is a floor that belongs to no object."""
    boxes = scene.boxes or ()
    eyes = [np.asarray(view.world_from_camera)[None, :3, 3] for view in scene.views]
    points = np.concatenate([*(box.corners for box in boxes), *eyes])
    middle, extent = 0.5 * (points.min(0) + points.max(0)), np.ptp(points, axis=0) + 0.5
    floor = box_corners(np.array([*middle[:2], 0.0]), np.array([*extent[:2], 0.0]), 0.0)
    corners = np.concatenate([floor, *(box.corners for box in boxes)])
    mesh = np.zeros(len(corners), _VERTEX)
    mesh["position"] = transform_points(source_from_world, corners)
    mesh["rgba"] = 255
    faces = np.zeros(len(_SIDES) * len(corners) // 8, _FACE)
    faces["count"] = 3
    faces["vertices"] = (np.array(_SIDES) + np.arange(0, len(corners), 8)[:, None, None]).reshape(-1, 3)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(mesh)}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    header += "".join(f"property uchar {channel}\n" for channel in ("red", "green", "blue", "alpha"))
    header += f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    (folder / f"{folder.name}{MESH}").write_bytes(header.encode() + mesh.tobytes() + faces.tobytes())
    segments = (np.arange(len(corners)) // 8).tolist()
    groups = [
        {"id": box.id - 1, "objectId": box.id - 1, "segments": [index], "label": box.label}
        for index, box in enumerate(boxes, 1)
    ]
    for ending, content in (
        (SEGMENTS, {"params": {}, "sceneId": folder.name, "segIndices": segments}),
        (AGGREGATION, {"sceneId": folder.name, "segGroups": groups, "segmentsFile": f"{folder.name}{SEGMENTS}"}),
    ):
        (folder / f"{folder.name}{ending}").write_text(json.dumps(content), encoding="utf-8")
