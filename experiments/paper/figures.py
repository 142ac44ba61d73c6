"""Figures of tables: rows with intervals and training curves (matplotlib, without pyplot)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dollhouse.evaluation.report.charts import COLOUR, plain_axes
from dollhouse.training.plots import WEIGHT, losses_of
from experiments.paper.results import ResultRow
from experiments.paper.spec import Column
from experiments.paper.statistics import Estimate

PANELS = 3  #: side by side


def rows_figure(columns: Sequence[Column], rows: Sequence[ResultRow], base: str | None = None) -> Figure:
    """Draw a panel a column: every row's value with its interval; a dotted line at the row ``base``.

    Red rows are worse than what they are compared with, green better; of grey ones the interval includes 0.
    """
    numeric = (Estimate, float)
    shown = [column for column in columns if any(isinstance(row.values.get(column.name), numeric) for row in rows)]
    bands, across = -(-len(shown) // PANELS), min(PANELS, len(shown))
    size = (2.4 + 2.4 * across, 0.5 + bands * (0.6 + 0.27 * len(rows)))
    figure = Figure(figsize=size, dpi=130, layout="constrained")
    grid: Any = figure.subplots(bands, across, squeeze=False, sharey=True)
    for spare in grid.flat[len(shown) :]:
        spare.axis("off")
    for axes, column in zip(grid.flat, shown, strict=False):
        arrow = {"higher": "  → better", "lower": "  ← better"}.get(column.better or "", "")
        plain_axes(axes, f"{column.name}{column.unit and f' ({column.unit.strip()})'}{arrow}", "x")
        scale = 100 if column.percent else 1
        for place, row in enumerate(rows):
            value, change = row.values.get(column.name), row.differences.get(column.name)
            if not isinstance(value, numeric):
                continue
            colour = COLOUR["model" if row.name == base else "soft"]
            if change is not None and change.excludes_zero:
                colour = COLOUR["wrong" if (change.value > 0) == (column.better == "lower") else "right"]
            middle, ends = (value.value, value.ci95 or ()) if isinstance(value, Estimate) else (value, ())
            axes.plot([scale * end for end in ends], [place] * len(ends), color=colour)
            axes.plot([scale * middle], [place], "o", color=colour, markersize=5)
            if row.name == base:
                axes.axvline(scale * middle, color=colour, linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_ylim(len(rows) - 0.5, -0.5)
    return figure


def curve_figure(lines: Sequence[dict[str, Any]]) -> Figure:
    """Draw every loss of a run over its steps, and its weight below."""
    figure = Figure(figsize=(7, 6), dpi=110, layout="constrained")
    panels: Any = figure.subplots(2, 1, sharex=True)
    for axes, prefix, title in zip(panels, ("", WEIGHT), ("loss", "weight of the loss"), strict=True):
        plain_axes(axes, title, "y").set_yscale("log")
        for name in losses_of(lines[0]):
            points = [(line["step"], line[prefix + name]) for line in lines if line.get(prefix + name, 0) > 0]
            axes.plot([step for step, _ in points], [value for _, value in points], label=name)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure
