"""Reader of ScanNet's ``.sens`` streams: a header, then compressed colour and depth of each frame with its pose."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import isfinite, prod
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.geometry import Array
from dollhouse.scenes.images import MIN_SIDE, read_image

#: version, length of the sensor's name, which follows
PREAMBLE: Final = struct.Struct("<IQ")
#: intrinsics and extrinsics of colour, then of depth (4 x 16 numbers); codecs and sizes of both; units of depth per
#: metre; number of frames
HEADER: Final = struct.Struct("<64f2i4IfQ")
#: world_from_camera (16 numbers), times and lengths of colour and depth, which follow
FRAME: Final = struct.Struct("<16f4Q")
SUFFIX: Final = ".sens"
VERSION: Final = 4
RAW, PNG, JPEG = range(3)  #: codecs of colour
RAW_USHORT, ZLIB_USHORT = range(2)  #: codecs of depth
_OTHER_CODECS = {("depth", 2): "occi_ushort"}

_MAX_SIDE = 8192
_MAX_FRAMES = 1_000_000  # nine hours
_MAX_NAME = 4096
_SLACK = 65_536  # bytes by which a codec may exceed the raw pixels


class Block(NamedTuple):
    """Where the compressed pixels of one frame lie in the file, in bytes."""

    start: int
    length: int


@dataclass(frozen=True)
class Sensor:
    """What all colour images, or all depth maps, of a stream share."""

    matrix: Array  #: (4, 4) intrinsics as ScanNet writes them
    size: tuple[int, int]  #: width, height
    codec: int


@dataclass(frozen=True, eq=False)
class Stream:
    """The header and the frame table of a ``.sens`` file; pixels are read on demand."""

    path: Path
    colour: Sensor
    depth: Sensor
    units_per_metre: float
    poses: Array  #: (N, 4, 4) world_from_camera; not finite where tracking was lost
    blocks: Sequence[tuple[Block, Block]]  #: colour and depth of each frame
    declared: int  #: frames by the header; more than N where the file is cut short

    def read_colour(self, index: int) -> NDArray[np.uint8]:
        """Decode the colour image (H, W, 3) of a frame; raises SceneError."""
        where, (width, height) = self.frame_path(index), self.colour.size
        content = self._read(self.blocks[index][0], where)
        if self.colour.codec == RAW:
            return _as_pixels(content, (height, width, 3), "u1", where).astype(np.uint8)
        image = read_image(where, content=BytesIO(content))
        if image.shape != (height, width, 3):
            raise SceneError(f"{where}: is {image.shape[1]}x{image.shape[0]}, but the header gives {width}x{height}")
        return image

    def read_depth(self, index: int) -> NDArray[np.float32]:
        """Decode the depth map (H, W) of a frame, in metres; raises SceneError."""
        where, (width, height) = self.frame_path(index), self.depth.size
        content = self._read(self.blocks[index][1], where)
        if self.depth.codec == ZLIB_USHORT:
            try:
                content = zlib.decompressobj().decompress(content, 2 * width * height + 1)
            except zlib.error as error:
                raise SceneError(f"{where}: its depth is broken ({error})") from error
        units = _as_pixels(content, (height, width), "<u2", where)
        return units.astype(np.float32) / np.float32(self.units_per_metre)

    def frame_path(self, index: int) -> Path:
        """Return the name of a frame for messages."""
        return self.path / f"frame {index}"

    def _read(self, block: Block, where: Path) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(block.start)
                content = file.read(block.length)
        except OSError as error:
            raise SceneError(f"{self.path}: cannot be read ({error.strerror})") from error
        if len(content) < block.length:
            raise SceneError(f"{where}: is cut short")
        return content


def read_stream(path: Path) -> Stream:
    """Read the header and the frame table of a stream without its pixels.

    Frames after a cut, or after a frame whose lengths cannot be right, are missing from the table. Raises SceneError
    where the header is broken or names a codec that cannot be decoded, or no frame is left.
    """
    try:
        with path.open("rb", buffering=0) as file:
            return _read_stream(path, file, path.stat().st_size)
    except OSError as error:
        raise SceneError(f"{path}: cannot be read ({error.strerror})") from error


def _read_stream(path: Path, file: BinaryIO, end: int) -> Stream:
    version, name_length = _unpack(PREAMBLE, file, path)
    if version != VERSION or name_length > _MAX_NAME:
        fault = f"starts with {version} and a name of {name_length} bytes, not with {VERSION} and a sensor's name"
        raise SceneError(f"{path}: is not a .sens stream of version {VERSION} ({fault})")
    file.seek(name_length, 1)
    values = _unpack(HEADER, file, path)
    matrices = np.array(values[:64], dtype=np.float64).reshape(4, 4, 4)
    colour_codec, depth_codec, *sizes, units_per_metre, declared = values[64:]
    colour = _sensor("colour", matrices[0], sizes[:2], colour_codec, (RAW, PNG, JPEG), path)
    depth = _sensor("depth", matrices[2], sizes[2:], depth_codec, (RAW_USHORT, ZLIB_USHORT), path)
    if not (isfinite(units_per_metre) and units_per_metre > 0):
        raise SceneError(f"{path}: its depth_shift of {units_per_metre:g} is not a number of units per metre")
    if not 0 < declared <= _MAX_FRAMES:
        raise SceneError(f"{path}: its header gives {declared} frames; a stream has 1 to {_MAX_FRAMES}")
    limits = [channels * sensor.size[0] * sensor.size[1] + _SLACK for sensor, channels in ((colour, 4), (depth, 2))]
    poses: list[tuple[float, ...]] = []
    blocks: list[tuple[Block, Block]] = []
    start = file.tell()
    for _ in range(declared):
        file.seek(start)
        record = file.read(FRAME.size)
        if len(record) < FRAME.size:
            break
        *pose, _, _, colour_length, depth_length = FRAME.unpack(record)
        start += FRAME.size
        if colour_length > limits[0] or depth_length > limits[1] or start + colour_length + depth_length > end:
            break
        poses.append(tuple(pose))
        blocks.append((Block(start, colour_length), Block(start + colour_length, depth_length)))
        start += colour_length + depth_length
    if not blocks:
        raise SceneError(f"{path}: is cut short or broken before the end of its first frame")
    table = np.array(poses, dtype=np.float64).reshape(-1, 4, 4)
    return Stream(path, colour, depth, units_per_metre, table, blocks, declared)


def _unpack(layout: struct.Struct, file: BinaryIO, path: Path) -> tuple[Any, ...]:
    content = file.read(layout.size)
    if len(content) < layout.size:
        raise SceneError(f"{path}: is cut short within its header")
    return layout.unpack(content)


def _sensor(kind: str, matrix: Array, size: list[int], codec: int, codecs: Sequence[int], path: Path) -> Sensor:
    if codec not in codecs:
        name = _OTHER_CODECS.get((kind, codec), "unknown")
        raise SceneError(
            f"{path}: its {kind} is compressed by codec {codec} ({name}), which cannot be decoded; export the frames "
            "with ScanNet's SensReader and give that folder"
        )
    width, height = size
    if not (MIN_SIDE <= width <= _MAX_SIDE and MIN_SIDE <= height <= _MAX_SIDE):
        raise SceneError(f"{path}: its header gives {kind} of {width}x{height} pixels; {MIN_SIDE} to {_MAX_SIDE} fit")
    return Sensor(matrix, (width, height), codec)


def _as_pixels(content: bytes, shape: tuple[int, ...], kind: str, where: Path) -> NDArray[np.generic]:
    if len(content) != np.dtype(kind).itemsize * prod(shape):
        raise SceneError(f"{where}: holds {len(content)} bytes, which are not {shape[1]}x{shape[0]} pixels")
    return np.frombuffer(content, kind).reshape(shape)
