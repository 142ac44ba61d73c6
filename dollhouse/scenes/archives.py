"""Bounded reading of untrusted zip archives."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

from dollhouse.errors import SceneError

# Raised by zipfile on damaged archives, and on encryption or compression that it cannot undo.
_ERRORS = (OSError, ValueError, KeyError, EOFError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile)


def open_archive(path: Path) -> zipfile.ZipFile:
    """Open a zip archive by its directory; raises SceneError."""
    try:
        return zipfile.ZipFile(path)
    except _ERRORS as error:
        raise SceneError(f"{path}: is not a zip archive that can be read ({error})") from error


def read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Read a file of an archive that unpacks to at most ``limit`` bytes; raises SceneError."""
    where = f"{archive.filename}/{name}"
    try:
        size = archive.getinfo(name).file_size
        if size > limit:
            raise SceneError(f"{where}: {size} bytes are too many (at most {limit})")
        return archive.read(name)
    except _ERRORS as error:
        raise SceneError(f"{where}: cannot be read from the archive ({error})") from error
