"""``dollhouse distill`` and ``dollhouse plan``: train a student, or tell beforehand what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dollhouse.cli.root import app, quiet_libraries


@app.command()
def distill(
    recipe: Annotated[str, typer.Argument(help="A recipe: its file, or the name of a shipped one, such as nano.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Overrides, such as stages.pretrain_perception.steps=100.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; a run in it is continued. Default: runs/NAME.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the shapes of one step of every stage; compute nothing.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Rehearse: at most so many steps a stage; tell speed and memory.")
    ] = None,
    peak_tflops: Annotated[
        float | None, typer.Option(min=0, help="Of the processor, for a rehearsal. Default: measured.")
    ] = None,
) -> None:
    """Train a student as a recipe says. Killed at any moment, the same command goes on where it was.

    Example: dollhouse distill nano stages.pretrain_perception.steps=500 --out runs/first
    """
    from dollhouse.training.config import read_recipe

    read = read_recipe(recipe, settings or [])
    quiet_libraries()
    if dry_run:
        from dollhouse.training.estimate.dry_run import dry_run as check
        from dollhouse.training.estimate.report import print_checks

        print_checks(check(read.with_max_steps(steps) if steps else read))
        return
    if steps:
        from dollhouse.training.estimate.profile import profile_training
        from dollhouse.training.estimate.report import print_rehearsal

        folder = out or Path("runs") / f"{read.name}-{steps}-steps"
        print_rehearsal(profile_training(read, folder, steps, peak_tflops * 1e12 if peak_tflops else None))
        return
    from dollhouse.training.train import distill as carry_out

    folder = carry_out(read, out or Path("runs") / read.name)
    print(f"model: {folder}")


@app.command()
def plan(
    what: Annotated[str, typer.Argument(help='"vggt", or a recipe: its file, or the name of one in recipes/.')],
    settings: Annotated[list[str] | None, typer.Argument(help="Overrides of the recipe.")] = None,
    views: Annotated[int | None, typer.Option(min=1, help="Photos a scene. Default: 2, or the recipe's.")] = None,
    size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT. Default: 518x392, or the recipe's width at 4:3.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "bfloat16",
    heads: Annotated[str, typer.Option(help="Of VGGT: which of camera,depth,point.")] = "camera,depth,point",
    views_at_once: Annotated[
        int | None, typer.Option(min=1, help="Views VGGT works on together. Default: all.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="An official VGGT checkpoint: check it, tell its licence.")
    ] = None,
    training: Annotated[
        bool, typer.Option(help="Of a recipe: plan its stages too; draws a batch of its scenes.")
    ] = True,
) -> None:
    """Tell parameters, size on disk and peak memory before anything is allocated.

    Examples: dollhouse plan vggt --views 2 --size 518x392 --dtype bfloat16, or: dollhouse plan paper
    """
    quiet_libraries()
    from dollhouse.training.estimate.command import plan_encoder, plan_recipe

    if what == "vggt":
        plan_encoder(views or 2, size or "518x392", dtype, heads.split(","), views_at_once, weights)
    else:
        plan_recipe(what, settings or [], views, size, dtype, training)
