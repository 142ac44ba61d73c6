"""What an evaluation found, as a person reads it on a terminal.

Knows the keys of ``metrics.json``, nothing of how they came about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def print_metrics(metrics: Mapping[str, Any], console: Console | None = None) -> None:
    """Accuracy per family beside blind and chance, then depth and boxes, and what was left out."""
    console = console or Console()
    scenes = metrics["scenes"]
    rows = [*(metrics.get("families") or {}).items(), ("the four together", metrics.get("overall") or {})]
    rows += [*(metrics.get("others") or {}).items()]
    if any(entry for _, entry in rows):
        console.print(
            _accuracies(metrics, rows, f"{metrics['model']} on {scenes['source'] or 'scenes'} ({scenes['n']})")
        )
    if depth := metrics.get("depth"):
        console.print(
            f"depth, alignment {depth['alignment']}: AbsRel {depth['abs_rel']:.3f}, RMSE {depth['rmse']:.3f}, "
            f"MAE {depth['mae']:.3f}, delta<1.25 {depth['delta_1']:.1%} ({depth['n']} views)"
        )
    if boxes := metrics.get("boxes"):
        found = f"mAP@0.25 {boxes['map_25']:.3f}, mAP@0.5 {boxes['map_50']:.3f}"
        console.print(f"boxes: {found} ({boxes['n']} objects)")
    if (metrics.get("questions") or {}).get("balanced") == "by kind":
        console.print("few scenes: answers are balanced by kind of question only, not by what is spoken of")
    for part, reasons in (metrics.get("left_out") or {}).items():
        for reason, count in reasons.items():
            console.print(f"{part} left out for {count} scene(s): {reason}")


def _accuracies(metrics: Mapping[str, Any], rows: list[tuple[str, Any]], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("questions", "accuracy", "95 % interval", "n", "blind", "chance"):
        table.add_column(column, justify="left" if column == "questions" else "right")
    blind, chance = metrics.get("blind") or {}, metrics.get("chance") or {}
    for name, entry in rows:
        if not entry or entry.get("accuracy") is None:
            continue
        together = name == "the four together"
        groups = {**(blind.get("families") or {}), **(blind.get("others") or {})}
        beside = (blind.get("overall") if together else groups.get(name)) or {}
        guesses = {**(chance.get("families") or {}), **(chance.get("others") or {})}
        guess = chance.get("overall") if together else guesses.get(name)
        low, high = entry.get("ci95") or (None, None)
        table.add_row(
            name,
            f"{entry['accuracy']:.1%}",
            "" if low is None or high is None else f"{low:.1%} - {high:.1%}",
            str(entry["n"]),
            "" if beside.get("accuracy") is None else f"{beside['accuracy']:.1%}",
            "" if guess is None else f"{guess:.1%}",
            style="bold" if together else None,
        )
    return table
