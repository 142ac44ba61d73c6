"""A table whose every cell states what it is computed from: values, differences, markdown and sentences.

A cell names a figure of :class:`Measurements` and models, one a seed; a ratio, a difference or a chance-corrected share
is taken on the same rooms. Sentences are templates: ``{row|column}`` is a value, ``{row|column|difference}`` its
difference from the row's base, ``{row|column|seen}`` the least difference that the design would have shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from dollhouse.data.config import ConfigModel
from dollhouse.errors import ScoreError
from dollhouse.evaluation.tables.measurements import Measurements
from dollhouse.evaluation.tables.statistics import Estimate, Figure, Statistic, corrected, difference, estimate, ratio

SECOND_LINES = "Second lines are differences, paired by room (and by seed)."
#: difference over standard error from which a two-sided test at 5 % finds it four times of five (1.96 + 0.84), and the
#: width of a 95 % interval in standard errors
POWER, WIDTH = 2.80, 3.92
NO_SHARE = "teacher at chance"  #: instead of a share of next to nothing
DIGITS = 7  #: significant digits that are stored
_PLACE = re.compile(r"\{([^{}|]+)\|([^{}|]+)(?:\|(difference|seen|n|rooms))?\}")

Value = Estimate | float | str | None


class Column(ConfigModel):
    """How a column is printed."""

    name: str
    better: Literal["higher", "lower"] | None = None
    percent: bool = False
    digits: int = 3
    scale: float = 1.0  #: of times and sizes
    unit: str = ""


class Cell(ConfigModel):
    """What a value is computed from."""

    figure: str = ""  #: of :meth:`Measurements.figure`; "fact/NAME": of the model, such as fact/parameters
    models: dict[str, str] = Field({})  #: by seed
    over: str | None = None  #: a model: the ratio to it, or the share of it once chance is taken from both
    corrected: bool = False
    reference: str | None = None  #: the model whose texts are the references
    answer_to: str | None = None  #: id of a question: the answer itself
    text: str | None = None  #: a constant text, such as what was not run

    def value(self, measurements: Measurements) -> Value:
        """Compute the value. Raises ScoreError for what was not measured."""
        if self.text is not None:
            return self.text
        model = next(iter(self.models.values()), "")
        if self.answer_to is not None:
            row = measurements.question(self.answer_to)
            return str(row["predictions"].get(model)) if model else str(row[self.figure])
        if self.figure.startswith("fact/"):
            name = self.figure.removeprefix("fact/")
            under = 1.0 if self.over is None else float(measurements.models[self.over][name])
            return float(measurements.models[model][name]) / under
        rooms = self.rooms(measurements)
        if self.corrected and self.over and not self._above_chance(measurements, rooms):
            return NO_SHARE
        figures = [self.of(measurements, name, rooms) for name in self.models.values()]
        return estimate([figure.statistic for figure in figures], figures[0].rooms, figures[0].n)

    def change(self, measurements: Measurements, base: Cell) -> Estimate | None:
        """Compute the difference from another row's cell over the rooms and seeds of both."""
        seeds = [seed for seed in self.models if seed in base.models]
        if not seeds or not self.figure or self.figure.startswith("fact/"):
            return None
        shared = set(base.rooms(measurements))
        rooms = [room for room in self.rooms(measurements) if room in shared]
        pairs = [
            (self.of(measurements, self.models[seed], rooms), base.of(measurements, base.models[seed], rooms))
            for seed in seeds
        ]
        statistics = [difference(ours.statistic, theirs.statistic) for ours, theirs in pairs]
        return estimate(statistics, pairs[0][0].rooms, pairs[0][0].n)

    def rooms(self, measurements: Measurements) -> list[str]:
        """Return the rooms on which all models of the cell were measured; none for a series."""
        if self.figure.startswith("series/"):
            return []
        names = [*self.models.values(), *filter(None, (self.over, self.reference))]
        first, *others = [measurements.rooms_of(name) for name in names]
        return [room for room in first if all(room in other for other in map(set, others))]

    def _above_chance(self, measurements: Measurements, rooms: Sequence[str]) -> bool:
        """Return whether the accuracy of ``over`` is above chance, so that a share of what lies above it exists."""
        theirs = measurements.figure(self.figure, str(self.over), rooms)
        chance = measurements.figure(self._chance, next(iter(self.models.values())), rooms)
        above = estimate([difference(theirs.statistic, chance.statistic)], theirs.rooms, theirs.n)
        return above is not None and above.excludes_zero and above.value > 0

    @property
    def _chance(self) -> str:
        return self.figure.replace("accuracy", "chance")

    def of(self, measurements: Measurements, model: str, rooms: Sequence[str]) -> Figure:
        """Return the figure of one model."""
        ours = measurements.figure(self.figure, model, rooms, self.reference)
        statistic: Statistic = ours.statistic
        theirs = None if self.over is None else measurements.figure(self.figure, self.over, rooms).statistic
        if self.corrected:
            chance = measurements.figure(self._chance, model, rooms).statistic
            statistic = corrected(statistic, chance, theirs)
        elif theirs is not None:
            statistic = ratio(statistic, theirs)
        return Figure(statistic, ours.rooms, ours.n)


