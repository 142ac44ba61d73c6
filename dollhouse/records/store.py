"""The store of records: a folder of folders, one a record, each whole or absent.

``records/<id>/answers.parquet`` has a row an answer, ``scene.parquet`` one row about the scene, ``arrays.safetensors``
features, depth and object ids, ``SHA256SUMS`` the hashes of these, which every read compares (and ``sha256sum -c``
can). A record is written under ``records/.unfinished`` and then moved to its place in one step, so what stands there
is whole; what a killed run left is removed when the next one starts. Nothing in a record depends on when or by which
machine it was made. Knows nothing of teachers.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dollhouse.errors import StorageError
from dollhouse.records.content_hash import record_id
from dollhouse.records.record import Record
from dollhouse.records.schema import SCENE_COLUMNS, answer_table, arrays_of, record_from, scene_table

ANSWERS, SCENE, ARRAYS, HASHES = "answers.parquet", "scene.parquet", "arrays.safetensors", "SHA256SUMS"
UNFINISHED = ".unfinished"
_HEX = set("0123456789abcdef")

#: what ``datasets.load_dataset(folder, "answers")`` goes by
_CARD = f"""---
configs:
- config_name: answers
  data_files: "*/{ANSWERS}"
- config_name: scenes
  data_files: "*/{SCENE}"
---
Records of a Dollhouse teacher: what it said about each scene. `dollhouse records show` looks inside.
"""


class RecordStore:
    """The records in a folder, to be read. Every read is checked against the hashes kept with the record."""

    def __init__(self, folder: str | Path) -> None:
        """Raises StorageError where ``folder`` is not a folder of records (an empty one is)."""
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise StorageError(f"{self.folder}: no records are there; make them with `dollhouse label --out`")
        self._by_scene: dict[str, list[str]] | None = None

    def ids(self) -> tuple[str, ...]:
        """Ids of all records, sorted."""
        return tuple(sorted(path.name for path in self.folder.iterdir() if _is_id(path.name) and path.is_dir()))

    def __len__(self) -> int:
        return len(self.ids())

    def __contains__(self, id: str) -> bool:
        return _is_id(id) and (self.folder / id).is_dir()

    def __iter__(self) -> Iterator[Record]:
        return map(self.read, self.ids())

    def of_scene(self, name: str) -> tuple[Record, ...]:
        """The records of a scene by its name, in the order of their ids. The first call looks into all records."""
        if self._by_scene is None:
            self._by_scene = {}
            for id in self.ids():
                self._by_scene.setdefault(self.row(id)["scene"], []).append(id)
        return tuple(self.read(id) for id in self._by_scene.get(name, ()))

    def row(self, id: str) -> dict[str, Any]:
        """The row of ``scene.parquet``. Raises StorageError where the record is missing or that file damaged."""
        if id not in self:
            raise StorageError(f"{self.folder}: has no record {id}")
        path = self.folder / id / SCENE
        rows = _rows(path, _checked(path, _hashes(path.parent)))
        if len(rows) != 1 or set(rows[0]) != set(SCENE_COLUMNS.names) or rows[0]["record"] != id:
            raise StorageError(f"{path}: does not belong to its record{_mend(path.parent)}")
        return rows[0]

    def read(self, id: str) -> Record:
        """The record with this id. Raises StorageError where it is missing or damaged, naming the file."""
        row = self.row(id)
        folder = self.folder / id
        hashes = _hashes(folder)
        answers = _rows(folder / ANSWERS, _checked(folder / ANSWERS, hashes))
        arrays = _tensors(folder / ARRAYS, _checked(folder / ARRAYS, hashes)) if ARRAYS in hashes else {}
        return record_from(row, answers, arrays)

    def check(self) -> list[str]:
        """One line for everything in the folder that is damaged or does not belong there; [] where all is well."""
        problems = []
        for path in sorted(self.folder.iterdir()):
            if path.name.startswith(".") or path.name == "README.md":
                continue
            if not (_is_id(path.name) and path.is_dir()):
                problems.append(f"{path}: is no record")
                continue
            try:
                record = self.read(path.name)
            except StorageError as error:
                problems.append(str(error))
                continue
            if record_id(record.scene_hash, record.questions, record.provenance) != record.id:
                problems.append(f"{path}: its id is not that of what it holds{_mend(path)}")
            for other in sorted(set(os.listdir(path)) - {HASHES, *_hashes(path)}):
                problems.append(f"{path / other}: does not belong to the record")
        return problems


class RecordWriter(RecordStore):
    """Records to be added to; a context manager. Several processes may write to one folder at a time."""

    def __init__(self, folder: str | Path) -> None:
        """Raises StorageError where the folder cannot be made."""
        self._lock: BinaryIO | None = None
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder}: records cannot be kept there ({error.strerror})") from error
        super().__init__(folder)

    def __enter__(self) -> Self:
        try:
            self._lock = (self.folder / ".lock").open("ab")
            self._clean()
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            (self.folder / UNFINISHED).mkdir(exist_ok=True)
            self._describe()
        except OSError as error:
            self.__exit__(None, None, None)
            raise StorageError(f"{self.folder}: records cannot be kept there ({error.strerror})") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()  # gives the lock back, as dying does

    def write(self, record: Record) -> Path:
        """Keep a record; its folder. One that is there already is left as it is.

        Raises StorageError where it cannot be written, for instance because the disk is full; nothing is left then.
        """
        place = self.folder / record.id
        if record.id in self:
            return place
        staging = self.folder / UNFINISHED / f"{record.id}.{os.getpid()}"
        try:
            staging.mkdir(parents=True)
            contents = {ANSWERS: _parquet(answer_table(record)), SCENE: _parquet(scene_table(record))}
            if arrays := arrays_of(record):
                contents[ARRAYS] = save(arrays)
            for name, content in contents.items():
                _write(staging / name, content)
            _write(staging / HASHES, _sums(contents))
            _settle(staging)
            staging.rename(place)
            _settle(self.folder)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY) and record.id in self:
                return place  # another process was faster, with the same record
            raise StorageError(
                f"{place}: the record cannot be written ({error.strerror or error}); "
                "free some space and run the same command again"
            ) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        self._by_scene = None
        return place

    def _clean(self) -> None:
        """Remove what killed runs left, unless another run is at work here, whose unfinished records these may be."""
        assert self._lock is not None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if (self.folder / UNFINISHED).exists():
            shutil.rmtree(self.folder / UNFINISHED)

    def _describe(self) -> None:
        card = self.folder / "README.md"
        if not card.exists():
            staging = self.folder / UNFINISHED / f"README.md.{os.getpid()}"
            _write(staging, _CARD.encode())
            staging.replace(card)


def count_families(records: RecordStore) -> Counter[str]:
    """How many answers of each family there are, from the answers' ``family`` column alone."""
    counts: Counter[str] = Counter()
    for id in records.ids():
        path = records.folder / id / ANSWERS
        counts.update(row["family"] for row in _rows(path, _bytes(path), ["family"]))
    return counts


