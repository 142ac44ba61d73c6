"""Write records to a store, and merge stores: a record is staged, synced and renamed into place."""

from __future__ import annotations

import errno
import secrets
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import BaseFileLock, FileLock, Timeout
from safetensors.numpy import save

from dollhouse.errors import StorageError
from dollhouse.records.index import CHUNK
from dollhouse.records.record import Record
from dollhouse.records.schema import answer_table, arrays_of, scene_table
from dollhouse.records.store import ANSWERS, ARRAYS, SCENE, RecordStore, read_record_file, record_hashes
from dollhouse.system.atomic_io import sync, write_text
from dollhouse.system.checksums import HASHES, sum_lines


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


SYNCING_THREADS = 8  #: of a merge, most of whose time the disk needs
UNFINISHED, PARTS = ".unfinished", ".parts"

#: dataset card: the configurations of ``datasets.load_dataset(folder, "answers")``
_CARD = f"""---
configs:
- config_name: answers
  data_files: "*/{ANSWERS}"
- config_name: scenes
  data_files: "*/{SCENE}"
---
Records of a Dollhouse teacher: its answers, features and geometry for each scene. `dollhouse records show` prints them.
"""


class RecordWriter(RecordStore):
    """Add records to a store; a context manager. Several processes may write to one folder at a time."""

    def __init__(self, folder: str | Path) -> None:
        """Raises StorageError where the folder cannot be made."""
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder}: records cannot be written there ({error.strerror})") from error
        super().__init__(folder)
        self._staging = StagingFolder(self.folder / UNFINISHED, self.folder / ".lock")

    def __enter__(self) -> Self:
        if links := [path for name in (UNFINISHED, PARTS) if (path := self.folder / name).is_symlink()]:
            raise StorageError(f"{links[0]}: is a link, which would be followed out of the folder; remove it")
        try:
            self._staging.__enter__()
            if not (card := self.folder / "README.md").exists():
                write_text(card, _CARD)
        except OSError as error:
            raise StorageError(f"{self.folder}: records cannot be written there ({error.strerror})") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._staging.__exit__()

    def write(self, record: Record) -> Path:
        """Write a record and return its folder; an existing one is left as it is.

        Raises StorageError where it cannot be written, for instance because the disk is full; nothing is left then.
        """
        contents = {ANSWERS: parquet_bytes(answer_table(record)), SCENE: parquet_bytes(scene_table(record))}
        if arrays := arrays_of(record):
            contents[ARRAYS] = save(arrays)
        return self._write(record.id, contents)

    def copy(self, store: RecordStore, id: str) -> Path:
        """Copy a record of another store as :meth:`write` does, after comparing its files with their hashes."""
        hashes = record_hashes(store.folder / id)
        return self._write(id, {name: read_record_file(store.folder / id / name, hashes) for name in hashes})

    def _write(self, id: str, contents: Mapping[str, bytes]) -> Path:
        target, staging = self.folder / id, self._staging.path / id
        if id in self:
            return target
        try:
            staging.mkdir(parents=True)
            sums = sum_lines({name: sha256(content).hexdigest() for name, content in contents.items()})
            for name, content in {**contents, HASHES: sums}.items():
                (staging / name).write_bytes(content)
                sync(staging / name)
            sync(staging)
            staging.rename(target)
            sync(self.folder)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY) and id in self:
                return target  # another process was faster, with the same record
            raise StorageError(
                f"{target}: the record cannot be written ({error.strerror or error}); "
                "free some space and run the same command again"
            ) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        self._by_scene = None
        return target


def merge_records(folders: Sequence[str | Path], out: str | Path) -> tuple[int, int]:
    """Copy the records of several folders to one; return how many were written, and how many it held already.

    The merged folder is the same as if one run had written all. Raises StorageError for a damaged record, and for a
    folder without records, before anything is written.
    """
    stores, written, existing = [RecordStore(folder) for folder in folders], 0, 0
    if empty := [store.folder for store in stores if not len(store)]:
        raise StorageError(f"{empty[0]}: holds no records; give folders that `dollhouse annotate --out` wrote")
    with RecordWriter(out) as records, ThreadPoolExecutor(SYNCING_THREADS) as pool:
        for store in stores:
            ids = store.ids()
            new = [id for id in ids if id not in records]
            written, existing = written + len(new), existing + len(ids) - len(new)
            for start in range(0, len(new), CHUNK):  # so that an error ends it soon
                list(pool.map(partial(records.copy, store), new[start : start + CHUNK]))
    return written, existing


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as the content of a Parquet file."""
    pq.write_table(table, buffer := pa.BufferOutputStream(), compression="zstd")
    content: bytes = buffer.getvalue().to_pybytes()
    return content
