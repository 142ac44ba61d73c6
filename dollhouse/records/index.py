"""An index of a folder of records: what is needed to list and choose them, without opening each.

An SQLite file in the user's cache has a row a record. A record's id is a hash of its contents, so that a row stays true
as long as the record's folder keeps its date; others are read again. Rows are checked when they are made, and the files
of a record whenever they are read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from dollhouse.errors import StorageError
from dollhouse.questions.scene_index import index_folder
from dollhouse.system.key_value_file import KeyValueFile
from dollhouse.system.processes import run_jobs
from dollhouse.system.progress import ProgressBar
from dollhouse.system.read_files import decode_json

RECORD_INDEX_VERSION = 1  #: raise it whenever the same record gives another row
CHUNK = 64  #: records of a job
MIN_CHUNKS = 8  #: fewer are read sooner than processes start


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """What the index holds of one record."""

    id: str
    scene: str
    source: str
    provenance: str  #: JSON
    views: str  #: JSON of the views' names
    image_hash: str | None  #: of the first view; None in older records
    families: str  #: JSON of the number of answers of each question family
    size: int  #: bytes

    @property
    def view_names(self) -> list[str]:
        """Return the names of the views."""
        names: list[str] = decode_json(self.views)
        return names


def read_entries(
    folder: Path, changed: Mapping[str, int], measure: Callable[[Sequence[str]], list[RecordEntry]]
) -> list[RecordEntry]:
    """Return the entries of records, of which those that are new or have changed are measured, in parallel.

    Args:
        changed: when the folder of each record changed, nanoseconds, by the record's id.
        measure: returns the entries of ids; called in other processes too.

    Raises what ``measure`` raises, after storing the entries that are finished.
    """
    root = folder.resolve()
    file = KeyValueFile(index_folder() / f"{root.name}-{sha256(str(root).encode()).hexdigest()[:12]}.records.sqlite")
    entries: dict[str, RecordEntry] = {}
    shared: dict[Any, Any] = {}  # equal texts once
    rows: dict[str, bytes] = {}
    usable = True
    try:
        rows = file.read_all()
    except StorageError as error:  # such as a disk that cannot be written
        usable = False
        print(f"warning: every record is read, since the index {error}", file=sys.stderr)
    for id, row in rows.items():
        with suppress(ValueError, TypeError):  # of another version
            version, date, fields = decode_json(row)
            if version == RECORD_INDEX_VERSION and date == changed.get(id):
                entries[id] = RecordEntry(*[shared.setdefault(each, each) for each in fields])
    missing = sorted(changed.keys() - entries.keys())
    jobs = in_chunks(missing)
    with ProgressBar("indexing records", len(changed), "records", shown=len(jobs) >= MIN_CHUNKS) as bar:
        for _, measured in run_jobs(measure, jobs, MIN_CHUNKS):
            new = {each.id: [RECORD_INDEX_VERSION, changed[each.id], astuple(each)] for each in measured}
            if usable:
                file.write({id: json.dumps(row).encode() for id, row in new.items()})
            entries |= {each.id: each for each in measured}
            bar.update(len(entries), skipped=len(changed) - len(missing))
    return [entries[id] for id in sorted(entries)]


def in_chunks(ids: Sequence[str]) -> dict[int, tuple[Sequence[str]]]:
    """Return the jobs of which each is about a few records."""
    return {start: (ids[start : start + CHUNK],) for start in range(0, len(ids), CHUNK)}
