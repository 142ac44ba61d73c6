"""A table or figure as it came out: rows of estimates, what they say in plain sentences, and the paper's beside it.

Written as JSON, as markdown, and (by :mod:`experiments.paper.report`) as HTML; all three say the same. Knows nothing
of how estimates were made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from experiments.paper.paired import Estimate
from experiments.paper.paper import PaperTable

Value = Estimate | float | str | None


@dataclass(frozen=True)
class Column:
    """What is in a column, and how it is written."""

    name: str
    better: Literal["higher", "lower"] | None = None
    percent: bool = False
    digits: int = 3
    unit: str = ""

    def write(self, value: float, sign: bool = False) -> str:
        scaled = 100 * value if self.percent else value
        text = f"{scaled:{'+' if sign else ''},.{self.digits}f}"
        return text + (" %" if self.percent and not sign else "")

    def told(self, value: Value) -> str:
        """A value for a reader, its interval with it."""
        if value is None:
            return "–"
        if isinstance(value, str):
            return value
        if isinstance(value, float | int):
            return self.write(value) + self.unit
        return f"{self.write(value.value)}{self.unit}{self._interval(value)}"

    def change(self, value: Estimate) -> str:
        """A difference for a reader."""
        return f"{self.write(value.value, sign=True)}{self._interval(value, sign=True)}"

    def _interval(self, value: Estimate, sign: bool = False) -> str:
        if value.ci95 is None:
            return ""
        low, high = (self.write(end, sign).removesuffix(" %") for end in value.ci95)
        return f" ({low} to {high})"


@dataclass(frozen=True)
class Row:
    """A line: values by column, and differences from the row that the table compares with."""

    name: str
    values: dict[str, Value]
    differences: dict[str, Estimate] = field(default_factory=dict)
    seeds: int = 1


@dataclass
class Result:
    """One table or figure."""

    key: str  #: "I", "fig2", "text", ...
    title: str
    columns: list[Column]
    rows: list[Row]
    paper: PaperTable
    sentences: list[str] = field(default_factory=list)  #: what it shows
    method: list[str] = field(default_factory=list)  #: how it was made
    left_out: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)  #: further facts, for the JSON alone
    picture: Callable[[Path], None] | None = None  #: draws to that file

    def as_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "title": self.title,
            "columns": [vars(column) for column in self.columns],
            "rows": [
                {
                    "name": row.name,
                    "seeds": row.seeds,
                    "values": {name: _plain(value) for name, value in row.values.items()},
                    "differences": {name: value.as_json() for name, value in row.differences.items()},
                }
                for row in self.rows
            ],
            "sentences": self.sentences,
            "method": self.method,
            "left_out": self.left_out,
            "paper": {"columns": self.paper.columns, "rows": self.paper.rows, "comparable": self.paper.comparable},
            **self.more,
        }

    def as_markdown(self, picture: str | None = None) -> str:
        parts = [f"# {self.title}", *self.sentences]
        if self.columns:
            parts.append(markdown_table(*self.cells()))
        if any(row.differences for row in self.rows):
            parts += ["Differences, paired by room (and by seed):", markdown_table(*self.change_cells())]
        if picture:
            parts.append(f"![{self.title}]({picture})")
        parts += self.method
        parts += ["## Left out", "\n".join(f"- {line}" for line in self.left_out)] if self.left_out else []
        rows = [[str(cell) for cell in row] for row in self.paper.rows]
        parts += ["## The paper's", markdown_table(self.paper.columns, rows), self.paper.comparable]
        return "\n\n".join(parts) + "\n"

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows as text. n is the largest of a row's estimates."""
        heads = ["", *(column.name for column in self.columns), "n", "seeds"]
        rows = [
            [
                row.name,
                *(column.told(row.values.get(column.name)) for column in self.columns),
                _counts(row),
                str(row.seeds),
            ]
            for row in self.rows
        ]
        if all(row[-2] == "–" for row in rows):
            return heads[:-2], [row[:-2] for row in rows]
        return heads, rows

    def change_cells(self) -> tuple[list[str], list[list[str]]]:
        """The differences as text; rows without any are left out."""
        shown = [column for column in self.columns if any(column.name in row.differences for row in self.rows)]
        rows = []
        for row in self.rows:
            if row.differences:
                told = [(column, row.differences.get(column.name)) for column in shown]
                rows.append([row.name, *("–" if value is None else column.change(value) for column, value in told)])
        return ["", *(column.name for column in shown)], rows


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def sentence_of(row: Row, columns: Sequence[Column], beside: str) -> str:
    """What a row's differences say: which figures changed, and for which the interval includes no change."""
    changed, unchanged = [], []
    for column in columns:
        value = row.differences.get(column.name)
        if value is None:
            continue
        if value.certain:
            worse = column.better is not None and (value.value > 0) == (column.better == "lower")
            verdict = "" if column.better is None else " (worse)" if worse else " (better)"
            changed.append(f"{column.name} {column.change(value)}{verdict}")
        else:
            unchanged.append(column.name)
    if not changed and not unchanged:
        return f"{row.name}: nothing to compare with {beside}."
    if not changed:
        return f"{row.name}: no change shown against {beside}; every interval includes none ({', '.join(unchanged)})."
    told = f"{row.name} against {beside}: {'; '.join(changed)}."
    return told + (f" No change shown in {', '.join(unchanged)}: the interval includes none." if unchanged else "")


def _counts(row: Row) -> str:
    counts = [value.n for value in row.values.values() if isinstance(value, Estimate)]
    return f"{max(counts):,}" if counts else "–"


def _plain(value: Value) -> Any:
    return value.as_json() if isinstance(value, Estimate) else value
