"""A file of keys and bytes that grows row by row and survives a kill: SQLite."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from dollhouse.errors import StorageError

_TABLE = "CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, content BLOB) WITHOUT ROWID"
_MARK = b"sha256"  #: before the digest at the end of a row


class KeyValueFile:
    """A table of keys and bytes in an SQLite file; a connection a process. Methods raise StorageError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: tuple[int, sqlite3.Connection] | None = None
        self._inherited: Any = None  #: connection of the parent process, which a child must not close

    def keys(self) -> set[str]:
        """Return all keys."""
        with self._transaction() as connection:
            return {key for (key,) in connection.execute("SELECT key FROM rows")}

    def read(self, key: str) -> bytes | None:
        """Return the bytes of a key; None where it is missing. A damaged row is deleted, and raises StorageError."""
        with self._transaction() as connection:
            row = connection.execute("SELECT content FROM rows WHERE key = ?", (key,)).fetchone()
        content = None if row is None else _checked(row[0])
        if row is not None and content is None:
            with self._transaction() as connection:
                connection.execute("DELETE FROM rows WHERE key = ?", (key,))
            raise StorageError(f"{self.path}: a damaged row was deleted; the same command computes it again")
        return content

    def read_all(self) -> dict[str, bytes]:
        """Return the bytes of all keys but those of damaged rows."""
        with self._transaction() as connection:
            rows = connection.execute("SELECT key, content FROM rows")
            return {key: checked for key, row in rows if (checked := _checked(row)) is not None}

    def write(self, rows: dict[str, bytes]) -> None:
        """Store rows, all or none."""
        with self._transaction() as connection:
            checked = {key: content + _MARK + sha256(content).digest() for key, content in rows.items()}
            connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", checked.items())

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._connection is None or self._connection[0] != os.getpid():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                opened = sqlite3.connect(self.path, timeout=60.0)
                opened.execute(_TABLE)
                self._inherited, self._connection = self._connection, (os.getpid(), opened)
            with self._connection[1] as connection:
                yield connection
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"{self.path}: cannot be used ({error}); delete it, or set XDG_CACHE_HOME") from error

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_connection": None, "_inherited": None}  # a connection is of one process


def _checked(row: bytes) -> bytes | None:
    """Return the content of a row; None where it is not that of its digest."""
    content, mark, digest = row[:-38], row[-38:-32], row[-32:]
    if mark != _MARK:  # of an older version, which stored no digests
        return bytes(row)
    return bytes(content) if sha256(content).digest() == digest else None
