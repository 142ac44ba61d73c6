"""A finished table or figure: rows of estimates, sentences and the paper's table, as JSON and markdown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from matplotlib.figure import Figure

from experiments.paper.spec import Column, Published
from experiments.paper.statistics import Estimate

Value = Estimate | float | str | None
SECOND_LINES = "Second lines are differences, paired by room (and by seed)."


@dataclass(frozen=True)
class ResultRow:
    """Values by column, and differences from the row that it is compared with."""

    name: str
    values: Mapping[str, Value]
    differences: Mapping[str, Estimate] = field(default_factory=dict)
    seeds: int = 1


@dataclass
class Result:
    """One finished table or figure."""

    key: str
    title: str
    columns: list[Column]
    paper: Published
    method: list[str]
    rows: list[ResultRow] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)  #: further facts, for the JSON alone
    figure: Callable[[], Figure] | None = None

    @property
    def file_name(self) -> str:
        """``table-II``, ``fig-3``, ``text``."""
        return f"fig-{self.key[3:]}" if self.key.startswith("fig") else re.sub(r"^([IV]+)$", r"table-\1", self.key)

    def as_json(self) -> dict[str, Any]:
        columns = [column.model_dump(exclude={"figure", "scale"}) for column in self.columns]
        facts = {"key": self.key, "title": self.title, "columns": columns, "rows": [asdict(row) for row in self.rows]}
        texts = {"sentences": self.sentences, "method": self.method, "left_out": self.left_out}
        return facts | texts | {"paper": self.paper.model_dump()} | self.more

    def as_markdown(self) -> str:
        parts = [f"# {self.title}", *self.sentences]
        parts += [_markdown(*self.cells())] if self.rows else []
        parts += [SECOND_LINES] if any(row.differences for row in self.rows) else []
        parts += [f"![{self.title}]({self.file_name}.png)"] if self.figure else []
        parts += self.method
        parts += ["## Left out", "\n".join(f"- {line}" for line in self.left_out)] if self.left_out else []
        paper = [[str(cell) for cell in row] for row in self.paper.rows]
        parts += ["## The paper's", _markdown(self.paper.columns, paper), self.paper.comparable]
        return "\n\n".join(parts) + "\n"

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Return head and rows as text, a difference under its value; n is the largest of a row's estimates."""
        heads, rows = ["", *(column.name for column in self.columns), "n", "seeds"], []
        for row in self.rows:
            counts = [value.n for value in row.values.values() if isinstance(value, Estimate)]
            shown = [show(column, row.values.get(column.name)) for column in self.columns]
            for place, column in enumerate(self.columns):
                if change := row.differences.get(column.name):
                    shown[place] += "\n" + show(column, change, sign=True)
            rows.append([row.name, *shown, f"{max(counts):,}" if counts else "–", str(row.seeds)])
        end = -2 if all(row[-2] == "–" for row in rows) else None
        return heads[:end], [row[:end] for row in rows]


def show(column: Column, value: Value, sign: bool = False) -> str:
    """Format a value, or with ``sign`` a difference, with its interval."""
    if value is None or isinstance(value, str):
        return value or "–"

    def number(amount: float) -> str:
        return f"{100 * amount if column.percent else amount:{'+' if sign else ''},.{column.digits}f}"

    unit = "" if sign else " %" if column.percent else column.unit
    if not isinstance(value, Estimate):
        return number(value) + unit
    interval = "" if value.ci95 is None else f" ({number(value.ci95[0])} to {number(value.ci95[1])})"
    return number(value.value) + unit + interval


def difference_sentence(row: ResultRow, columns: Sequence[Column], base: str) -> str:
    """State which columns of a row differ from ``base``, and in which the interval includes 0."""
    changed, unchanged = [], []
    for column in (column for column in columns if column.name in row.differences):
        value = row.differences[column.name]
        if value.excludes_zero:
            worse = (value.value > 0) == (column.better == "lower")
            changed.append(f"{column.name} {show(column, value, sign=True)} ({'worse' if worse else 'better'})")
        else:
            unchanged.append(column.name)
    same = f"no change shown in {', '.join(unchanged)}: the interval includes 0" if unchanged else ""
    return f"{row.name} against {base}: {'; '.join([*changed, *([same] if same else [])]) or 'nothing to compare'}."


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in (heads, ["---"] * len(heads), *rows)]
    return "\n".join("| " + line.replace("\n", "<br>") + " |" for line in lines)
