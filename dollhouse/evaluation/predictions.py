"""Predictions that some program made, read and matched to the questions of a benchmark.

Knows the usual forms of such files (``LAYOUTS``) and no benchmark. What does not fit is refused with one ScoreError
that names the rows; nothing is guessed or left out. Rows count from 1, as an editor shows them; lines are read one by
one and never further than ``LONGEST_LINE``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from dollhouse.errors import ScoreError
from dollhouse.evaluation.benchmarks.benchmark import Sample

LONGEST_LINE = 1 << 22  #: bytes
LARGEST_LIST = 1 << 28  #: bytes of a file that is one JSON list, which must be read as a whole
SHOWN = 8  #: rows or ids that a complaint names

BytesRead = Callable[[int], None]


@dataclass(frozen=True)
class Layout:
    """One form of predictions file: which field names the question, which holds what was said."""

    program: str
    id: str
    said: tuple[str, ...]  #: the first of these that a row has
    prompt: str | None = None  #: field with the words that the model was given

    def fits(self, row: dict[str, Any]) -> bool:
        return self.id in row and any(name in row for name in self.said)


LAYOUTS = (
    Layout("lmms-eval", "doc_id", ("filtered_resps", "resps"), "input"),
    Layout("Dollhouse", "id", ("prediction",), "prompt"),
    Layout("LLaVA-3D", "question_id", ("text",), "prompt"),
    Layout("ScanQA", "question_id", ("answer_top10",)),
    Layout("VLMEvalKit", "qid", ("prediction",)),
)
_KNOWN = "; ".join(f"{layout.program}: {layout.id} and {' or '.join(layout.said)}" for layout in LAYOUTS)


@dataclass(frozen=True)
class Predictions:
    """What was said to N samples, in their order."""

    program: str  #: whose form the file has
    texts: list[str]
    prompts: list[str | None]  #: what the file says that the model was given


@dataclass(frozen=True)
class _Said:
    row: int
    id: str
    text: str
    prompt: str | None


def read_predictions(path: Path, samples: Sequence[Sample], on_bytes: BytesRead | None = None) -> Predictions:
    """The predictions of a file, one for each sample; ``on_bytes`` is told how many more bytes were read.

    A file is JSONL, one JSON list, or a table (``.csv``, ``.tsv``). lmms-eval's rows name their question by its number
    from 0; where such a row also holds the question's own id, that counts, else its target is compared.

    Raises ScoreError for a file that cannot be read, rows that are not UTF-8, too long, not JSON or without the fields
    of the first, for questions answered twice, not at all, or unknown to the benchmark.
    """
    layout: Layout | None = None
    said: list[_Said] = []
    broken: dict[str, list[int]] = {}
    for row, entry in _rows(path, on_bytes, broken):
        if layout is None:
            layout = _layout_of(entry, path, row)
        complaint = _take(layout, entry, row, samples, said)
        if complaint:
            broken.setdefault(complaint, []).append(row)
    if broken:
        raise ScoreError(f"{path}: " + "; ".join(f"{_rows_named(rows)}: {what}" for what, rows in broken.items()))
    if layout is None:
        raise ScoreError(f"{path}: holds no prediction; is it the right file?")
    return _matched(path, layout, said, samples)


def _matched(path: Path, layout: Layout, said: list[_Said], samples: Sequence[Sample]) -> Predictions:
    by_id: dict[str, _Said] = {}
    twice: dict[str, list[int]] = {}
    for one in said:
        if one.id in by_id:
            twice.setdefault(one.id, [by_id[one.id].row]).append(one.row)
        by_id.setdefault(one.id, one)
    if twice:
        named = _some([f"{id} in rows {', '.join(map(str, rows))}" for id, rows in twice.items()])
        raise ScoreError(f"{path}: questions answered more than once: {named}; keep one row each")
    known = {sample.id for sample in samples}
    strangers = [one for one in said if one.id not in known]
    if strangers:
        named = _some([f"{one.id} in row {one.row}" for one in strangers])
        raise ScoreError(
            f"{path}: predictions for questions that the annotations do not hold: {named}; are they of another split?"
        )
    missing = [sample.id for sample in samples if sample.id not in by_id]
    if missing:
        raise ScoreError(
            f"{path}: no prediction for {len(missing)} of {len(samples)} questions: {_some(missing)}; "
            "an answer that is left out is not scored as wrong or right, so add the rows (the text may be empty)"
        )
    chosen = [by_id[sample.id] for sample in samples]
    return Predictions(layout.program, [one.text for one in chosen], [one.prompt for one in chosen])


def _layout_of(entry: dict[str, Any], path: Path, row: int) -> Layout:
    for layout in LAYOUTS:
        if layout.fits(entry):
            return layout
    columns = ", ".join(map(repr, entry)) or "none"
    raise ScoreError(f"{path}, row {row}: wrong columns ({columns:.200}); known are {_KNOWN}")


def _take(layout: Layout, entry: dict[str, Any], row: int, samples: Sequence[Sample], said: list[_Said]) -> str | None:
    """Add what a row says to ``said``, or tell what is wrong with it."""
    if not layout.fits(entry):
        return f"without {layout.id!r} and {layout.said[0]!r}, which the first row has"
    text = _text(next(entry[name] for name in layout.said if name in entry))
    if text is None:
        return "what was said is not text"
    id = entry[layout.id]
    if isinstance(id, bool) or not isinstance(id, str | int) or id == "":
        return f"{layout.id!r} is neither a text nor a whole number"
    if layout.id == "doc_id":
        named = _lmms_id(entry, samples)
        if named is None:
            return "target is none of the answers to the question of that number; was the task shuffled?"
        id = named
    prompt = entry.get(layout.prompt) if layout.prompt else None
    prompt = prompt if isinstance(prompt, str) else None
    if not _whole(text) or not _whole(str(id)) or not _whole(prompt or ""):
        return "holds half a character (an unpaired \\ud800 to \\udfff); write whole characters"
    said.append(_Said(row, str(id), text, prompt))
    return None


def _text(value: Any) -> str | None:
    """The text in a string, or first in lists of them (ScanQA's ten best, lmms-eval's responses)."""
    while isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, str) else None


def _lmms_id(entry: dict[str, Any], samples: Sequence[Sample]) -> str | None:
    """The id of the question that a row of lmms-eval's samples is about; None where number and target disagree."""
    held = (value for value in entry.values() if isinstance(value, dict))
    for document in chain([entry], held):
        for name in ("question_id", "qid", "id"):
            if isinstance(document.get(name), str | int):
                return str(document[name])
    number = entry["doc_id"]
    if not isinstance(number, int) or not 0 <= number < len(samples):
        return f"doc_id {number}"  # told as unknown
    target = entry.get("target")
    answers = samples[number].answers
    if target is None or target in answers or target in (str(list(answers)), json.dumps(list(answers))):
        return samples[number].id
    return None