class Row(ConfigModel):
    """A row: what its cells are computed from, and what came out."""

    name: str
    cells: dict[str, Cell]  #: by column
    base: str | None = None  #: the row that differences are taken from
    values: dict[str, Any] = Field({})
    differences: dict[str, Any] = Field({})


class Published(ConfigModel):
    """The paper's table, and what in it can be compared."""

    columns: list[str]
    rows: list[list[str | int | float]]
    comparable: str


class Table(ConfigModel):
    """One table, as its JSON file has it."""

    key: str
    title: str
    columns: list[Column]
    rows: list[Row]
    sentences: list[str] = Field([])
    method: list[str] = Field([])
    left_out: list[str] = Field([])
    paper: Published | None = None
    picture: bool = False

    def computed(self, measurements: Measurements) -> Table:
        """Return the table with all values and differences computed. Raises ScoreError."""
        rows = {row.name: row for row in self.rows}
        done = []
        for row in self.rows:
            values = {name: cell.value(measurements) for name, cell in row.cells.items()}
            base = rows[row.base].cells if row.base else {}
            pairs = {name: cell.change(measurements, base[name]) for name, cell in row.cells.items() if name in base}
            stored = {name: _stored(value) for name, value in values.items()}
            changes = {name: _stored(value) for name, value in pairs.items() if value is not None}
            done.append(row.model_copy(update={"values": stored, "differences": changes}))
        return self.model_copy(update={"rows": done})

    def row(self, name: str) -> Row:
        """Return a row by name. Raises ScoreError."""
        for row in self.rows:
            if row.name == name:
                return row
        raise ScoreError(f"table {self.key} has no row {name!r}")

    def column(self, name: str) -> Column:
        """Return a column by name. Raises ScoreError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise ScoreError(f"table {self.key} has no column {name!r}")

    def printed(self, row: Row, name: str) -> Column:
        """Return how a row's value of a column is printed: a ratio has no unit. Raises ScoreError."""
        column, cell = self.column(name), row.cells.get(name)
        ratio = cell is not None and cell.over is not None and not column.percent
        return column.model_copy(update={"scale": 1.0, "unit": " ×", "digits": 2}) if ratio else column

    def fill(self, template: str) -> str:
        """Replace the places of a sentence. Raises ScoreError for a row or column that the table lacks."""

        def shown(match: re.Match[str]) -> str:
            name, column, part = match.groups()
            row = self.row(name)
            value = read_value((row.differences if part in ("difference", "seen") else row.values).get(column))
            if part in ("n", "rooms"):
                return f"{getattr(value, part):,}" if isinstance(value, Estimate) else "–"
            if part == "seen":
                return show(self.column(column), detectable(value)).removesuffix(" %")
            return show(self.printed(row, column), value, sign=part == "difference")

        return _PLACE.sub(shown, template)

    def texts(self) -> list[str]:
        """Return the sentences: those written, then one for each row with differences, then what could be seen."""
        return [*map(self.fill, self.sentences), *self._changes(), *self._power()]

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Return head and rows as text, a difference under its value; n of every column where they differ."""
        heads, rows = ["", *(column.name for column in self.columns), "n", "seeds"], []
        for row in self.rows:
            values = {column.name: read_value(row.values.get(column.name)) for column in self.columns}
            counts = [f"{value.n:,}" for value in values.values() if isinstance(value, Estimate)]
            counts = counts[:1] if len(set(counts)) == 1 else counts
            shown = [show(self.printed(row, name), value) for name, value in values.items()]
            for place, column in enumerate(self.columns):
                if change := read_value(row.differences.get(column.name)):
                    shown[place] += "\n" + show(column, change, sign=True)
            seeds = max((len(cell.models) for cell in row.cells.values()), default=0)
            rows.append([row.name, *shown, " / ".join(counts) or "–", str(seeds or "–")])
        end = -2 if all(row[-2] == "–" for row in rows) else None
        return heads[:end], [row[:end] for row in rows]

    def as_markdown(self) -> str:
        """Format the page of the table."""
        parts = [f"# {self.title}", *self.texts(), markdown_table(*self.cells())]
        parts += [SECOND_LINES] if any(row.differences for row in self.rows) else []
        parts += [f"![{self.title}]({self.key}.png)"] if self.picture else []
        parts += map(self.fill, self.method)
        parts += ["## Left out", "\n".join(f"- {line}" for line in self.left_out)] if self.left_out else []
        if self.paper is not None:
            rows = [[str(cell) for cell in row] for row in self.paper.rows]
            parts += ["## The paper's", markdown_table(self.paper.columns, rows), self.paper.comparable]
        return "\n\n".join(parts) + "\n"

    def _changes(self) -> Iterator[str]:
        for row in self.rows:
            if row.differences:
                yield change_sentence(row, self.columns)

    def _power(self) -> Iterator[str]:
        """Yield the least differences that the design would have shown, by column of the best and the worst row."""
        seen = []
        for column in self.columns:
            changes = [read_value(row.differences.get(column.name)) for row in self.rows]
            least = [value for value in map(detectable, changes) if value is not None]
            if least:
                ends = dict.fromkeys(show(column, end).removesuffix(" %") for end in (min(least), max(least)))
                seen.append(f"{column.name} {' to '.join(ends)}")
        if seen:
            yield (
                "What the design could have shown: with these rooms and seeds a true difference is found four times of "
                f"five from about {', '.join(seen)} by row (percentages: points). Smaller effects cannot be excluded."
            )


def read_value(stored: Any) -> Value:
    """Read a value of a table's JSON."""
    return Estimate.read(stored) if isinstance(stored, Mapping) else stored


