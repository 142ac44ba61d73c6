"""Charts of reports as matplotlib figures without pyplot, and their conversion to inline SVG in a page's colours."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

#: CSS variable -> colour on a light and a dark page. Figures use the light one, which :func:`svg` replaces.
PALETTE: dict[str, tuple[str, str]] = {
    "page": ("#faf9f7", "#17181c"),
    "card": ("#fffffe", "#202227"),
    "ink": ("#22242a", "#e6e7ea"),
    "soft": ("#6a6f7a", "#9a9fab"),
    "line": ("#e4e2dd", "#33363d"),
    "warm": ("#fff4d6", "#3a3116"),
    "model": ("#2f6fb2", "#6aa8ea"),
    "blind": ("#b9bfca", "#565c68"),
    "chance": ("#d97706", "#f0a13a"),
    "right": ("#17803d", "#5cc98a"),
    "wrong": ("#c02626", "#f28b82"),
    "violet": ("#8b5cf6", "#b69cff"),
    "pale": ("#b9d2ea", "#3c5a78"),
    "sand": ("#f6d9ad", "#6b5230"),
    "sage": ("#6b8f71", "#8fb596"),
}
COLOUR = {name: light for name, (light, _) in PALETTE.items()}
INK, SOFT, LINE = COLOUR["ink"], COLOUR["soft"], COLOUR["line"]


@dataclass(frozen=True)
class Bar:
    """One row of :func:`accuracy_chart`; all values are shares of 1."""

    name: str
    value: float
    ci95: Sequence[float] | None
    blind: float | None = None  #: accuracy of the blind control
    chance: float | None = None


def new_axes(
    width: float, height: float, x_label: str = "", y_label: str = "", grid: Literal["x", "y", "both"] | None = None
) -> tuple[Figure, Axes]:
    """Create a figure with one pair of plain axes; sizes in inches, 72 CSS pixels each."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = plain_axes(figure.subplots(), grid=grid)
    axes.set_xlabel(x_label, fontsize=9, color=SOFT)
    axes.set_ylabel(y_label, fontsize=9, color=SOFT)
    return figure, axes


