"""Content hashes that are equal in every process and on every machine."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import ModelError

MODEL_SUFFIXES = (".safetensors", ".bin", ".pt", ".json", ".jinja", ".model", ".txt")


class ContentDigest:
    """SHA-256 over named pieces, each preceded by its length so that no two lists of pieces collide."""

    def __init__(self) -> None:
        self._digest = sha256()

    def add(self, name: str, text: str) -> None:
        """Add a named text."""
        for piece in (name.encode(), text.encode()):
            self._digest.update(len(piece).to_bytes(8, "little"))
            self._digest.update(piece)

    def add_array(self, name: str, array: np.ndarray | None) -> None:
        """Add a named array with its dtype and shape, independent of byte order; or its absence."""
        if array is None:
            self.add(name, "none")
            return
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        self.add(name, f"{little.dtype.str} {little.shape}")
        self._digest.update(little.tobytes())

    def hexdigest(self) -> str:
        """Return 64 hex digits."""
        return self._digest.hexdigest()


def canonical_json(value: Any) -> str:
    """Serialise a value to the one JSON text that stands for it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits. Raises OSError where it cannot be read, or is a pipe or device."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a file")
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def files_hash(files: Iterable[Path]) -> str:
    """Return 12 hex digits of the names and contents of files. Raises ModelError for an unreadable file."""
    digest = ContentDigest()
    for path in files:
        try:
            digest.add(path.name, file_hash(path))
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()[:12]


def folder_hash(folder: Path) -> str:
    """Return 12 hex digits of a model folder's weights, configurations and tokenizer.

    Raises ModelError where the folder holds none of these, or one cannot be read.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix in MODEL_SUFFIXES and path.is_file())
    if not files:
        raise ModelError(f"{folder}: holds no model; give the folder with config.json and the weights")
    return files_hash(files)
