"""``dollhouse reproduce``: the paper's tables and figures, made again at nano size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dollhouse.cli.app import ModelOption, app, command_line, quiet_libraries


@app.command()
def reproduce(
    out: Annotated[Path, typer.Option(help="Folder for everything; what is in it already is not made again.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Overrides of the extent, such as steps.losses=200 or seeds=[0].")
    ] = None,
    budget: Annotated[
        float, typer.Option(min=0, help="Minutes; what does not fit is left out and said so. 0: no limit.")
    ] = 60,
    only: Annotated[
        str | None,
        typer.Option(help="Of I, II, III, forms, controls, IV, V, text, retention, fig2, fig3, fig4; commas between."),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="A larger Dollhouse model's folder. Without one, geometry's answers stand in.")
    ] = None,
    student: ModelOption = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of rendered rooms. Default: rooms in the folder.")] = None,
    paper_size: Annotated[
        bool,
        typer.Option("--paper-size", help="Time both at the paper's size too, with random weights: 17 GB, minutes."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be done; do nothing.")] = False,
) -> None:
    """Make the paper's Tables I to V, Figs. 2 to 4 and its text metrics again at nano size, measured, with intervals.

    Killed at any moment, the same command goes on.

    Example: dollhouse reproduce --out paper/ --teacher runs/teacher/model
    """
    quiet_libraries()
    from experiments.paper import command

    chosen = only.split(",") if only else list(command.CHAPTERS)
    chosen += ["paper-size"] if paper_size else []
    limit = budget or None
    given = settings or []
    if dry_run:
        told = command.foretell(out, budget=limit, only=chosen, teacher=teacher, student=student, settings=given)
        command.print_foretold(*told)
        return
    done = command.reproduce(
        out,
        budget=limit,
        only=chosen,
        teacher=teacher,
        student=student,
        cache=cache,
        settings=given,
        command=command_line(),
    )
    command.print_outcome(*done)
