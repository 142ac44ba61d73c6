"""Read predictions files of several programs, and match them to the questions of a benchmark.

Nothing is guessed or left out: what does not fit raises one ScoreError that names the rows, counted from 1.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import rich.progress

from dollhouse.errors import ScoreError
from dollhouse.evaluation.benchmarks.benchmark import Sample
from dollhouse.system.console import console
from dollhouse.system.read_files import decode_json, open_file, read_bytes

LONGEST_LINE = 1 << 22  #: bytes
SHOWN = 8  #: rows or ids that an error names


@dataclass(frozen=True)
class FileFormat:
    """A format of predictions files: the fields of a row."""

    program: str
    id: str
    prediction: tuple[str, ...]  #: the first of these that a row has
    prompt: str | None = None

    def fits(self, row: dict[str, Any]) -> bool:
        return self.id in row and any(name in row for name in self.prediction)


FORMATS = (
    FileFormat("lmms-eval", "doc_id", ("filtered_resps", "resps"), "input"),
    FileFormat("Dollhouse", "id", ("prediction",), "prompt"),
    FileFormat("LLaVA-3D", "question_id", ("text",), "prompt"),
    FileFormat("ScanQA", "question_id", ("answer_top10",)),
    FileFormat("VLMEvalKit", "qid", ("prediction",)),
)


@dataclass(frozen=True)
class Predictions:
    """The predictions for N samples, in their order."""

    program: str  #: whose format the file has
    texts: Sequence[str]
    prompts: Sequence[str | None]  #: where the file holds them
    #: further fields of each row of predictions.jsonl, such as the confidence; () for none
    fields: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class _Prediction:
    row: int
    id: str
    text: str
    prompt: str | None


def read_predictions(path: Path, samples: Sequence[Sample], progress: bool = False) -> Predictions:
    """Read a predictions file with one row for each sample.

    Args:
        path: JSONL, a JSON list, or a table (``.csv``, ``.tsv``). lmms-eval's rows name their question by its number
            from 0; the question's own id in such a row comes first, else its target is compared.

    Raises:
        ScoreError: the file cannot be read; rows are not UTF-8, too long, not JSON or without the fields of the first;
            questions are answered twice, not at all, or unknown to the benchmark.
    """
    file_format: FileFormat | None = None
    predictions: list[_Prediction] = []
    rows = _RowReader(path)
    for number, row in rows.read(progress):
        if file_format is None:
            file_format = _format_of(row, path, number)
        prediction = _parse(file_format, row, number, samples)
        if isinstance(prediction, str):
            rows.reject(prediction, number)
        else:
            predictions.append(prediction)
    if rows.rejected:
        errors = (f"row{'s' * (len(at) > 1)} {_some(at)}: {what}" for what, at in rows.rejected.items())
        raise ScoreError(f"{path}: {'; '.join(errors)}")
    if file_format is None:
        raise ScoreError(f"{path}: holds no prediction; is it the right file?")
    matched = _match(path, predictions, samples)
    return Predictions(file_format.program, [each.text for each in matched], [each.prompt for each in matched])


def _match(path: Path, predictions: list[_Prediction], samples: Sequence[Sample]) -> list[_Prediction]:
    """Sort predictions in the order of ``samples``; each must have exactly one."""
    by_id: dict[str, list[_Prediction]] = {}
    for prediction in predictions:
        by_id.setdefault(prediction.id, []).append(prediction)
    twice = [f"{id} in rows {', '.join(str(each.row) for each in same)}" for id, same in by_id.items() if len(same) > 1]
    if twice:
        raise ScoreError(f"{path}: questions answered more than once: {_some(twice)}; keep one row each")
    known = {sample.id for sample in samples}
    unknown = [f"{id} in row {same[0].row}" for id, same in by_id.items() if id not in known]
    if unknown:
        raise ScoreError(
            f"{path}: predictions for questions that the annotations do not hold: {_some(unknown)}; are they of "
            "another split?"
        )
    missing = [sample.id for sample in samples if sample.id not in by_id]
    if missing:
        raise ScoreError(
            f"{path}: no prediction for {len(missing)} of {len(samples)} questions: {_some(missing)}; "
            "an answer that is left out is not scored as wrong or right, so add the rows (the text may be empty)"
        )
    return [by_id[sample.id][0] for sample in samples]


def _format_of(row: dict[str, Any], path: Path, number: int) -> FileFormat:
    for file_format in FORMATS:
        if file_format.fits(row):
            return file_format
    known = "; ".join(f"{known.program}: {known.id} and {' or '.join(known.prediction)}" for known in FORMATS)
    columns = ", ".join(map(repr, row)) or "none"
    raise ScoreError(f"{path}, row {number}: wrong columns ({columns:.200}); known are {known}")


def _parse(file_format: FileFormat, row: dict[str, Any], number: int, samples: Sequence[Sample]) -> _Prediction | str:
    """Parse a row; returns what is wrong with it where it does not fit."""
    if not file_format.fits(row):
        return f"without {file_format.id!r} and {file_format.prediction[0]!r}, which the first row has"
    text = next(row[name] for name in file_format.prediction if name in row)
    while isinstance(text, list) and text:  # ScanQA's ten best, lmms-eval's responses
        text = text[0]
    if not isinstance(text, str):
        return "the prediction is not text"
    id = row[file_format.id]
    if isinstance(id, bool) or not isinstance(id, str | int) or id == "":
        return f"{file_format.id!r} is neither a text nor a whole number"
    if file_format.id == "doc_id":
        id = _lmms_id(row, samples)
        if id is None:
            return "target is none of the answers to the question of that number; was the task shuffled?"
    prompt = row.get(file_format.prompt) if file_format.prompt else None
    prompt = prompt if isinstance(prompt, str) else None
    return _Prediction(number, str(id), text, prompt)


def _lmms_id(row: dict[str, Any], samples: Sequence[Sample]) -> str | None:
    """Return the question id of a row of lmms-eval's samples; None where number and target disagree."""
    for document in chain([row], (value for value in row.values() if isinstance(value, dict))):
        for name in ("question_id", "qid", "id"):
            if isinstance(document.get(name), str | int):
                return str(document[name])
    number = row["doc_id"]
    if not isinstance(number, int) or not 0 <= number < len(samples):
        return f"doc_id {number}"  # reported as unknown
    target = row.get("target")
    answers = samples[number].answers
    if target is None or target in answers or target in (str(list(answers)), json.dumps(list(answers))):
        return samples[number].id
    return None


