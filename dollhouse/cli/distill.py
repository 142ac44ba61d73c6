"""``dollhouse distill``: train a student from a recipe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dollhouse.cli.app import app, quiet_libraries


@app.command()
def distill(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one, such as nano.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Overrides, such as stages.pretrain_perception.steps=100.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; a run in it is continued. Default: runs/NAME.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the shapes of one step of every stage; compute nothing.")
    ] = False,
    profile_steps: Annotated[
        int | None, typer.Option(min=1, help="Run at most so many steps a stage; print speed and memory.")
    ] = None,
    peak_tflops: Annotated[
        float | None, typer.Option(min=0, help="Of the processor, with --profile-steps. Default: measured.")
    ] = None,
) -> None:
    """Train a student from a recipe. After a kill or Ctrl-C, the same command continues the run.

    Example: dollhouse distill nano stages.pretrain_perception.steps=500 --out runs/first
    """
    from dollhouse.training.recipes import read_recipe

    config = read_recipe(recipe, settings or [])
    quiet_libraries()
    if dry_run:
        from dollhouse.cli.estimate import print_stages  # here, so that the help lists this verb first
        from dollhouse.training.estimate.dry_run import dry_run as check_shapes
        from dollhouse.training.estimate.stand_ins import with_stand_ins

        with with_stand_ins(config.with_max_steps(profile_steps) if profile_steps else config) as complete:
            print_stages(check_shapes(complete))
        return
    if profile_steps:
        from dollhouse.cli.estimate import print_profile
        from dollhouse.training.estimate.profile import profile_training
        from dollhouse.training.estimate.stand_ins import with_stand_ins

        folder = out or Path("runs") / f"{config.name}-{profile_steps}-steps"
        with with_stand_ins(config, folder / "stand_ins") as complete:
            flops = peak_tflops * 1e12 if peak_tflops else None
            print_profile(profile_training(complete, folder, profile_steps, flops))
        return
    from dollhouse.training.callbacks import Interrupted, StopOnSignal
    from dollhouse.training.train import distill as train

    try:
        with StopOnSignal() as stop:
            print(f"model: {train(config, out or Path('runs') / config.name, callbacks=[stop])}")
    except Interrupted as interruption:
        print(interruption, file=sys.stderr)
        raise SystemExit(interruption.exit_code) from None
