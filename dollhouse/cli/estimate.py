"""``dollhouse estimate``: predict parameters, disk size and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dollhouse.cli.app import app, console, quiet_libraries

if TYPE_CHECKING:
    from dollhouse.training.estimate.dry_run import StageCheck
    from dollhouse.training.estimate.memory import MemoryEstimate
    from dollhouse.training.estimate.parameters import Part


@app.command()
def estimate(
    what: Annotated[str, typer.Argument(help="vggt, or a recipe: its file, or the name of a shipped one.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Overrides of the recipe.")] = None,
    views: Annotated[int | None, typer.Option(min=1, help="Photos a scene. Default: 2, or the recipe's.")] = None,
    size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT. Default: 518x392, or the recipe's width at 4:3.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "bfloat16",
    heads: Annotated[str, typer.Option(help="Of VGGT: which of camera,depth,point.")] = "camera,depth,point",
    views_at_once: Annotated[
        int | None, typer.Option(min=1, help="Views that VGGT processes together. Default: all.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="An official VGGT checkpoint: check its keys, print its licence.")
    ] = None,
    training: Annotated[
        bool, typer.Option(help="Of a recipe: estimate its stages too; renders one batch of its scenes.")
    ] = True,
) -> None:
    """Predict parameters, size on disk and peak memory before anything is allocated.

    Examples: dollhouse estimate vggt --views 2 --size 518x392 --dtype bfloat16, or: dollhouse estimate paper
    """
    quiet_libraries()
    from dollhouse.training.estimate.estimate import estimate_recipe, estimate_vggt

    if what == "vggt":
        result = estimate_vggt(views or 2, size or "518x392", dtype, heads.split(","), views_at_once, weights)
    else:
        result = estimate_recipe(what, settings or [], views, size, dtype, training)
    out = console()
    _print_parts(result.parts, result.title)
    for line in result.notes:
        out.print(line)
    _print_memory(result.memory)
    print_checks(result.stages)


def gigabytes(count: float) -> str:
    """Format bytes in units of 10^9."""
    return f"{count / 1e9:.2f} GB"


def _print_parts(parts: Sequence[Part], title: str) -> None:
    from dollhouse.training.estimate.parameters import disk_bytes

    table = Table(title=title, title_justify="left")
    table.add_column("part")
    table.add_column("parameters", justify="right")
    for part in parts:
        table.add_row(part.name, f"{part.parameters:,}")
    total = sum(part.parameters for part in parts)
    table.add_row("all", f"{total:,}  ({total / 1e9:.2f}B)", style="bold")
    out = console()
    out.print(table)
    sizes = ", ".join(f"{gigabytes(size)} in {name}" for name, size in disk_bytes(list(parts)).items())
    out.print(f"on disk: {sizes}")


def _print_memory(estimates: Mapping[str, MemoryEstimate]) -> None:
    table = Table(title="peak memory", title_justify="left")
    for name in ("", "process", "weights", "activations", "peak"):
        table.add_column(name, justify="right" if name else "left")
    for name, memory in estimates.items():
        table.add_row(name, *map(gigabytes, (memory.process, memory.weights, memory.activations, memory.peak)))
    console().print(table)


def print_checks(checks: Sequence[StageCheck]) -> None:
    """Print what a dry run found about one step of each stage."""
    out = console()
    for check in checks:
        photos = "x".join(map(str, check.photos))
        vision = f"photos {photos} -> {check.vision_tokens:,} vision tokens" if check.vision_tokens else "no photos"
        out.print(f"[bold]stage {check.name}[/bold]: {vision}, {check.text_tokens:,} text tokens")
        out.print(f"  losses with targets: {', '.join(check.losses)}")
        out.print(
            f"  forward, losses, backward, optimiser: all shapes right; {check.trained:,} parameters trained "
            f"({check.gradients} gradients and {check.states} optimiser states, each of its parameter's shape), "
            f"{check.frozen:,} frozen"
        )
        if check.without_gradient:
            out.print(f"  [red]trained, but no loss reaches them:[/red] {', '.join(check.without_gradient[:5])}")
        out.print(
            f"  memory: weights {gigabytes(check.weight_bytes)}, optimiser {gigabytes(check.state_bytes)}, all tensors "
            f"at the peak {gigabytes(check.peak_bytes)}; {check.flops / 1e12:.2f} TFLOP a step"
        )
