"""``dollhouse compare``: compare two reports of the same questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dollhouse.cli.app import OutOption, SeedOption, app
from dollhouse.cli.benchmark import print_few_scenes
from dollhouse.system.console import console

if TYPE_CHECKING:
    from dollhouse.evaluation.compare import Comparison

DIFFERENCES_SHOWN = 10


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A report.json.")],
    b: Annotated[Path, typer.Argument(help="Another report.json of the same benchmark.")],
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Compare two reports: paired differences with intervals, and the answers that differ."""
    from dollhouse.evaluation.compare import compare_reports
    from dollhouse.system.atomic_io import write_text

    comparison = compare_reports(a, b, seed)
    _print_comparison(comparison)
    if out is not None:
        path = out / "comparison.json"
        write_text(path, json.dumps(vars(comparison), ensure_ascii=False, indent=1) + "\n")
        print(f"comparison: {path}")


def _print_comparison(comparison: Comparison) -> None:
    out = console()
    out.print(f"a: {comparison.a}\nb: {comparison.b}")
    table = Table(title=f"{comparison.benchmark}, {comparison.headline}", title_justify="left")
    for column in ("kind", "a", "b", "b - a", "95 % interval", "n"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for name, entry in (*comparison.kinds.items(), ("overall", comparison.overall)):
        if entry["n"]:
            interval = "" if entry["ci95"] is None else "{:+.4f} to {:+.4f}".format(*entry["ci95"])
            figures = (f"{entry['a']:.4f}", f"{entry['b']:.4f}", f"{entry['difference']:+.4f}")
            table.add_row(name, *figures, interval, f"{entry['n']:,}", style="bold" if name == "overall" else None)
    out.print(table)
    print_few_scenes(comparison.overall, out)
    for name, ids in (("a", comparison.only_a), ("b", comparison.only_b)):
        if ids:
            out.print(f"left out: {len(ids):,} questions of {name} only")
    out.print(
        f"credit differs in {len(comparison.differing):,} answers" + (", such as:" if comparison.differing else "")
    )
    for row in comparison.differing[:DIFFERENCES_SHOWN]:
        answers = " / ".join(row["answers"])
        line = f"{row['id']}: {row['question']} [{answers}] a: {row['a']!r} b: {row['b']!r}"
        out.print(f"- {line}")
