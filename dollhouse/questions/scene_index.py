"""Index of a data set of scans on disk: measured once, in parallel, and stored as one file.

An SQLite file in the cache folder has one row a scan, keyed by the names, sizes and dates of the scan's files. Rows are
written as scans are finished, so that a killed build continues. Reading a scan from the index opens none of its images.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, overload

from dollhouse.errors import QuestionError, SceneError
from dollhouse.questions.answer_balance import AnswerBalance, SceneAnswers
from dollhouse.questions.facts import unanswerable
from dollhouse.questions.generate import QUESTIONS_VERSION
from dollhouse.questions.indexed_scan import IndexedScan, answers_from_bytes, answers_to_bytes
from dollhouse.scenes.labels import TABLE
from dollhouse.scenes.open import SceneList
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.view_sampling import VIEW_SAMPLING_VERSION
from dollhouse.system.key_value_file import KeyValueFile
from dollhouse.system.processes import run_jobs
from dollhouse.system.progress import ProgressBar
from dollhouse.system.read_files import decode_json

INDEX_VERSION = 1  #: raise it whenever a row of the index would be another for the same scan
ANSWER_SAMPLES = 2  #: samples of views whose answers are counted, of a scan with more views than a sample
DEFAULT_VIEWS = 32  #: of a sample at most, where the user gives no number
MIN_SCANS_FOR_PROCESSES = 4  #: fewer are indexed sooner than processes start
_OPEN_SCANS = 8  #: restored rows that are kept in memory


class SceneIndex:
    """The scans of a data set: views, overlaps, boxes, and how often each answer occurs."""

    def __init__(
        self,
        scans: SceneList,
        views: int | None = None,
        folder: Path | None = None,
        workers: int | None = None,
        progress: bool = True,
    ) -> None:
        """Read the index of ``scans``, after building what is missing of it.

        Args:
            scans: scans on disk.
            views: of a sample, for the answer counts.
            folder: for the file of the index; by default the user's cache.
            workers: processes; by default one a core.

        Raises StorageError where the file cannot be written. A scan that cannot be opened raises when it is accessed.
        """
        self.scans, self.views = scans, views or DEFAULT_VIEWS
        folder = index_folder() if folder is None else folder
        roots = sorted({str(Path(key).resolve().parent) for key in scans.keys})
        name = f"{Path(roots[0]).name or 'scans'}-{sha256(json.dumps(roots).encode()).hexdigest()[:12]}.sqlite"
        self._file = KeyValueFile(folder / name)
        labels = sha256(TABLE.read_bytes()).hexdigest()
        options = [INDEX_VERSION, VIEW_SAMPLING_VERSION, labels, repr(getattr(scans.open_key, "keywords", None))]
        self.fingerprints = [fingerprint(Path(key), options) for key in scans.keys]
        self.faults: dict[int, str] = {}  #: of scans that cannot be opened
        self._recent: OrderedDict[int, IndexedScan] = OrderedDict()
        self._build(workers, progress)
        self._progress = progress

    def __len__(self) -> int:
        return len(self.scans)

    def scan(self, number: int) -> IndexedScan:
        """Return a scan. Raises SceneError where it could not be opened."""
        if number in self.faults:
            raise SceneError(self.faults[number])
        if number not in self._recent:
            content = self._file.read(self.fingerprints[number])
            open_scan = partial(self.scans.__getitem__, number)
            assert content is not None
            self._recent[number] = IndexedScan.from_bytes(content, Path(self.scans.keys[number]), open_scan)
            if len(self._recent) > _OPEN_SCANS:
                self._recent.popitem(last=False)
        self._recent.move_to_end(number)
        return self._recent[number]

    @cached_property
    def balance(self) -> AnswerBalance:
        """The answer balance by :meth:`AnswerBalance.of_data_set`; the questions that it leaves are printed."""
        balance, found, scans = self._read_balance()
        families = ", ".join(f"{family} {count:,}" for family, count in found.most_common() if count)
        how = "by kind of question" if balance.by_kind else "by category"
        line = f"questions: {found.total():,} in {scans} scans" + (f": {families}" if families else "")
        if scans and self._progress:
            print(f"{line}; answers balanced {how}", file=sys.stderr, flush=True)
        return balance

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_recent": OrderedDict()}  # restored anew in another process

    def _answers_key(self, number: int) -> str:
        return f"{self.fingerprints[number]}.answers.{self.views}.{QUESTIONS_VERSION}"

    def _build(self, workers: int | None, progress: bool) -> None:
        """Measure the scans that have no row."""
        stored = self._file.keys()
        missing = [n for n in range(len(self)) if not {self.fingerprints[n], self._answers_key(n)} <= stored]
        jobs = {n: (self.scans[n : n + 1], self._file.read(self.fingerprints[n]), self.views) for n in missing}
        with ProgressBar("indexing scans", len(self), "scans", shown=progress and bool(missing)) as bar:
            existing = len(self) - len(missing)
            measured = run_jobs(_measure, jobs, MIN_SCANS_FOR_PROCESSES, workers)
            for done, (number, rows) in enumerate(measured, 1):
                if isinstance(rows, str):
                    self.faults[number] = rows
                else:
                    keys = (self.fingerprints[number], self._answers_key(number))
                    self._file.write(dict(zip(keys, rows, strict=True)))
                bar.update(existing + done, skipped=existing)

    def _read_balance(self) -> tuple[AnswerBalance, Counter[str], int]:
        """Return the balance, the questions found, and the number of scans that have any; stored once computed."""
        usable = [number for number in range(len(self)) if number not in self.faults]
        names = json.dumps([self._answers_key(number) for number in usable])
        key = f"{sha256(names.encode()).hexdigest()}.balance"
        if (content := self._file.read(key)) is not None:
            counts, by_kind, found, asked = decode_json(content)
            table = {tuple(key): row for key, row in counts}
            return AnswerBalance(table, 0, 0.0, by_kind), Counter(found), asked

        def read(number: int) -> list[SceneAnswers]:
            return answers_from_bytes(self._file.read(self._answers_key(number)) or b"")

        asked = sum(bool(read(number)) for number in usable)
        balance = AnswerBalance.of_data_set((each for number in usable for each in read(number)), asked)
        thousandths: Counter[str] = Counter()
        for number in usable:
            for each in (answers := read(number)):
                found_here = each.expected(balance)
                thousandths.update({family: count // len(answers) for family, count in found_here.items()})
        found = Counter({family: round(count / 1000) for family, count in thousandths.items()})
        self._file.write({key: json.dumps([[*balance.counts.items()], balance.by_kind, found, asked]).encode()})
        return balance, found, asked


class IndexedScenes(Sequence[Scene]):
    """The scenes of an index, each with its best ``views`` views; None for all."""

    def __init__(self, index: SceneIndex, views: int | None, hold_out_every: int = 0) -> None:
        """``hold_out_every`` takes them from every n-th view only, those held out in training."""
        self.scan_index, self.views, self.hold_out_every = index, views, hold_out_every

    def __len__(self) -> int:
        return len(self.scan_index)

    @overload
    def __getitem__(self, index: int) -> Scene: ...
    @overload
    def __getitem__(self, index: slice) -> list[Scene]: ...
    def __getitem__(self, index: int | slice) -> Scene | list[Scene]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        scan, every = self.scan_index.scan(index % len(self)), self.hold_out_every
        allowed = range(len(scan.scene.views))[every - 1 :: every] if every else range(len(scan.scene.views))
        return scan.with_views(allowed if self.views is None else scan.sample(self.views, allowed=allowed))


def index_scenes(
    scenes: Sequence[Scene], views: int | None = None, folder: Path | None = None, progress: bool = True
) -> SceneIndex | None:
    """Index scenes that are files or folders; None for rooms and for scenes in memory. Arguments as SceneIndex."""
    if not (isinstance(scenes, SceneList) and len(scenes) and all(isinstance(key, Path) for key in scenes.keys)):
        return None
    return SceneIndex(scenes, views, folder, progress=progress)


def index_folder() -> Path:
    """Return the folder of indexes in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dollhouse" / "indexes"