def _is_id(name: str) -> bool:
    return len(name) == 32 and set(name) <= _HEX


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _sums(contents: Mapping[str, bytes]) -> bytes:
    return _sum_lines({name: sha256(content).hexdigest() for name, content in contents.items()})


def _sum_lines(hashes: Mapping[str, str]) -> bytes:
    """Hashes of files in the form of ``sha256sum``."""
    return "".join(f"{hash}  {name}\n" for name, hash in sorted(hashes.items())).encode()


def _hashes(folder: Path) -> dict[str, str]:
    """File name -> hash, as the record itself tells them."""
    path = folder / HASHES
    content = _bytes(path)
    hashes = {line[66:]: line[:64] for line in content.decode("utf-8", "replace").splitlines()}
    told = {ANSWERS, SCENE} <= set(hashes) <= {ANSWERS, SCENE, ARRAYS}
    if not told or _sum_lines(hashes) != content:
        raise StorageError(f"{path}: is damaged, it does not tell the hashes of the record{_mend(folder)}")
    return hashes


def _write(path: Path, content: bytes) -> None:
    """Write a file, down to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _settle(folder: Path) -> None:
    """Have the names in a folder on the disk, so that they outlast a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}){_mend(path.parent)}") from error


def _checked(path: Path, hashes: Mapping[str, str]) -> bytes:
    content = _bytes(path)
    if sha256(content).hexdigest() != hashes[path.name]:
        raise StorageError(f"{path}: is damaged, its hash is not that in {HASHES}{_mend(path.parent)}")
    return content


def _rows(path: Path, content: bytes, columns: list[str] | None = None) -> list[dict[str, Any]]:
    try:
        # without Arrow's threads: the files are small, and a process that ends while these start up is aborted
        file = pq.ParquetFile(io.BytesIO(content), pre_buffer=False)
        return file.read(columns=columns, use_threads=False).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise StorageError(f"{path}: is damaged ({str(error).splitlines()[0]}){_mend(path.parent)}") from error


def _tensors(path: Path, content: bytes) -> dict[str, Any]:
    try:
        return load(content)
    except (SafetensorError, ValueError) as error:
        raise StorageError(f"{path}: is damaged ({error}){_mend(path.parent)}") from error


def _mend(folder: Path) -> str:
    return f"; delete {folder} and label again"
