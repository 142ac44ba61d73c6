"""``dollhouse verify``: score a report's predictions again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dollhouse.cli.app import app
from dollhouse.system.console import console


@app.command()
def verify(
    report: Annotated[Path, typer.Argument(help="A report.json, beside the files that it names.")],
) -> None:
    """Score the predictions of a report again, without the model; exit code 1 where a figure differs."""
    from dollhouse.evaluation.verify import verify_report

    found = verify_report(report)
    out = console()
    if not found.agrees:
        out.print(f"not verified: {len(found.findings)} findings", style="red")
        for finding in found.findings:
            out.print(f"- {finding}")
        raise typer.Exit(1)
    overall = found.report["scores"]["overall"]
    value = "" if overall is None else f", {found.report['scores']['headline']} {overall['value']:.4f}"
    out.print(f"verified: {found.samples:,} answers of {found.benchmark} scored again, bit for bit the same{value}")
