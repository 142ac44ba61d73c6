"""Reader of ScanNet's 2D instance masks, read on demand from the zip archive that they come in."""

from __future__ import annotations

import logging
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.scenes.archives import open_archive
from dollhouse.scenes.images import read_ids

ENDINGS = ("_2d-instance-filt.zip", "_2d-instance.zip")  #: in order of preference
_MAX_BYTES = 32 << 20  # of one mask, packed or not
_MAX_PIXELS = 16_000_000
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of name and extra field


class _Member(NamedTuple):
    """What is needed to read one member without the archive's directory."""

    offset: int  #: of its local header
    compressed: int
    length: int
    deflated: bool


class InstanceArchive:
    """The masks of a scan by frame name; :attr:`missing` lists frames without a usable one."""

    def __init__(self, path: Path) -> None:
        """Read the archive's directory; raises SceneError."""
        self.path = path
        self.missing: list[str] = []
        with open_archive(path) as archive:
            entries = archive.infolist()
        self._members = {
            entry.filename.rpartition("/")[2][:-4]: _Member(
                entry.header_offset, entry.compress_size, entry.file_size, entry.compress_type == zipfile.ZIP_DEFLATED
            )
            for entry in entries
            if entry.filename.lower().endswith(".png")
            and entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            and not entry.flag_bits & 1  # encrypted
            and 0 < entry.file_size <= _MAX_BYTES
            and entry.compress_size <= _MAX_BYTES
        }

    def opener(self, frame: str, size: tuple[int, int]) -> Callable[[], NDArray[np.int32] | None] | None:
        """Return a reader of a frame's box ids, resized to an image of ``size`` (width, height); None for none."""
        member = self._members.get(frame)
        if member is None:
            self.missing.append(frame)
            return None
        return partial(_read_mask, self.path, frame, member, size)

    @property
    def notice(self) -> str | None:
        """Count :attr:`missing` in one line."""
        if not self.missing:
            return None
        return f"{self.path}: has no usable instance ids of {len(self.missing)} frames ({self.missing[0]})"


def _read_mask(path: Path, frame: str, member: _Member, size: tuple[int, int]) -> NDArray[np.int32] | None:
    """Read box ids (objectId + 1, as the masks store them); None, and one logged line, where the mask is broken."""
    where = path / f"{frame}.png"
    try:
        ids = read_ids(where, BytesIO(_read_member(path, member, where)), _MAX_PIXELS)
    except SceneError as error:
        logging.getLogger(__name__).warning("%s; the frame is used without instance ids", error)
        return None
    (width, height), (rows, columns) = size, ids.shape
    if (rows, columns) != (height, width):
        nearest_row = ((np.arange(height) + 0.5) * rows / height).astype(int)
        nearest_column = ((np.arange(width) + 0.5) * columns / width).astype(int)
        ids = ids[nearest_row[:, None], nearest_column]
    return ids


def _read_member(path: Path, member: _Member, where: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(member.offset)
            signature, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            file.seek(name_length + extra_length, 1)
            content = file.read(member.compressed)
        if signature != b"PK\3\4":
            raise zlib.error("no member starts there")
        if member.deflated:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, member.length)
    except (OSError, ValueError, struct.error, zlib.error) as error:
        raise SceneError(f"{where}: cannot be unpacked ({error})") from error
    return content