def detectable(change: Value) -> float | None:
    """Return the least true difference that is found with probability 0.8, from the width of an interval."""
    if not isinstance(change, Estimate) or change.ci95 is None:
        return None
    return POWER / WIDTH * (change.ci95[1] - change.ci95[0])


def show(column: Column, value: Value, sign: bool = False) -> str:
    """Format a value, or with ``sign`` a difference, with its interval."""
    if value is None or isinstance(value, str):
        return value or "–"
    scale = column.scale * (100 if column.percent else 1)

    def number(amount: float) -> str:
        return f"{scale * amount:{'+' if sign else ''},.{column.digits}f}"

    unit = "" if sign else " %" if column.percent else column.unit
    if not isinstance(value, Estimate):
        return number(value) + unit
    interval = "" if value.ci95 is None else f" ({number(value.ci95[0])} to {number(value.ci95[1])})"
    return number(value.value) + unit + interval


def change_sentence(row: Row, columns: Sequence[Column]) -> str:
    """State which columns of a row differ from its base, and in which the interval includes 0."""
    changed, unchanged = [], []
    for column in columns:
        value = read_value(row.differences.get(column.name))
        if not isinstance(value, Estimate):
            continue
        if value.excludes_zero:
            verdict = {None: "", "lower": "better", "higher": "worse"}[column.better]
            verdict = {"better": "worse", "worse": "better"}.get(verdict, "") if value.value > 0 else verdict
            changed.append(f"{column.name} {show(column, value, sign=True)}{verdict and f' ({verdict})'}")
        else:
            unchanged.append(column.name)
    same = f"no change shown in {', '.join(unchanged)}: the interval includes 0" if unchanged else ""
    return f"{row.name} against {row.base}: {'; '.join([*changed, *([same] if same else [])])}."


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table in markdown."""
    lines = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in (heads, ["---"] * len(heads), *rows)]
    return "\n".join("| " + line.replace("\n", "<br>") + " |" for line in lines)


def _stored(value: Value) -> Any:
    """Round a value to what its JSON file holds."""
    if isinstance(value, Estimate):
        return value.rounded(DIGITS)
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
