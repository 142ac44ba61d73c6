"""A file of keys and bytes that grows row by row and survives a kill: SQLite."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from dollhouse.errors import StorageError

_TABLE = "CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, content BLOB) WITHOUT ROWID"


class KeyValueFile:
    """A table of keys and bytes in an SQLite file; a connection a process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: tuple[int, sqlite3.Connection] | None = None
        self._inherited: Any = None  #: connection of the parent process, which a child must not close

    def keys(self) -> set[str]:
        """Return all keys."""
        return {key for (key,) in self._run("SELECT key FROM rows")}

    def read(self, key: str) -> bytes | None:
        """Return the bytes of a key; None where it is missing."""
        return next((content for (content,) in self._run("SELECT content FROM rows WHERE key = ?", (key,))), None)

    def write(self, rows: dict[str, bytes]) -> None:
        """Store rows, all or none."""
        for key, content in rows.items():
            self._run("INSERT OR REPLACE INTO rows VALUES (?, ?)", (key, content))
        self._connect().commit()

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return self._connect().execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: cannot be used ({error}); delete it, or set XDG_CACHE_HOME") from error

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None or self._connection[0] != os.getpid():
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                connection = sqlite3.connect(self.path, timeout=60.0)
                connection.execute(_TABLE)
            except (OSError, sqlite3.Error) as error:
                raise StorageError(
                    f"{self.path}: cannot be used ({error}); delete it, or set XDG_CACHE_HOME"
                ) from error
            self._inherited, self._connection = self._connection, (os.getpid(), connection)
        return self._connection[1]

    def __getstate__(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "_connection": None,
            "_inherited": None,
        }  # a connection does not survive in another process
