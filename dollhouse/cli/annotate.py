"""``dollhouse label`` and ``dollhouse records``: run a teacher once, and look at what it said."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dollhouse.cli.root import SkipOption, app, quiet_libraries, records_app


@app.command()
def label(
    teacher: Annotated[
        str,
        typer.Option(
            help="annotations, huggingface:FOLDER, endpoint:URL, llava3d:FOLDER, checkpoint:FOLDER or file:JSONL."
        ),
    ],
    scenes: Annotated[str, typer.Option(help="Scenes, such as rooms:train/0-199 or a folder.")],
    out: Annotated[Path, typer.Option(help="The records' folder; what is in it already is not made again.")],
    questions: Annotated[
        str | None,
        typer.Option(help="generated, descriptions or a JSONL file. Default: generated where there are boxes."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Questions a scene at most.")] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of questions.")] = 0,
    views: Annotated[int | None, typer.Option(min=1, help="Photos a scene at most, spread over it.")] = None,
    geometry: Annotated[
        list[str] | None,
        typer.Option(
            help="Who tells depth and boxes, asked in turn: own, scene, sensor, depth:FOLDER, detect:FOLDER, "
            "vggt:PATH, checkpoint:FOLDER, none. Default: own, then scene."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of the teacher, or detect.KEY=VALUE of a geometry teacher."),
    ] = None,
    features: Annotated[bool, typer.Option(help="Keep the teacher's spatial features.")] = True,
    half: Annotated[bool, typer.Option("--half", help="Keep features and depth in half precision.")] = False,
    skip_bad: SkipOption = False,
) -> None:
    """Ask a teacher about scenes, once, and keep what it says. Killed at any moment, the same command goes on.

    Example: dollhouse label --teacher annotations --scenes rooms:train/0-199 --out records/
    """
    quiet_libraries()
    from dollhouse.teachers.command import annotate_and_print

    code = annotate_and_print(
        teacher,
        scenes,
        out,
        questions=questions,
        limit=limit,
        seed=seed,
        views=views,
        geometry_teachers=geometry or ["own", "scene"],
        teacher_args=settings or [],
        features=features,
        fp16=half,
        skip_bad=skip_bad,
    )
    if code:
        raise typer.Exit(code)


@records_app.command("show")
def show_records(
    folder: Annotated[Path, typer.Argument(help="A folder that `label` wrote.")],
    record: Annotated[str | None, typer.Argument(help="A scene's name, or the beginning of a record's id.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Lines of each sort.")] = 20,
) -> None:
    """Tell what a folder of records holds, or what one record says."""
    from dollhouse.teachers.command import show_records as show

    show(folder, record, limit)


@records_app.command("check")
def check_records(folder: Annotated[Path, typer.Argument(help="A folder that `label` wrote.")]) -> None:
    """Compare every file of every record with its hash; exit code 1 where one is damaged."""
    from dollhouse.teachers.command import check_records as check

    if check(folder):
        raise typer.Exit(1)
