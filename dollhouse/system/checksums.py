"""Checksums of a folder's files in ``SHA256SUMS``; ``python -m dollhouse.system.checksums FOLDER`` writes them anew."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from dollhouse.errors import StorageError
from dollhouse.system.hashing import file_hash
from dollhouse.system.read_files import read_bytes

HASHES = "SHA256SUMS"
_MAX_BYTES = 1 << 22


def sum_lines(hashes: Mapping[str, str]) -> bytes:
    """Format hashes of files as ``sha256sum`` does."""
    return "".join(f"{hash}  {name}\n" for name, hash in sorted(hashes.items())).encode()


def read_sums(folder: Path) -> dict[str, str]:
    """Return the hashes in a folder's ``SHA256SUMS``: file name -> hash. Raises StorageError where it is damaged."""
    path = folder / HASHES
    content = read_bytes(path, StorageError, limit=_MAX_BYTES)
    hashes = {line[66:]: line[:64] for line in content.decode("utf-8", "replace").split("\n")[:-1]}
    if not hashes or sum_lines(hashes) != content or any("/" in name for name in hashes):
        raise StorageError(f"{path}: is damaged: it does not list hashes and files")
    return hashes


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS`` of the files directly in ``folder``, but for its README.md. Call it on a staged folder."""
    names = {path.name for path in folder.iterdir() if path.is_file()} - {HASHES, "README.md"}
    (folder / HASHES).write_bytes(sum_lines({name: file_hash(folder / name) for name in names}))


def check_checksums(folder: Path) -> dict[str, str]:
    """Compare the files of a folder with its ``SHA256SUMS``; return the hashes. Files not listed there are ignored.

    Raises StorageError, naming the first file that is missing, changed or damaged; also where ``SHA256SUMS`` is.
    """
    hashes = read_sums(folder)
    for name, expected in hashes.items():
        try:
            found = file_hash(folder / name)
        except OSError as error:
            raise StorageError(f"{folder / name}: cannot be read ({error.strerror or error})") from error
        if found != expected:
            raise StorageError(
                f"{folder / name}: is damaged or was changed: its hash is not that in {HASHES}; copy the folder again, "
                f"or, if you changed the file, run `python -m dollhouse.system.checksums {folder}`"
            )
    return hashes


if __name__ == "__main__":  # python -m dollhouse.system.checksums FOLDER ...
    for argument in sys.argv[1:]:
        write_checksums(Path(argument))
