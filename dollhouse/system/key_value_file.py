"""A file of keys and bytes that grows row by row and survives a kill: SQLite."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dollhouse.errors import StorageError

_TABLE = "CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, content BLOB) WITHOUT ROWID"


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
        """Return the bytes of a key; None where it is missing."""
        with self._transaction() as connection:
            row = connection.execute("SELECT content FROM rows WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def write(self, rows: dict[str, bytes]) -> None:
        """Store rows, all or none."""
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", rows.items())

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
