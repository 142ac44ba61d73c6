"""``dollhouse train-teacher``: a LLaVA-3D of nano size, trained on made rooms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dollhouse.cli.root import app, quiet_libraries


@app.command("train-teacher")
def train_teacher(
    recipe: Annotated[Path, typer.Argument(help="A teacher's recipe, such as recipes/nano_teacher.yaml.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Overrides, such as stages.see.steps=100.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; a run in it is continued. Default: runs/NAME.")
    ] = None,
) -> None:
    """Train a small LLaVA-3D, which sees depth and poses, to be a teacher. Killed at any moment, the same command
    goes on where it was.

    Example: dollhouse train-teacher recipes/nano_teacher.yaml --out runs/nano_teacher
    """
    quiet_libraries()
    from dollhouse.distill.nano_teacher.recipe import read_nano_teacher
    from dollhouse.distill.nano_teacher.run import train_nano_teacher

    read = read_nano_teacher(recipe, settings or [])
    folder = train_nano_teacher(read, out or Path("runs") / read.name)
    print(f"teacher: {folder} (dollhouse label --teacher llava3d:{folder} ...)")
