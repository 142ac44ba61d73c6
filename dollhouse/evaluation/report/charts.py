"""Charts of reports as matplotlib figures without pyplot, and their conversion to inline SVG in a page's colours."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dollhouse.system.figures import plain_text

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
#: name, accuracy and its interval, accuracy of the blind control, chance; shares of 1
Bar: TypeAlias = tuple[str, float, Sequence[float] | None, float | None, float | None]


class Series(NamedTuple):
    """Values of one kind, shares of 1, for the rows of :func:`row_chart`; None where a row has none."""

    name: str
    values: Sequence[float | None]
    colour: str  #: name in :data:`PALETTE`
    mark: Literal["bar", "tick", "point"] = "bar"
    size: float = 0.44  #: height of a bar or tick, in rows; diameter of a point, in points
    offset: float = 0.0  #: downwards, in rows
    starts: Sequence[float] = ()  #: where stacked bars begin
    intervals: Sequence[Sequence[float] | None] = ()
    opacity: float = 1.0


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


def row_chart(
    names: Sequence[str], series: Sequence[Series], label: str, *, width: float = 6.4, margin: float | None = None
) -> Figure:
    """Draw rows of values and intervals, in percent.

    ``margin`` None: shares, from 0 to 100 %. Else changes around 0, with a grey band of this half width.
    """
    figure, axes = new_axes(width, 1.0 + 0.46 * len(names), label, grid=None if margin else "x")
    if margin:
        axes.axvspan(-100 * margin, 100 * margin, color=LINE, alpha=0.6, zorder=0)
        axes.axvline(0, color=SOFT, linewidth=1, zorder=1)
    for entry in series:
        style: dict[str, Any] = {"color": COLOUR[entry.colour], "alpha": entry.opacity, "label": entry.name}
        starts = entry.starts or [0.0] * len(names)
        for row, (value, start) in enumerate(zip(entry.values, starts, strict=True)):
            if value is None:
                continue
            at, ends = row + entry.offset, entry.intervals[row] if entry.intervals else None
            if entry.mark == "bar":
                axes.barh(at, 100 * value, entry.size, left=100 * start, **style)
            elif entry.mark == "tick":
                axes.plot([100 * value] * 2, [at - entry.size / 2, at + entry.size / 2], linewidth=2, **style)
            else:
                axes.plot(100 * value, at, "o", markersize=entry.size, **style)
            if ends is not None:
                whisker = {"color": INK, "label": "95 % interval"} if entry.mark == "bar" else {"color": style["color"]}
                axes.plot([100 * end for end in ends], [at, at], "|-", linewidth=1.3, markersize=5, **whisker)
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    if not margin:
        axes.set_xlim(0, 101)
    legend_below(figure, axes, 6 if width > 7 else 4)
    return figure


def accuracy_chart(rows: Sequence[Bar], label: str = "right answers, %") -> Figure:
    """Draw accuracies with 95 % intervals, the blind control as a thin bar below and chance as a tick."""
    names, values, intervals, blind, chance = zip(*rows, strict=True) if rows else ((),) * 5
    model = Series("model", values, "model", intervals=intervals)
    control = Series("blind", blind, "blind", size=0.18, offset=0.34)
    return row_chart(names, [model, control, Series("chance", chance, "chance", "tick", 0.76, 0.06)], label)


def curve_chart(rows: Sequence[Mapping[str, Any]], x_label: str, y_label: str, *, calibration: bool = False) -> Figure:
    """Draw points ``{middle, value, ci95}`` with whiskers, joined by a line.

    Args:
        rows: points with rising ``middle``; ``value`` and ``ci95`` are shares of 1, drawn in percent.
        x_label, y_label: names of the axes, with units.
        calibration: ``middle`` is a share too, and the diagonal is drawn.
    """
    figure, axes = new_axes(5.6, 3.3, x_label, y_label, "both")
    x = [(100 if calibration else 1) * float(row["middle"]) for row in rows]
    axes.plot(x, [100 * float(row["value"]) for row in rows], "o-", color=COLOUR["model"], linewidth=1.4, markersize=6)
    for at, row in zip(x, rows, strict=True):
        if row["ci95"]:
            axes.plot([at, at], [100 * end for end in row["ci95"]], "_-", color=INK, linewidth=1.2, markersize=6)
    highest = max(100 * (row["ci95"][1] if row["ci95"] else row["value"]) for row in rows)
    axes.set_ylim(0, 103 if calibration else min(100.0, 10 * math.ceil(highest / 10 + 0.3)))
    if calibration:
        axes.plot([0, 100], [0, 100], color=SOFT, linestyle="--", linewidth=1)
        axes.set_xlim(min(50.0, 10 * math.floor(x[0] / 10)), 102)
    return figure


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
