"""Readers of benchmarks' annotation files: JSON, JSONL, TSV, CSV and Parquet.

Every error is a QuestionError that names the file and the row.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dollhouse.errors import QuestionError
from dollhouse.evaluation.benchmarks.benchmark import Sample

LONGEST_CELL = 1 << 26  #: characters; some cells hold images as text


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise QuestionError(f"{path}: cannot be read ({error}); fetch it again") from error
    except json.JSONDecodeError as error:
        raise QuestionError(f"{path}: not JSON at line {error.lineno} ({error.msg}); fetch it again") from error


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Read the rows of a ``.parquet``, ``.jsonl``, ``.tsv`` or ``.csv`` file, else of a JSON list.

    Of tables only ``columns`` are read; empty cells of text tables are None.
    """
    if path.suffix == ".parquet":
        return _parquet(path, columns)
    if path.suffix in (".tsv", ".csv"):
        return list(_table(path, columns))
    rows = list(_lines(path)) if path.suffix == ".jsonl" else read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise QuestionError(f"{path}: must hold a list of questions, each an object; is it the right file?")
    return rows


def parse_rows(
    paths: Sequence[Path], columns: Sequence[str], parse: Callable[[dict[str, Any], str], Sample]
) -> list[Sample]:
    """Parse the rows of files, each given with its file and number for errors."""
    rows = ((path, number, row) for path in paths for number, row in enumerate(read_rows(path, columns), 1))
    return [parse(row, f"{path}, row {number}") for path, number, row in rows]


def field(row: dict[str, Any], name: str, kinds: type | tuple[type, ...], where: str) -> Any:
    """Return a field of a row, checked to be of one of ``kinds``; ``where`` is file and row, for the error."""
    if name not in row:
        raise QuestionError(f"{where}: has no {name!r} (it has {', '.join(map(repr, row))}); is it the right file?")
    value = row[name]
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise QuestionError(f"{where}: {name!r} is {value!r:.60}, which it cannot be; fetch the file again")
    return value


def text_list(row: dict[str, Any], name: str, where: str) -> tuple[str, ...]:
    """Return a field that is a list of one or more texts."""
    texts = field(row, name, list, where)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise QuestionError(f"{where}: {name} must be a list of texts; fetch the file again")
    return tuple(texts)


def _lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            try:
                if line.strip():
                    yield json.loads(line)
            except json.JSONDecodeError as error:
                raise QuestionError(f"{path}, line {number}: not JSON ({error.msg}); fetch it again") from error


def _table(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise QuestionError(f"{path}: has no column {missing[0]!r}; is it the right file?")
            for row in reader:
                yield {name: row[name] or None for name in columns}
    except (csv.Error, UnicodeDecodeError) as error:
        raise QuestionError(f"{path}: cannot be read as a table ({error}); fetch it again") from error
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        names = pyarrow.parquet.read_schema(path).names
        missing = [name for name in columns if name not in names]
        if missing:
            raise QuestionError(f"{path}: has no column {missing[0]!r}; is it the right file?")
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path, columns=list(columns)).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise QuestionError(f"{path}: not Parquet ({error}); fetch it again") from error
    return rows
