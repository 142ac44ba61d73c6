"""``dollhouse bench``: measure time and memory of answering."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from dollhouse.cli.app import app
from dollhouse.system.console import console

_ROWS = {
    "cold_s": "cold start s",
    "cold_cpu_s": "cold CPU s",
    "load_ms": "load ms",
    "encode_ms_per_view": "encode ms a view",
    "first_ms": "first answer ms",
    "later_ms": "later ms",
    "tokens_per_s": "tokens/s",
    "peak_mb": "peak MB",
}


@app.command()
def bench(
    models: Annotated[
        list[str] | None, typer.Argument(help="Model folders; ratios are to the first. Default: nano.")
    ] = None,
    scene: Annotated[str, typer.Option(help="A folder of photos, or another scene.")] = "example",
    question: Annotated[str, typer.Option(help="The question that is timed.")] = "How many chairs are there?",
    views: Annotated[int | None, typer.Option(min=1, help="Photos to encode.", show_default="the model's")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="New processes of each model, engine and precision.")] = 3,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements in a process; the smallest counts.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Write all figures as JSON.")] = None,
) -> None:
    """Measure cold start, first and later answers, and memory, on torch and on each certified precision.

    A first answer encodes the photos, a later one finds the scene in memory; every model is measured both ways.

    Example: dollhouse bench nano --scene ./my_photos
    """
    from dollhouse.deploy.benchmark import benchmark, systems_of
    from dollhouse.system.atomic_io import write_text

    systems = [system for model in models or ["nano"] for system in systems_of(model)]
    result = benchmark(systems, scene, question, views, rounds, repeats)
    _print(result)
    if out is not None:
        write_text(out, json.dumps(result, indent=1) + "\n")
        print(f"figures: {out}")


def _print(result: dict[str, Any]) -> None:
    for title, rows in (
        (f"median of {result['settings']['rounds']} processes (least, greatest)", result["systems"]),
        ("times faster than the first", result["times_faster"]),
    ):
        table = Table("", *rows, title=title, title_justify="left")
        for key in (key for key in _ROWS if key in next(iter(rows.values()))):
            table.add_row(_ROWS[key], *(_cell(figures[key]) for figures in rows.values()))
        console().print(table)


def _cell(figure: float | dict[str, float]) -> str:
    if isinstance(figure, dict):
        return "{} ({}, {})".format(*(_number(figure[name]) for name in ("median", "min", "max")))
    return _number(figure)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
