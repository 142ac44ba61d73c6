"""A folder for unfinished files of one process, removed by the next process if this one is killed."""

from __future__ import annotations

import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Self

from filelock import BaseFileLock, FileLock, Timeout


class StagingFolder:
    """A folder ``<parent>/<random name>``, with ``<random name>.lock`` locked as long as the process lives.

    A context manager; several processes may hold folders of one parent. The name is random because process ids repeat
    between containers. Raises OSError where the folder cannot be made.
    """

    def __init__(self, parent: Path, gate: Path) -> None:
        """``gate`` is a lock file held while processes come and go."""
        self.path = parent / secrets.token_hex(8)
        self._gate = FileLock(gate)
        self._lock: BaseFileLock | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(exist_ok=True)
        with self._gate:
            self._remove_abandoned()
            self.path.mkdir()
            self._lock = FileLock(f"{self.path}.lock")
            self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
            with suppress(OSError):
                Path(self._lock.lock_file).unlink(missing_ok=True)

    def _remove_abandoned(self) -> None:
        for path in {path.with_suffix("") for path in self.path.parent.iterdir()}:  # a folder, its lock file, or both
            lock = FileLock(f"{path}.lock")
            with suppress(Timeout), lock.acquire(blocking=False):
                shutil.rmtree(path, ignore_errors=True)
                with suppress(OSError):
                    Path(lock.lock_file).unlink(missing_ok=True)
