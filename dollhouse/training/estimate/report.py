"""Prints estimates as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from dollhouse.training.estimate.parameters import ModuleParameters, disk_bytes

if TYPE_CHECKING:
    from dollhouse.training.estimate.dry_run import StageEstimate
    from dollhouse.training.estimate.memory import MemoryEstimate
    from dollhouse.training.estimate.profile import TrainingProfile


def gigabytes(count: float) -> str:
    """Bytes in units of 10^9, as disks and the paper count."""
    return f"{count / 1e9:.2f} GB"


def print_parameters(modules: Sequence[ModuleParameters], title: str) -> None:
    """Print the parameters of each module, and the size on disk by number format."""
    table = Table(title=title, title_justify="left")
    table.add_column("module")
    table.add_column("parameters", justify="right")
    for module in modules:
        table.add_row(module.name, f"{module.parameters:,}")
    total = sum(module.parameters for module in modules)
    table.add_row("all", f"{total:,}  ({total / 1e9:.2f}B)", style="bold")
    console = Console()
    console.print(table)
    sizes = ", ".join(f"{gigabytes(size)} in {name}" for name, size in disk_bytes(modules).items())
    console.print(f"on disk: {sizes}", highlight=False, soft_wrap=True)


def print_memory(estimates: Mapping[str, MemoryEstimate]) -> None:
    """Print memory, one row per estimate."""
    table = Table(title="memory at the peak", title_justify="left")
    for name in ("", "process", "weights", "activations", "peak"):
        table.add_column(name, justify="right" if name else "left")
    for name, memory in estimates.items():
        figures = (memory.process, memory.weights, memory.activations, memory.peak)
        table.add_row(name, *map(gigabytes, figures))
    Console().print(table)


def print_stages(stages: Sequence[StageEstimate]) -> None:
    """Print the estimate of a step of every stage."""
    console = Console(highlight=False, soft_wrap=True)
    for stage in stages:
        photos = "x".join(map(str, stage.photos))
        inputs = f"photos {photos} -> {stage.vision_tokens:,} vision tokens" if stage.vision_tokens else "no photos"
        console.print(f"[bold]stage {stage.name}[/bold]: {inputs}, {stage.text_tokens:,} text tokens")
        console.print(f"  losses with targets: {', '.join(stage.losses)}")
        console.print(
            f"  forward, losses, backward, optimiser: all shapes fit; {stage.trained:,} parameters trained "
            f"({stage.gradients} gradients and {stage.states} optimiser states, each of its parameter's shape), "
            f"{stage.frozen:,} frozen"
        )
        if stage.without_gradient:
            console.print(f"  [red]trained, but without a gradient:[/red] {', '.join(stage.without_gradient[:5])}")
        console.print(
            f"  memory: weights {gigabytes(stage.weight_bytes)}, optimiser {gigabytes(stage.state_bytes)}, all tensors "
            f"at the peak {gigabytes(stage.peak_bytes)}; {stage.flops / 1e12:.2f} TFLOP a step"
        )


def print_profile(profile: TrainingProfile) -> None:
    """Print the speed of every stage and the peak memory."""
    console = Console(highlight=False, soft_wrap=True)
    for stage in profile.stages:
        console.print(
            f"[bold]stage {stage.estimate.name}[/bold]: {len(stage.seconds)} steps, {stage.step_seconds:.2f} s each, "
            f"{stage.tokens_per_second:,.0f} tokens/s ({stage.estimate.vision_tokens:,} vision and "
            f"{stage.estimate.text_tokens:,} text tokens in the first step), {stage.utilisation:.1%} of "
            f"{stage.peak_flops / 1e12:.2f} TFLOP/s"
        )
    console.print(f"peak memory: {gigabytes(profile.peak_bytes)}")
