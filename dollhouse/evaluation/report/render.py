"""Render HTML reports: one Jinja2 environment, and the parts that a page of sections consists of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal, TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from dollhouse.evaluation.report.charts import PALETTE, svg

UNKNOWN = "–"
Cell: TypeAlias = str | int | float | tuple[str, str] | None  #: a pair is a value and a smaller line under it


@dataclass(frozen=True)
class Table:
    """A table; the first column stands left, all others right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    bold: Collection[str] = ()  #: first cells of the rows in bold
    folded: str = ""  #: a summary line under which readers can fold the table away
    kind: ClassVar[str] = "table"


@dataclass(frozen=True, eq=False)
class Chart:
    """A matplotlib figure, inlined as SVG in the colours of :data:`~dollhouse.evaluation.report.charts.PALETTE`."""

    figure: Figure
    description: str  #: alternative text
    caption: str = ""
    values: Table | None = None  #: the charted values, folded away under the chart
    wide: bool = False  #: wider than a phone: scrolls sideways there
    kind: ClassVar[str] = "chart"


@dataclass(frozen=True)
class Note:
    """A paragraph apart from the text: a warning, or small print about a method."""

    text: str
    kind: Literal["warning", "method"] = "method"


Part: TypeAlias = str | Mapping[str, Any] | Table | Chart | Note  #: str: a paragraph; a mapping: names and values


@dataclass(frozen=True)
class Section:
    """A titled card of a page; ``aside`` stands beside the parts in a narrower column."""

    title: str
    parts: Sequence[Part]
    aside: Sequence[Part] = ()
    aside_title: str = ""


def render_report(template: str, context: Mapping[str, Any]) -> str:
    """Render a file of ``report/templates`` to a page that needs neither a server nor a network.

    ``context`` holds what the template names, ``title`` at least. All strings are escaped.
    """
    return _environment().get_template(template).render(context)


def render_sections(
    title: str,
    sections: Sequence[Section],
    *,
    introduction: str = "",
    broad: bool = False,
) -> str:
    """Render a page of sections.

    Three or more sections get a list of links at the top; ``broad`` pages are up to 1560 px wide instead of 1180 px.
    """
    context = {"title": title, "sections": sections, "introduction": introduction, "broad": broad}
    return render_report("sections.html.j2", context)


def percent(share: float | None, digits: int = 1) -> str:
    """Format a share of 1 as percent."""
    return UNKNOWN if share is None else f"{100 * share:.{digits}f} %"


def decimal(value: float | None, unit: str = "", digits: int = 3) -> str:
    """Format a number with a fixed count of decimals."""
    return UNKNOWN if value is None else f"{value:.{digits}f}{unit}"


def points(difference: float | None) -> str:
    """Format a difference of shares as signed percentage points."""
    return UNKNOWN if difference is None else f"{100 * difference:+.1f}"


def interval(ends: Sequence[float] | None, scale: float = 100, form: str = ".1f") -> str:
    """Format both ends of an interval, in percent unless ``scale`` is 1."""
    return UNKNOWN if ends is None else " to ".join(f"{scale * end:{form}}" for end in ends)


def plural(count: int, noun: str) -> str:
    """Format a count with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def rich_table(table: Table) -> RichTable:
    """Convert a table of a page to one of the terminal."""
    drawn = RichTable(title=Text(table.caption), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, column in enumerate(table.columns):
        drawn.add_column(Text(column), justify="right" if number else "left")
    for row in table.rows:
        cells = [Text(UNKNOWN if cell is None else str(cell)) for cell in row]
        drawn.add_row(*cells, style="bold" if row[0] in table.bold else None)
    return drawn


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dollhouse.evaluation.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals |= {"palette": PALETTE, "introduction": "", "broad": False}
    environment.filters |= {f.__name__: f for f in (svg, percent, decimal, interval, plural)}
    return environment