def fingerprint(path: Path, options: Sequence[Any]) -> str:
    """Return a hash of the names, sizes and dates of a scan's files, and of ``options``."""
    digest = sha256(json.dumps([path.name, *options]).encode())
    path = path if path.exists() else Path(str(path).rpartition("#")[0] or path)  # house.json#LivingRoom-360
    for name, size, changed in sorted(_files(path, "")):
        digest.update(f"{name}\0{size}\0{changed}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _files(path: Path | os.DirEntry[str], name: str) -> Iterator[tuple[str, int, int]]:
    try:
        if path.is_dir():
            with os.scandir(path) as entries:
                for entry in entries:
                    yield from _files(entry, f"{name}/{entry.name}")
            return
        status = path.stat()
    except OSError:  # such as a link to nothing, which concerns the scan's reader only
        yield name, -1, -1
    else:
        yield name, status.st_size, status.st_mtime_ns


def _measure(scans: SceneList, content: bytes | None, views: int) -> tuple[bytes, bytes] | str:
    """Compute the two rows of a scan, or return why it cannot be opened; ``content`` is the first where it exists."""
    folder = Path(scans.keys[0])
    try:
        if content is None:
            content = IndexedScan.measure(scans[0]).to_bytes(folder)
        scan = IndexedScan.from_bytes(content, folder, partial(scans.__getitem__, 0))
        return content, answers_to_bytes(_count_answers(scan, views))
    except SceneError as error:
        return str(error)


def _count_answers(scan: IndexedScan, views: int) -> list[SceneAnswers]:
    """Count the answers of a few samples of a scan's views; [] where it has none."""
    if scan.scene.metadata.get("source") == "rooms" or unanswerable(scan.scene):
        return []
    draws = [None, *range(ANSWER_SAMPLES - 1)] if len(scan.scene.views) > views else [None]
    try:
        return [SceneAnswers.count(scan.with_views(scan.sample(views, draw))) for draw in draws]
    except QuestionError:
        return []
