"""Small scans, as folders and as streams, and photos, written to disk for the scene readers' tests."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

COLOUR, DEPTH = (64, 48), (32, 24)  #: width and height of the images of a scan
QUARTER_TURN = np.array([[0, -1, 0, 5], [1, 0, 0, 0], [0, 0, 1, 0.5], [0, 0, 0, 1.0]])


def write_matrix(path: Path, matrix: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(" ".join(str(value) for value in row) for row in np.asarray(matrix).tolist()))


def write_photo(path: Path, colour: tuple[int, ...] = (200, 40, 40), size: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[len(colour)]
    Image.new(mode, size, colour if len(colour) > 1 else colour[0]).save(path)
    return path


def camera_matrix(focal: float, width: int, height: int) -> np.ndarray:
    """4x4 as ScanNet writes it: the centre of the top left pixel is (0, 0)."""
    matrix = np.eye(4)
    matrix[0, 0] = matrix[1, 1] = focal
    matrix[0, 2], matrix[1, 2] = (width - 1) / 2, (height - 1) / 2
    return matrix


def pose_at(x: float) -> np.ndarray:
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


def write_scan(folder: Path, frames: int = 4, depth: bool = True) -> Path:
    """A scan of ``frames`` frames: colour 64x48, depth 32x24 with 1000 + its number mm, camera i at x = i."""
    for i in range(frames):
        write_photo(folder / "color" / f"{i}.jpg")
        write_matrix(folder / "pose" / f"{i}.txt", pose_at(i))
        if depth:
            write_depth(folder / "depth" / f"{i}.png", np.full((24, 32), 1000 + i))
    write_matrix(folder / "intrinsic" / "intrinsic_color.txt", camera_matrix(60.0, 64, 48))
    if depth:
        write_matrix(folder / "intrinsic" / "intrinsic_depth.txt", camera_matrix(28.0, 32, 24))
    return folder


def write_depth(path: Path, millimetres: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(millimetres.astype(np.uint16)).save(path)


def write_alignment(folder: Path, lines: str = "") -> None:
    """Write :data:`QUARTER_TURN` as the scan's axis alignment, after other ``lines`` of its text file."""
    numbers = " ".join(str(value) for value in QUARTER_TURN.ravel())
    (folder / f"{folder.name}.txt").write_text(f"{lines}axisAlignment = {numbers}\n")


def write_annotation(folder: Path, binary: bool = True) -> Path:
    """Write a mesh with two segments per object: a table of 2 x 1 x 0.7 m at the origin, a chair of 0.5 m cubed."""
    name = folder.name
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float32)
    table = (corners - [0.5, 0.5, 0]) * [2.0, 1.0, 0.7]
    chair = corners * 0.5 + [3.0, 0.0, 0.0]
    floor = np.array([[-9, -9, 0], [9, 9, 0]])
    write_ply(folder / f"{name}_vh_clean_2.ply", np.concatenate([table, chair, floor]), binary)
    segments = [7] * 4 + [3] * 4 + [12] * 5 + [4] * 3 + [0] * 2
    (folder / f"{name}_vh_clean_2.0.010000.segs.json").write_text(json.dumps({"segIndices": segments}))
    groups = [
        {"id": 0, "objectId": 0, "segments": [3, 7], "label": "Table"},
        {"id": 5, "objectId": 5, "segments": [12, 4], "label": "office chair"},
    ]
    (folder / f"{name}.aggregation.json").write_text(json.dumps({"segGroups": groups}))
    return folder


def write_ply(path: Path, vertices: np.ndarray, binary: bool) -> None:
    kind = "binary_little_endian" if binary else "ascii"
    properties = "".join(f"property float {axis}\n" for axis in "xyz")
    header = (
        f"ply\nformat {kind} 1.0\nelement vertex {len(vertices)}\n{properties}"
        "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    )
    if binary:
        face = np.uint8(3).tobytes() + np.array([0, 1, 2], dtype="<i4").tobytes()
        path.write_bytes(header.encode() + vertices.astype("<f4").tobytes() + face)
    else:
        rows = "".join(f"{x} {y} {z}\n" for x, y, z in vertices.tolist())
        path.write_text(f"{header}{rows}3 0 1 2\n")


def encode(pixels: np.ndarray, codec: str) -> bytes:
    if codec == "raw":
        return pixels.tobytes()
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, codec)
    return content.getvalue()


def stream_header(**changes: object) -> bytes:
    """Build the start of a stream of four frames."""
    values: dict[str, object] = {
        "version": 4,
        "name_length": 15,
        "colour_codec": 2,
        "depth_codec": 1,
        "colour_size": COLOUR,
        "depth_size": DEPTH,
        "units": 1000.0,
        "count": 4,
        "colour_matrix": camera_matrix(60.0, *COLOUR),
    }
    values |= changes
    matrices = [values["colour_matrix"], np.eye(4), camera_matrix(28.0, *DEPTH), np.eye(4)]
    start = struct.pack("<IQ", values["version"], values["name_length"]) + b"StructureSensor"
    start += np.array(matrices, dtype="<f4").tobytes()
    start += struct.pack("<2i", values["colour_codec"], values["depth_codec"])
    start += struct.pack("<4i", *values["colour_size"], *values["depth_size"])  # type: ignore[misc]
    return start + struct.pack("<fQ", values["units"], values["count"])


def stream_frame(index: int, colour_codec: str = "JPEG", depth_codec: int = 1, pose: np.ndarray | None = None) -> bytes:
    """Build a frame like that of :func:`write_scan`."""
    colour = encode(np.full((COLOUR[1], COLOUR[0], 3), (200, 40, 40), np.uint8), colour_codec)
    depth = np.full((DEPTH[1], DEPTH[0]), 1000 + index, "<u2").tobytes()
    depth = zlib.compress(depth) if depth_codec == 1 else depth
    record = np.asarray(pose_at(index) if pose is None else pose, "<f4").tobytes()
    return record + struct.pack("<4Q", 33 * index, 33 * index, len(colour), len(depth)) + colour + depth


def write_stream(path: Path, frames: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = [stream_header(count=frames), *map(stream_frame, range(frames)), struct.pack("<Q", 0)]
    path.write_bytes(b"".join(content))
    return path


def write_masks(path: Path, frames: int, size: tuple[int, int] = COLOUR, **options: int) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:  # type: ignore[arg-type]
        for index in range(frames):
            mask = np.zeros((size[1], size[0]), np.uint8)
            mask[: size[1] // 2] = index % 255 + 1
            archive.writestr(f"instance-filt/{index}.png", encode(mask, "PNG"))
    return path
