"""Plans as tables on a terminal.

Knows how things are shown, nothing of how they were found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from dollhouse.training.estimate.parameters import Part, disk_bytes

if TYPE_CHECKING:
    from dollhouse.training.estimate.dry_run import StageCheck
    from dollhouse.training.estimate.memory import MemoryPlan
    from dollhouse.training.estimate.profile import TrainingProfile


def gigabytes(count: float) -> str:
    """Bytes in units of 10^9, as disks and the paper count."""
    return f"{count / 1e9:.2f} GB"


def print_parts(parts: Sequence[Part], title: str) -> None:
    """Parameters of each part and in all, and their size on disk by number format."""
    table = Table(title=title, title_justify="left")
    table.add_column("part")
    table.add_column("parameters", justify="right")
    for part in parts:
        table.add_row(part.name, f"{part.parameters:,}")
    total = sum(part.parameters for part in parts)
    table.add_row("all", f"{total:,}  ({total / 1e9:.2f}B)", style="bold")
    console = Console()
    console.print(table)
    sizes = ", ".join(f"{gigabytes(size)} in {name}" for name, size in disk_bytes(list(parts)).items())
    console.print(f"on disk: {sizes}", highlight=False, soft_wrap=True)


def print_memory(plans: Mapping[str, MemoryPlan]) -> None:
    """Predicted memory, one row for each named situation."""
    table = Table(title="memory at the peak", title_justify="left")
    for name in ("", "process", "weights", "activations", "peak"):
        table.add_column(name, justify="right" if name else "left")
    for name, plan in plans.items():
        figures = (plan.process, plan.weights, plan.activations, plan.peak)
        table.add_row(name, *map(gigabytes, figures))
    Console().print(table)


def print_checks(checks: Sequence[StageCheck]) -> None:
    """What a dry run found out about each stage's step."""
    console = Console(highlight=False, soft_wrap=True)
    for check in checks:
        photos = "x".join(map(str, check.photos))
        seen = f"photos {photos} -> {check.vision_tokens:,} vision tokens" if check.vision_tokens else "no photos"
        console.print(f"[bold]stage {check.name}[/bold]: {seen}, {check.text_tokens:,} text tokens")
        console.print(f"  losses with targets: {', '.join(check.losses)}")
        console.print(
            f"  forward, losses, backward, optimiser: all shapes right; {check.trained:,} parameters trained "
            f"({check.gradients} gradients and {check.states} optimiser states, each of its parameter's shape), "
            f"{check.frozen:,} frozen"
        )
        if check.without_gradient:
            console.print(f"  [red]trained, but no loss reaches them:[/red] {', '.join(check.without_gradient[:5])}")
        console.print(
            f"  memory: weights {gigabytes(check.weight_bytes)}, optimiser {gigabytes(check.state_bytes)}, all tensors "
            f"at the peak {gigabytes(check.peak_bytes)}; {check.flops / 1e12:.2f} TFLOP a step"
        )


def print_rehearsal(rehearsal: TrainingProfile) -> None:
    """How fast each stage's steps were, and the memory they took."""
    console = Console(highlight=False, soft_wrap=True)
    for stage in rehearsal.stages:
        console.print(
            f"[bold]stage {stage.check.name}[/bold]: {len(stage.seconds)} steps, {stage.step_seconds:.2f} s each, "
            f"{stage.tokens_per_second:,.0f} tokens/s ({stage.check.vision_tokens:,} vision and "
            f"{stage.check.text_tokens:,} text tokens in the first step), {stage.utilisation:.1%} of "
            f"{stage.peak_flops / 1e12:.2f} TFLOP/s"
        )
    console.print(f"peak memory: {gigabytes(rehearsal.peak_bytes)}")
