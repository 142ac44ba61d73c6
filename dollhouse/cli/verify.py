"""``dollhouse verify``: score a report's predictions again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dollhouse.cli.app import app
from dollhouse.system.console import console


@app.command()
def verify(
    report: Annotated[
        Path, typer.Argument(help="A report.json, beside the files that it names, or a folder of tables.")
    ],
) -> None:
    """Compute the figures of a report or of tables again, without the model; exit code 1 where one differs."""
    from dollhouse.evaluation.tables.folder import is_tables_folder, verify_folder
    from dollhouse.evaluation.verify import verify_report

    if is_tables_folder(report):
        tables = verify_folder(report)
        _stop_at(tables.findings)
        console().print(f"verified: {tables.tables} tables, {tables.values:,} values computed again from predictions")
        return
    found = verify_report(report)
    _stop_at(found.findings)
    overall = found.report["scores"]["overall"]
    value = "" if overall is None else f", {found.report['scores']['headline']} {overall['value']:.4f}"
    console().print(
        f"verified: {found.samples:,} answers of {found.benchmark} scored again, bit for bit the same{value}"
    )


def _stop_at(findings: Sequence[str]) -> None:
    """Print findings and exit with code 1, if there are any."""
    if findings:
        out = console()
        out.print(f"not verified: {len(findings)} findings", style="red")
        for finding in findings:
            out.print(f"- {finding}", markup=False)
        raise typer.Exit(1)
