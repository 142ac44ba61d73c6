"""How the pictures of tables look: one style, and the plot of rows with their intervals.

Drawn without pyplot, so nothing global is touched. Knows results, nothing of how they came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dollhouse.scenes.visualize import INK, save_figure
from experiments.paper.paired import Estimate
from experiments.paper.table import Column, Row

BLUE, ORANGE, GREY, RED, GREEN = "#2f6fb2", "#d97706", "#9aa3b2", "#c02626", "#17803d"
LINE = "#d9d9df"
PANELS = 3  #: beside each other


def plain_axes(axes: Axes, title: str = "") -> Axes:
    """Axes without a frame, with pale grid lines along x."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(labelsize=8, colors=INK, length=0)
    axes.grid(axis="x", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=9, color=INK)
    return axes


def draw_rows(columns: Sequence[Column], rows: Sequence[Row], beside: str | None, out: Path) -> None:
    """A panel a column: every row's figure with its interval; rows whose difference is certain stand out.

    ``beside`` names the row that others are compared with; a dotted line stands at its figure.
    """
    shown = [column for column in columns if any(isinstance(row.values.get(column.name), Estimate) for row in rows)]
    bands = -(-len(shown) // PANELS)
    across = min(PANELS, len(shown))
    size = (2.4 + 2.4 * across, 0.5 + bands * (0.6 + 0.27 * len(rows)))
    figure = Figure(figsize=size, dpi=130, layout="constrained")
    grid: Any = figure.subplots(bands, across, squeeze=False, sharey=True)
    for spare in grid.flat[len(shown) :]:
        spare.axis("off")
    for axes, column in zip(grid.flat, shown, strict=False):
        arrow = {"higher": "  → better", "lower": "  ← better"}.get(column.better or "", "")
        plain_axes(axes, f"{column.name}{arrow}")
        scale = 100 if column.percent else 1
        for place, row in enumerate(rows):
            value = row.values.get(column.name)
            if not isinstance(value, Estimate):
                continue
            difference = row.differences.get(column.name)
            colour = BLUE if row.name == beside else GREY
            if difference is not None and difference.certain:
                worse = (difference.value > 0) == (column.better == "lower")
                colour = RED if worse else GREEN
            if value.ci95:
                axes.plot([scale * end for end in value.ci95], [place, place], color=colour, linewidth=1.6)
            axes.plot([scale * value.value], [place], "o", color=colour, markersize=5)
            if row.name == beside:
                axes.axvline(scale * value.value, color=BLUE, linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_ylim(len(rows) - 0.5, -0.5)
    if beside and any(row.differences for row in rows):
        told = (
            f"bars: 95 % intervals; red worse and green better than “{beside}”, grey: the interval includes no change"
        )
        figure.supxlabel(told, fontsize=7.5, color=INK)
    save_figure(figure, out)


def draw_bars(groups: Sequence[tuple[str, str, Sequence[tuple[str, float]]]], out: Path) -> None:
    """A panel a group (title, what is better, (name, value) each), a bar a name, with its value written on it."""
    figure = Figure(figsize=(3.0 * len(groups), 2.6), dpi=130, layout="constrained")
    grid: Any = figure.subplots(1, len(groups), squeeze=False)
    for axes, (title, better, bars) in zip(grid[0], groups, strict=True):
        plain_axes(axes, title)
        axes.grid(visible=False)
        axes.set_xlabel(better, fontsize=8, color=INK)
        names, values = [name for name, _ in bars], [value for _, value in bars]
        colours = [ORANGE if name.startswith("teacher") else BLUE for name in names]
        drawn = axes.bar(range(len(bars)), values, color=colours, width=0.6)
        axes.bar_label(drawn, [f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in values], fontsize=8)
        axes.set_xticks(range(len(bars)), names)
        axes.set_yticks([])
        axes.margins(y=0.15)
    save_figure(figure, out)
