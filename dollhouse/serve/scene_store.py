"""Uploaded scenes on disk, which outlive the server; the least recently used go when their bytes exceed a limit.

``<root>/<model>/<id>/`` holds ``scene.json`` and ``files/``. A scene is renamed into place whole, so that after a kill
it is there or not. ``<root>/incoming/`` holds uploads that are being encoded.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from dollhouse.errors import StorageError
from dollhouse.system.atomic_io import ADVICE, sync, write_text
from dollhouse.system.read_files import read_object

_ID = re.compile(r"scene-[0-9a-f]{32}")


class SceneStore:
    """Stored scenes of one model. One process at a time: the caller holds the root's lock."""

    def __init__(self, root: Path, model_id: str, limit: int) -> None:
        self.incoming = root / "incoming"
        self._folder = root / re.sub(r"[^\w.-]", "_", model_id)
        self._limit = limit
        self._lock = threading.RLock()
        try:
            shutil.rmtree(self.incoming, ignore_errors=True)  # of a killed server
            self.incoming.mkdir(parents=True, mode=0o700)
            self._folder.mkdir(exist_ok=True, mode=0o700)
            used = sorted((folder.stat().st_mtime, folder) for folder in self._folder.iterdir() if folder.is_dir())
            self._bytes = {folder.name: _size(folder) for _, folder in used}  # least recently used first
        except OSError as error:
            raise StorageError(f"cannot use {root} for scenes ({error.strerror}); choose another --store") from error

    @property
    def bytes(self) -> int:
        """Return the bytes of all stored scenes."""
        with self._lock:
            return sum(self._bytes.values())

    def new_folder(self) -> Path:
        """Make a folder for an upload; ``keep`` moves it, and the caller removes what is left."""
        return Path(tempfile.mkdtemp(dir=self.incoming))

    def keep(self, id: str, upload: Path, facts: dict[str, Any]) -> None:
        """Move an upload's folder into the store as ``id``, durably, and remove others until all fit.

        Raises StorageError where the disk is full, or cannot be written.
        """
        if id not in self._bytes:
            holder, final = Path(tempfile.mkdtemp(dir=self.incoming)), self._folder / id
            try:
                upload.rename(holder / "files")
                write_text(holder / "scene.json", json.dumps(facts, indent=1))
                for path in holder.rglob("*"):
                    sync(path)
                holder.rename(final)
                sync(self._folder)
            except OSError as error:
                shutil.rmtree(holder, ignore_errors=True)
                raise StorageError(f"cannot store the scene ({error.strerror}); {ADVICE}") from error
            with self._lock:
                self._bytes[id] = _size(final)
        self._use(id)
        with self._lock:
            while self.bytes > self._limit and len(self._bytes) > 1:
                self.remove(next(iter(self._bytes)))

    def find(self, id: str) -> tuple[Path, dict[str, Any]] | None:
        """Return the folder of a stored scene's files, and its facts; None where it is not stored."""
        if id not in self._bytes or not _ID.fullmatch(id):
            return None
        self._use(id)
        return self._folder / id / "files", read_object(self._folder / id / "scene.json", StorageError)

    def remove(self, id: str) -> bool:
        """Delete a scene; returns whether it was stored."""
        with self._lock:
            if self._bytes.pop(id, None) is None:
                return False
        doomed = self.incoming / f"deleted-{id}"
        with suppress(OSError):
            (self._folder / id).rename(doomed)  # at once, whatever the number of its files
        shutil.rmtree(doomed, ignore_errors=True)
        return True

    def _use(self, id: str) -> None:
        with self._lock:
            if id in self._bytes:
                self._bytes[id] = self._bytes.pop(id)
        with suppress(OSError):
            os.utime(self._folder / id)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
