"""Tables of reports for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from dollhouse.evaluation.report.render import UNKNOWN, Table, interval, percent

SUMS = ("all four", "mean of four")  #: micro average over the questions of the four families, macro over families


def rich_table(table: Table) -> RichTable:
    """Convert a table of a page to one of the terminal."""
    drawn = RichTable(title=Text(table.caption), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, column in enumerate(table.columns):
        drawn.add_column(Text(column), justify="right" if number else "left")
    for row in table.rows:
        cells = [Text(UNKNOWN if cell is None else str(cell)) for cell in row]
        drawn.add_row(*cells, style="bold" if row[0] in table.bold else None)
    return drawn


def accuracy_rows(metrics: Mapping[str, Any]) -> list[tuple[str, Any, float | None, float | None]]:
    """List each group of questions with its entry, the blind control's accuracy and chance; sums after the four."""
    blind = metrics.get("blind") or {}
    chance = metrics.get("chance") or {}
    rows = [
        (name, entry, (blind.get(kind) or {}).get(name), (chance.get(kind) or {}).get(name))
        for kind in ("families", "others")
        for name, entry in (metrics.get(kind) or {}).items()
    ]
    if metrics.get("overall"):
        count = len(metrics["families"])
        sums = [
            (SUMS[0], metrics["overall"], blind.get("overall"), chance.get("overall")),
            (SUMS[1], metrics["macro"], blind.get("macro"), None),
        ]
        rows[count:count] = sums
    return [(name, entry, beside["accuracy"] if beside else None, guess) for name, entry, beside, guess in rows]


def accuracy_table(metrics: Mapping[str, Any]) -> Table:
    """Build the table of accuracy by family beside the blind control and chance."""
    rows = [
        (name, percent(entry["accuracy"]), interval(entry["ci95"]), percent(blind), percent(chance), f"{entry['n']:,}")
        for name, entry, blind, chance in accuracy_rows(metrics)
    ]
    return Table(["family", "accuracy", "95 %", "blind", "chance", "n"], rows, bold=SUMS)


def metrics_summary(metrics: Mapping[str, Any]) -> Group:
    """Build what the terminal shows of an evaluation: accuracies, depth, boxes, and what was left out."""
    scenes, table = metrics["scenes"], accuracy_table(metrics)
    parts: list[RenderableType] = [f"{metrics['model']} on {scenes['source'] or 'scenes'} ({scenes['n']})"]
    if table.rows:
        parts.append(rich_table(table))
    if depth := metrics.get("depth"):
        parts.append(
            f"depth, alignment {depth['alignment']}: AbsRel {depth['abs_rel']:.3f}, RMSE {depth['rmse']:.3f}, "
            f"MAE {depth['mae']:.3f}, delta<1.25 {depth['delta_1']:.1%} ({depth['n']} views)"
        )
    if boxes := metrics.get("boxes"):
        parts.append(f"boxes: mAP@0.25 {boxes['map_25']:.3f}, mAP@0.5 {boxes['map_50']:.3f} ({boxes['n']} objects)")
    if (metrics.get("questions") or {}).get("balanced") == "by kind":
        parts.append("few scenes: answers are balanced by kind of question only, not by the categories named")
    parts += [
        f"{part} left out for {count} scene(s): {reason}"
        for part, reasons in (metrics.get("left_out") or {}).items()
        for reason, count in reasons.items()
    ]
    return Group(*(Text(part) if isinstance(part, str) else part for part in parts))