class _RowReader:
    """Reads the rows of a file; ``rejected`` maps what is wrong to the numbers of the rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rejected: dict[str, list[int]] = {}

    def reject(self, what: str, number: int) -> None:
        self.rejected.setdefault(what, []).append(number)

    def read(self, progress: bool) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield row numbers from 1 and rows, under a progress bar."""
        open_file(self.path, ScoreError).close()
        try:
            with rich.progress.open(
                self.path, "rb", description="reading", console=console(stderr=True), disable=not progress
            ) as file:
                start = file.read(4)
                file.seek(0)
                if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    raise ScoreError(f"{self.path}: is UTF-16 text; save it as UTF-8")
                if self.path.suffix in (".csv", ".tsv"):
                    rows: Iterable[tuple[int, Any]] = self._table(file)
                elif start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
                    rows = self._list()
                else:
                    rows = self._objects(file)
                for number, row in rows:
                    if isinstance(row, dict):
                        yield number, row
                    else:
                        self.reject("not an object of columns and values", number)
        except OSError as error:
            raise ScoreError(f"{self.path}: cannot be read ({error.strerror or error})") from error

    def _lines(self, file: BinaryIO) -> Iterator[tuple[int, str]]:
        """Yield numbered lines as text; raises ScoreError at a line that is too long."""
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                size = os.stat(self.path).st_size
                raise ScoreError(
                    f"{self.path}, row {number}: longer than {LONGEST_LINE >> 20} MiB (the file has {size:,} bytes), "
                    "which no answer is; write one prediction a line"
                )
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                what = f"not UTF-8, as other rows are (byte 0x{line[error.start]:02x}); save the whole file as UTF-8"
                self.reject(next((known for known in self.rejected if known.startswith("not UTF-8")), what), number)

    def _objects(self, file: BinaryIO) -> Iterator[tuple[int, Any]]:
        for number, line in self._lines(file):
            if not line.strip():
                continue
            try:
                yield number, decode_json(line)
            except ValueError as error:
                reason = "" if isinstance(error, json.JSONDecodeError) else f" that can be read ({error})"
                self.reject(f"not JSON{reason}; write one object a line", number)

    def _list(self) -> Iterator[tuple[int, Any]]:
        data = read_bytes(self.path, ScoreError, "write one prediction a line")
        try:
            rows = decode_json(data)
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise ScoreError(
                f"{self.path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); save the whole file as UTF-8"
            ) from error
        except ValueError as error:
            where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
            raise ScoreError(f"{self.path}{where}: not JSON; write a list of objects, or one object a line") from error
        yield from enumerate(rows, 1)

    def _table(self, file: BinaryIO) -> Iterator[tuple[int, Any]]:
        number = 0

        def texts() -> Iterator[str]:
            nonlocal number
            for at, line in self._lines(file):
                number = at
                yield line

        try:
            reader = csv.reader(texts(), delimiter="\t" if self.path.suffix == ".tsv" else ",", strict=True)
            columns = next(reader, [])
            for cells in reader:
                if len(cells) != len(columns):
                    self.reject(f"not {len(columns)} cells, as the first row has", number)
                else:
                    yield number, dict(zip(columns, cells, strict=True))
        except csv.Error as error:
            raise ScoreError(f"{self.path}, row {number}: not a table ({error}); write it as JSONL") from error


def _some(names: Sequence[object]) -> str:
    more = len(names) - SHOWN
    return ", ".join(map(str, names[:SHOWN])) + (f" and {more:,} more" if more > 0 else "")