def _rows(path: Path, on_bytes: BytesRead | None, broken: dict[str, list[int]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Row numbers from 1, and the rows that are objects; what is wrong with others goes into ``broken``."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise ScoreError(f"{path}: is UTF-16 text; save it as UTF-8")
            if path.suffix in (".csv", ".tsv"):
                rows: Iterable[tuple[int, Any]] = _table(path, file, on_bytes, broken)
            elif start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
                rows = _list(path, file, on_bytes)
            else:
                rows = _objects(path, file, on_bytes, broken)
            for row, entry in rows:
                if isinstance(entry, dict):
                    yield row, entry
                else:
                    broken.setdefault("not an object of columns and values", []).append(row)
    except OSError as error:
        raise ScoreError(f"{path}: cannot be read ({error.strerror or error})") from error


def _lines(
    path: Path, file: BinaryIO, on_bytes: BytesRead | None, broken: dict[str, list[int]]
) -> Iterator[tuple[int, str]]:
    """Numbered lines as text; those that are not UTF-8 go into ``broken``. A line too long ends it all."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            size = path.stat().st_size
            raise ScoreError(
                f"{path}, row {number}: longer than {LONGEST_LINE >> 20} MiB (the file has {size:,} bytes), which no "
                "answer is; write one prediction a line"
            )
        if on_bytes:
            on_bytes(len(line))
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            what = f"not UTF-8, as other rows are (byte 0x{line[error.start]:02x}); save the whole file as UTF-8"
            kind = next((told for told in broken if told.startswith("not UTF-8")), what)
            broken.setdefault(kind, []).append(number)


def _objects(
    path: Path, file: BinaryIO, on_bytes: BytesRead | None, broken: dict[str, list[int]]
) -> Iterator[tuple[int, Any]]:
    for number, line in _lines(path, file, on_bytes, broken):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):
            broken.setdefault("not JSON; write one object a line", []).append(number)


def _list(path: Path, file: BinaryIO, on_bytes: BytesRead | None) -> Iterator[tuple[int, Any]]:
    size = path.stat().st_size
    if size > LARGEST_LIST:
        raise ScoreError(
            f"{path}: is one JSON list of {size:,} bytes, more than {LARGEST_LIST:,}; write one prediction a line"
        )
    data = file.read()
    if on_bytes:
        on_bytes(len(data))
    try:
        entries = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ScoreError(
            f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); save the whole file as UTF-8"
        ) from error
    except (ValueError, RecursionError) as error:
        where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ScoreError(f"{path}{where}: not JSON; write a list of objects, or one object a line") from error
    yield from enumerate(entries, 1)


def _table(
    path: Path, file: BinaryIO, on_bytes: BytesRead | None, broken: dict[str, list[int]]
) -> Iterator[tuple[int, Any]]:
    reached = [0]

    def texts() -> Iterator[str]:
        for number, line in _lines(path, file, on_bytes, broken):
            reached[0] = number
            yield line

    try:
        reader = csv.reader(texts(), delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
        columns = next(reader, [])
        for cells in reader:
            if len(cells) != len(columns):
                broken.setdefault(f"not {len(columns)} cells, as the first row has", []).append(reached[0])
            else:
                yield reached[0], dict(zip(columns, cells, strict=True))
    except csv.Error as error:
        raise ScoreError(f"{path}, row {reached[0]}: not a table ({error}); write it as JSONL") from error


def _whole(text: str) -> bool:
    """Whether a text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _rows_named(rows: Sequence[int]) -> str:
    return f"{'row' if len(rows) == 1 else 'rows'} {_some([str(row) for row in rows])}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")
