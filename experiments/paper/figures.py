"""Figures of tables: rows with intervals (matplotlib, without pyplot)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dollhouse.evaluation.report.charts import COLOUR, plain_axes
from dollhouse.evaluation.tables.statistics import Estimate
from dollhouse.evaluation.tables.table import Column, Row, read_value

PANELS = 3  #: side by side


def rows_figure(columns: Sequence[Column], rows: Sequence[Row], base: str | None = None) -> Figure:
    """Draw a panel a column: every row's value with its interval; a dotted line at the row ``base``.

    Red rows are worse than what they are compared with, green better; of grey ones the interval includes 0.
    """
    numeric = (Estimate, float)
    shown = [
        column
        for column in columns
        if any(isinstance(read_value(row.values.get(column.name)), numeric) for row in rows)
    ]
    bands, across = -(-len(shown) // PANELS), min(PANELS, len(shown))
    size = (2.4 + 2.4 * across, 0.5 + bands * (0.6 + 0.27 * len(rows)))
    figure = Figure(figsize=size, dpi=130, layout="constrained")
    grid: Any = figure.subplots(bands, across, squeeze=False, sharey=True)
    for spare in grid.flat[len(shown) :]:
        spare.axis("off")
    for axes, column in zip(grid.flat, shown, strict=False):
        arrow = {"higher": "  → better", "lower": "  ← better"}.get(column.better or "", "")
        plain_axes(axes, f"{column.name}{column.unit and f' ({column.unit.strip()})'}{arrow}", "x")
        scale = column.scale * (100 if column.percent else 1)
        for place, row in enumerate(rows):
            value, change = (read_value(part.get(column.name)) for part in (row.values, row.differences))
            if not isinstance(value, numeric):
                continue
            colour = COLOUR["model" if row.name == base else "soft"]
            if isinstance(change, Estimate) and change.excludes_zero:
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
