"""``dollhouse estimate``: predict parameters, disk size and memory."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from dollhouse.cli.app import app, quiet_libraries
from dollhouse.errors import ModelError, RecipeError
from dollhouse.system.console import console

if TYPE_CHECKING:
    from dollhouse.training.estimate.dry_run import StageEstimate
    from dollhouse.training.estimate.memory import MemoryEstimate, ModuleParameters
    from dollhouse.training.estimate.profile import TrainingProfile


Dtype = Literal["float32", "bfloat16", "float16"]
HEADS = "camera,depth,point"


@app.command()
def estimate(
    what: Annotated[str, typer.Argument(help="vggt, or a recipe: its file, or the name of a shipped one.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Overrides of the recipe.")] = None,
    views: Annotated[int | None, typer.Option(min=1, help="Photos a scene. Default: 2, or the recipe's.")] = None,
    size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT. Default: 518x392, or the recipe's width at 4:3.")
    ] = None,
    dtype: Annotated[Dtype, typer.Option(help="Of the weights.")] = "bfloat16",
    heads: Annotated[str, typer.Option(help="Of VGGT: which of camera,depth,point.")] = HEADS,
    views_at_once: Annotated[
        int | None, typer.Option(min=1, help="Views that VGGT processes together. Default: all.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="An official VGGT checkpoint: check its keys, print its licence.")
    ] = None,
    training: Annotated[
        bool, typer.Option(help="Of a recipe: estimate its stages too; renders one batch of its scenes.")
    ] = True,
    processes: Annotated[int, typer.Option(min=1, help="Of a run: estimate the memory of each.")] = 1,
) -> None:
    """Predict parameters, size on disk and peak memory before anything is allocated.

    Examples: dollhouse estimate vggt --views 2 --size 518x392 --dtype bfloat16, or: dollhouse estimate paper
    """
    of_recipe = {" ".join(settings or []): settings, "--no-training": not training, "--processes": processes > 1}
    of_vggt = {"--heads": heads != HEADS, "--views-at-once": views_at_once, "--weights": weights}
    if unused := [name for name, given in (of_recipe if what == "vggt" else of_vggt).items() if given]:
        hint = "" if weights is None or what == "vggt" else "; a recipe takes student.encoder_weights=PATH"
        raise RecipeError(f"{what} does not use {', '.join(unused)}: leave that out{hint}")
    quiet_libraries()
    import torch

    width, height = _parse_size(size) if size else (0, 0)
    if what == "vggt":
        from dollhouse.models.vggt.configuration import VggtConfig
        from dollhouse.training.estimate.memory import estimate_vggt

        views, width, height = views or 2, width or 518, height or 392
        try:
            config = VggtConfig(heads=[head for head in heads.split(",") if head], views_at_once=views_at_once)
        except ValueError as error:
            raise ModelError(str(error)) from None
        vggt = estimate_vggt(config, views, height, width, getattr(torch, dtype), weights)
        if check := vggt.checkpoint:
            print(
                f"{check.path}: {check.matching:,} tensors match, {check.ignored:,} ignored; licence: {check.licence}"
            )
        _print_parameters(vggt.parameters, "VGGT-1B")
        _print_memory({f"{views} views of {width}x{height} in {dtype}": vggt.memory})
        return
    from dollhouse.training.estimate.recipe import estimate_recipe, paper_count
    from dollhouse.training.estimate.stand_ins import with_stand_ins
    from dollhouse.training.recipes import read_recipe

    dtypes = [getattr(torch, name) for name in dict.fromkeys(("float32", dtype))]
    with with_stand_ins(read_recipe(what, settings or [])) as complete:
        recipe = estimate_recipe(complete, views, (width, height) if size else None, dtypes, training)
    _print_parameters(recipe.parameters, f"recipe {recipe.name}")
    rest, encoder = paper_count(recipe.parameters)
    if encoder:
        parts = " + ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in encoder.items())
        total = (rest + sum(encoder.values())) / 1e9
        print(f"as the paper counts: language model and connections {rest / 1e9:.2f}B + {parts} = {total:.2f}B")
    count, height, width = recipe.photos
    situation = f"inference: {count} views of {width}x{height}, "
    _print_memory({situation + str(key).removeprefix("torch."): memory for key, memory in recipe.inference.items()})
    print_stages(recipe.stages, processes)


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not match:
        raise ModelError(f"size {text!r} is not WIDTHxHEIGHT in pixels, such as 518x392")
    return int(match[1]), int(match[2])


def gigabytes(count: float) -> str:
    """Format bytes in units of 10^9."""
    return f"{count / 1e9:.2f} GB"


def _print_parameters(modules: Sequence[ModuleParameters], title: str) -> None:
    """Print the parameters of each module, and the size on disk by number format."""
    from dollhouse.training.estimate.memory import disk_bytes

    table = Table(title=title, title_justify="left")
    table.add_column("module")
    table.add_column("parameters", justify="right")
    for module in modules:
        table.add_row(module.name, f"{module.parameters:,}")
    total = sum(module.parameters for module in modules)
    table.add_row("all", f"{total:,}  ({total / 1e9:.2f}B)", style="bold")
    out = console()
    out.print(table)
    sizes = ", ".join(f"{gigabytes(size)} in {name}" for name, size in disk_bytes(modules).items())
    out.print(f"on disk: {sizes}")


def _print_memory(estimates: Mapping[str, MemoryEstimate]) -> None:
    """Print memory, one row per estimate."""
    table = Table(title="memory at the peak", title_justify="left")
    for name in ("", "process", "weights", "activations", "peak"):
        table.add_column(name, justify="right" if name else "left")
    for name, memory in estimates.items():
        figures = (memory.process, memory.weights, memory.activations, memory.peak)
        table.add_row(name, *map(gigabytes, figures))
    console().print(table)


def print_stages(stages: Sequence[StageEstimate], processes: int = 1) -> None:
    """Print the estimate of a step of every stage."""
    import torch

    from dollhouse.training.estimate.memory import resident_bytes

    out = console()
    for stage in stages:
        photos = "x".join(map(str, stage.photos))
        inputs = f"photos {photos} -> {stage.vision_tokens:,} vision tokens" if stage.vision_tokens else "no photos"
        times = f" in the first of {stage.micro_batches} micro-batches" if stage.micro_batches > 1 else ""
        out.print(f"stage {stage.name}: {inputs}, {stage.text_tokens:,} text tokens{times}", style="bold")
        out.print(f"  losses with targets: {', '.join(stage.losses)}")
        out.print(
            f"  forward, losses, backward, optimiser: all shapes fit; {stage.trained:,} parameters trained "
            f"({stage.gradients} gradients and {stage.states} optimiser states, each of its parameter's shape), "
            f"{stage.frozen:,} frozen"
        )
        if stage.without_gradient:
            names = ", ".join(stage.without_gradient[:5])
            out.print(f"  trained, but without a gradient: {names}", style="red")
        out.print(
            f"  memory: weights {gigabytes(stage.weight_bytes)}, optimiser {gigabytes(stage.state_bytes)}, all tensors "
            f"at the peak {gigabytes(stage.peak_bytes)}; {stage.flops / 1e12:.2f} TFLOP a step"
        )
        if processes > 1:
            ddp = stage.memory.peak(processes, "ddp")
            gpu, cpu = (stage.memory.peak(processes, "fsdp", cuda=cuda) for cuda in (True, False))
            out.print(
                f"  each of {processes} processes at the peak: {gigabytes(ddp)} with parallel=ddp; with parallel=fsdp "
                f"{gigabytes(gpu)} on a GPU, {gigabytes(cpu)} in main memory"
            )
    if stages and not torch.cuda.is_available():
        out.print(f"Python, libraries and data take {gigabytes(resident_bytes())} of main memory beside the tensors")


def print_profile(profile: TrainingProfile) -> None:
    """Print the speed of every stage and the peak memory."""
    out = console()
    for stage in profile.stages:
        out.print(
            f"stage {stage.estimate.name}: {len(stage.seconds)} steps, {stage.step_seconds:.2f} s each, "
            f"{stage.tokens_per_second:,.0f} tokens/s ({stage.estimate.vision_tokens:,} vision and "
            f"{stage.estimate.text_tokens:,} text tokens in the first step), {stage.utilisation:.1%} of "
            f"{stage.peak_flops / 1e12:.2f} TFLOP/s"
        )
    out.print(f"peak memory: {gigabytes(profile.peak_bytes)}")
