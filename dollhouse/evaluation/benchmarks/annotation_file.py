"""Readers of benchmarks' annotation files: JSON, JSONL, TSV, CSV and Parquet.

Every error is a QuestionError that names the file and the row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dollhouse.errors import QuestionError
from dollhouse.evaluation.benchmarks.benchmark import Sample
from dollhouse.system import read_files
from dollhouse.system.read_files import MAX_BYTES, decoding, open_file, read_jsonl, read_parquet

LONGEST_ROW = 1 << 26  #: bytes of a text table; some cells hold pictures as text


read_json = partial(read_files.read_json, error=QuestionError, advice="fetch it again")


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Read the rows of a ``.parquet``, ``.jsonl``, ``.tsv`` or ``.csv`` file, else of a JSON list.

    Of tables only ``columns`` are read; empty cells of text tables are None.
    """
    if path.suffix in (".parquet", ".tsv", ".csv"):
        return _table(path, columns)
    lines = read_jsonl(path, QuestionError, "fetch it again") if path.suffix == ".jsonl" else ()
    rows = [row for _, row in lines] if path.suffix == ".jsonl" else read_json(path)
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


def _table(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    import pyarrow
    from pyarrow import csv

    names = list(columns)
    what, advice = f"a table with columns {', '.join(names)}", "fetch the right file"
    if path.suffix == ".parquet":
        return read_parquet(path, path, QuestionError, advice, names)
    open_file(path, QuestionError, advice, MAX_BYTES).close()
    with decoding(path, what, QuestionError, advice):
        texts = dict.fromkeys(names, pyarrow.string())
        table = csv.read_csv(
            path,
            csv.ReadOptions(block_size=LONGEST_ROW),
            csv.ParseOptions(delimiter="\t" if path.suffix == ".tsv" else ",", newlines_in_values=True),
            csv.ConvertOptions(include_columns=names, column_types=texts, null_values=[""], strings_can_be_null=True),
        )
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows
