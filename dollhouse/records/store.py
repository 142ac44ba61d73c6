"""The store of records: a folder with one folder per record, each complete or absent.

``<id>/answers.parquet`` has a row per answer, ``scene.parquet`` one row about the scene, ``arrays.safetensors``
features, depth and instance maps, ``SHA256SUMS`` the hashes of these (``sha256sum -c`` works), compared on every read.
A record is written under ``.unfinished`` and then renamed; the next writer removes what a killed one left there.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from dollhouse.errors import StorageError
from dollhouse.questions.generate import Question
from dollhouse.records.content_hash import record_id
from dollhouse.records.index import CHUNK, MIN_CHUNKS, RecordEntry, in_chunks, read_entries
from dollhouse.records.record import Record
from dollhouse.records.schema import SCENE_COLUMNS, answers_from, record_from
from dollhouse.records.types import TeacherAnswer
from dollhouse.system.checksums import HASHES, read_sums
from dollhouse.system.links import refuse_links
from dollhouse.system.processes import run_jobs
from dollhouse.system.progress import ProgressBar
from dollhouse.system.read_files import MAX_UNPACKED, decode_json, decoding, read_bytes, read_parquet, read_safetensors

ANSWERS, SCENE, ARRAYS = "answers.parquet", "scene.parquet", "arrays.safetensors"
_HEX = set("0123456789abcdef")


@dataclass(frozen=True)
class StoreSummary:
    """The contents of a record store in numbers."""

    records: int
    size_bytes: int
    families: Counter[str]  #: answers by question family


class RecordStore:
    """Read the records in a folder; every read is checked against the hashes stored with the record."""

    def __init__(self, folder: str | Path) -> None:
        """Raises StorageError where ``folder`` is not a folder; an empty one is a store without records."""
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise StorageError(f"{self.folder}: no records are there; make them with `dollhouse annotate --out`")
        refuse_links(self.folder, StorageError, 1)
        self._by_scene: dict[str, list[str]] | None = None

    def ids(self) -> tuple[str, ...]:
        """Return the ids of all records, sorted."""
        return tuple(sorted(entry.name for entry in self._folders()))

    def entries(self) -> list[RecordEntry]:
        """Return what the index holds of each record, by id; records that it lacks are read first, in parallel.

        Raises StorageError as :meth:`row`.
        """
        changed = {entry.name: entry.stat().st_mtime_ns for entry in self._folders()}
        return read_entries(self.folder, changed, self._measure)

    def __len__(self) -> int:
        return len(self.ids())

    def __contains__(self, id: str) -> bool:
        return _is_id(id) and (self.folder / id).is_dir()

    def _folders(self) -> list[os.DirEntry[str]]:
        with os.scandir(self.folder) as entries:
            return [entry for entry in entries if _is_id(entry.name) and entry.is_dir()]

    def __iter__(self) -> Iterator[Record]:
        return map(self.read, self.ids())

    def for_scene(self, name: str) -> tuple[Record, ...]:
        """Return the records of a scene by its name, sorted by id. The first call reads the index."""
        return tuple(self.read(id) for id in self._scene_index().get(name, ()))

    def find(self, which: str) -> list[str]:
        """Return the ids that begin with ``which``, or else those of the scene of that name; StorageError for none."""
        ids = [id for id in self.ids() if id.startswith(which)] or self._scene_index().get(which, [])
        if not ids:
            raise StorageError(f"{self.folder}: has no record {which!r}; give a scene's name or the start of an id")
        return ids

    def row(self, id: str) -> dict[str, Any]:
        """Return the row of ``scene.parquet``. Raises StorageError where the record is missing or the file damaged."""
        if id not in self:
            raise StorageError(f"{self.folder}: has no record {id}")
        path = self.folder / id / SCENE
        rows = _rows(path, record_hashes(path.parent))
        if len(rows) != 1 or set(rows[0]) != set(SCENE_COLUMNS.names) or rows[0]["record"] != id:
            raise StorageError(f"{path}: does not belong to its record; {_remedy(path)}")
        return rows[0]

    def read(self, id: str) -> Record:
        """Return the record with this id. Raises StorageError naming the file that is missing or damaged."""
        row, folder = self.row(id), self.folder / id
        hashes, path = record_hashes(folder), folder / ARRAYS
        answers = _rows(folder / ANSWERS, hashes)
        arrays = {}
        if ARRAYS in hashes:
            arrays = read_safetensors(read_record_file(path, hashes), path, StorageError, _remedy(path))
        with decoding(folder, "a whole record", StorageError, _remedy(path)):
            return record_from(row, answers, arrays)

    def answered(self, id: str) -> list[tuple[Question, TeacherAnswer]]:
        """Return the questions and answers of a record, without reading its arrays. Raises as :meth:`read`."""
        path = self.folder / id / ANSWERS
        rows = _rows(path, record_hashes(path.parent))
        with decoding(path, "a table of answers", StorageError, _remedy(path)):
            return answers_from(rows)

    def summary(self) -> StoreSummary:
        """Count records, bytes and answers by question family."""
        families: Counter[str] = Counter()
        entries = self.entries()
        for entry in entries:
            families.update(decode_json(entry.families))
        return StoreSummary(len(entries), sum(entry.size for entry in entries), families)

    def check(self) -> list[str]:
        """Return one line for each file that is damaged or does not belong in the folder."""
        ids = self.ids()
        others = {name for name in os.listdir(self.folder) if not name.startswith(".")} - {*ids, "README.md"}
        problems = {name: [f"{self.folder / name}: is not a record"] for name in others}
        jobs = in_chunks(ids)
        with ProgressBar("checking records", len(ids), "records", shown=len(jobs) >= MIN_CHUNKS) as bar:
            for done, (_, found) in enumerate(run_jobs(self._check, jobs, MIN_CHUNKS), 1):
                problems |= found
                bar.update(min(done * CHUNK, len(ids)))
        return [problem for name in sorted(problems) for problem in problems[name]]

    def _check(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """Return the problems of records by id, of those that have any."""
        return {id: problems for id in ids if (problems := self._problems(id))}

    def _problems(self, id: str) -> list[str]:
        path = self.folder / id
        try:
            record = self.read(id)
            with decoding(path, "a whole record", StorageError, _remedy(path / SCENE)):
                expected = record_id(record.scene_hash, record.questions, record.provenance)
        except StorageError as error:
            return [str(error)]
        others = sorted(set(os.listdir(path)) - {HASHES, *record_hashes(path)})
        wrong = [f"{path}: its id is not the hash of its contents; {_remedy(path / SCENE)}"] if expected != id else []
        return [*wrong, *(f"{path / other}: does not belong to the record" for other in others)]

    def _measure(self, ids: Sequence[str]) -> list[RecordEntry]:
        """Return what the index holds of records. Raises StorageError where one is damaged."""
        entries = []
        for id in ids:
            row, path = self.row(id), self.folder / id
            families = Counter(str(each["family"]) for each in _rows(path / ANSWERS, record_hashes(path), ["family"]))
            entries.append(
                RecordEntry(
                    id,
                    row["scene"],
                    row["source"],
                    row["provenance"],
                    json.dumps([view["name"] for view in row["views"]]),
                    row["views"][0].get("image_hash") if row["views"] else None,
                    json.dumps(families, sort_keys=True),
                    sum(file.stat().st_size for file in path.iterdir()),
                )
            )
        return entries

    def _scene_index(self) -> dict[str, list[str]]:
        if self._by_scene is None:
            self._by_scene = {}
            for entry in self.entries():
                self._by_scene.setdefault(entry.scene, []).append(entry.id)
        return self._by_scene


def _is_id(name: str) -> bool:
    return len(name) == 32 and set(name) <= _HEX


def record_hashes(folder: Path) -> dict[str, str]:
    """Read the hashes stored with a record: file name -> hash."""
    path = folder / HASHES
    refuse_links(folder, StorageError, 1)
    try:
        hashes = read_sums(folder)
    except StorageError as error:
        raise StorageError(f"{error}; {_remedy(path)}") from error
    if not {ANSWERS, SCENE} <= set(hashes) <= {ANSWERS, SCENE, ARRAYS}:
        raise StorageError(f"{path}: is damaged: it does not list the files of the record; {_remedy(path)}")
    return hashes


def read_record_file(path: Path, hashes: Mapping[str, str] | None = None) -> bytes:
    """Read a file of a record and compare its hash where ``hashes`` are given."""
    content = read_bytes(path, StorageError, _remedy(path), MAX_UNPACKED)
    if hashes is not None and sha256(content).hexdigest() != hashes[path.name]:
        raise StorageError(f"{path}: is damaged: its hash is not that in {HASHES}; {_remedy(path)}")
    return content


def _rows(path: Path, hashes: Mapping[str, str] | None, columns: list[str] | None = None) -> list[dict[str, Any]]:
    return read_parquet(read_record_file(path, hashes), path, StorageError, _remedy(path), columns)


def _remedy(path: Path) -> str:
    return f"delete {path.parent} and annotate again"