def plain_axes(axes: Axes, title: str = "", grid: Literal["x", "y", "both"] | None = None) -> Axes:
    """Give axes the look of reports: no box, small ticks, grid lines along one axis or both."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(labelsize=9, colors=INK, length=0)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=LINE, linewidth=0.8)
    axes.set_title(title, fontsize=10, loc="left", color=INK)
    return axes


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    """Put the legend of ``axes`` below the figure, each name once."""
    unique: dict[str, Any] = {}
    for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
        unique.setdefault(name, handle)
    style: dict[str, Any] = {"fontsize": 9, "frameon": False, "labelcolor": INK}
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=columns, **style)


def accuracy_chart(rows: Sequence[Bar], label: str = "right answers, %") -> Figure:
    """Draw accuracies with 95 % intervals, the blind control as a thin bar below and chance as a tick."""
    figure, axes = new_axes(6.4, 0.9 + 0.46 * len(rows), label, grid="x")
    for height, row in enumerate(rows):
        axes.barh(height, 100 * row.value, 0.44, color=COLOUR["model"], label="model")
        if row.blind is not None:
            axes.barh(height + 0.34, 100 * row.blind, 0.18, color=COLOUR["blind"], label="blind")
        if row.ci95:
            draw_whisker(axes, height, row.ci95, label="95 % interval")
        if row.chance is not None:
            ends = [height - 0.32, height + 0.44]
            axes.plot([100 * row.chance] * 2, ends, color=COLOUR["chance"], linewidth=2, label="chance")
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.5)
    axes.set_xlim(0, 101)
    legend_below(figure, axes, 4)
    return figure


def draw_whisker(
    axes: Axes, height: float, ends: Sequence[float], colour: str = INK, width: float = 1.2, label: str | None = None
) -> None:
    """Draw an interval (shares of 1, in percent) along x."""
    x = [100 * end for end in ends]
    axes.plot(x, [height, height], "|-", color=colour, linewidth=width, markersize=5, label=label)


def curve_chart(
    rows: Sequence[Mapping[str, Any]],
    x_label: str,
    y_label: str,
    *,
    x_scale: float = 1.0,
    y_top: float | None = None,
    diagonal: bool = False,
) -> Figure:
    """Draw points ``{middle, value, ci95}`` with whiskers, joined by a line.

    Args:
        rows: points with rising ``middle``; ``value`` and ``ci95`` are shares of 1, drawn in percent.
        x_label, y_label: names of the axes, with units.
        x_scale: factor on ``middle``; 100 where it is a share too.
        y_top: upper end of the vertical axis, percent; None: a little above the highest interval.
        diagonal: also draw where value equals middle.
    """
    figure, axes = new_axes(5.6, 3.3, x_label, y_label, "both")
    x = [x_scale * float(row["middle"]) for row in rows]
    y = [100 * float(row["value"]) for row in rows]
    if diagonal:
        axes.plot([0, 100], [0, 100], color=SOFT, linestyle="--", linewidth=1)
        axes.set_xlim(min(50.0, 10 * math.floor(x[0] / 10)), 102)
    axes.plot(x, y, "o-", color=COLOUR["model"], linewidth=1.4, markersize=6)
    for at, row in zip(x, rows, strict=True):
        if row["ci95"]:
            axes.plot([at, at], [100 * end for end in row["ci95"]], "_-", color=INK, linewidth=1.2, markersize=6)
    highest = max(100 * (row["ci95"][1] if row["ci95"] else row["value"]) for row in rows)
    axes.set_ylim(0, y_top or min(100.0, 10 * math.ceil(highest / 10 + 0.3)))
    return figure


def interval_chart(
    names: Sequence[str],
    series: Mapping[str, Sequence[tuple[float, Sequence[float] | None] | None]],
    label: str,
    colours: Mapping[str, str],
    *,
    margin: float = 0.0,
) -> Figure:
    """Draw several values for each name with their intervals, around 0.

    Args:
        names: rows, from the top.
        series: title -> (value, interval) for each name, shares of 1 drawn in percent; the first stands out.
        label: name of the axis, with its unit.
        colours: title -> colour.
        margin: half width of a grey band around 0.
    """
    figure, axes = new_axes(6.6, 1.2 + 0.5 * len(names), label)
    axes.axvspan(-100 * margin, 100 * margin, color=LINE, alpha=0.6, zorder=0)
    axes.axvline(0, color=SOFT, linewidth=1, zorder=1)
    step = 0.7 / max(len(series), 1)
    for number, (title, values) in enumerate(series.items()):
        drawn = [(row - 0.3 + step * number, value) for row, value in enumerate(values) if value is not None]
        for height, (_, ends) in drawn:
            if ends is not None:
                draw_whisker(axes, height, ends, colours[title], 1.0 if number else 1.8)
        size = 3.5 if number else 6
        x, y = [100 * value for _, (value, _) in drawn], [height for height, _ in drawn]
        axes.plot(x, y, "o", color=colours[title], markersize=size, label=title)
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.45, -0.55)
    legend_below(figure, axes, 3)
    return figure


def plain_text(figure: Figure) -> None:
    """Keep the "$" of names and questions from being read as formulas."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)


def svg(figure: Figure, description: str) -> Markup:
    """Convert a figure to an SVG element whose colours follow the page; text stays text."""
    plain_text(figure)
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    text = re.sub(r"<svg[^>]*>", f'<svg {box[0]} role="img" aria-label="{escape(description)}">', text, count=1)
    for name, colour in COLOUR.items():
        text = text.replace(colour, f"var(--{name})")
    text = re.sub(r'(<text style=")(?![^"]*fill)', r"\1fill: var(--ink); ", text)
    return Markup(text)  # matplotlib escapes the texts of a figure
