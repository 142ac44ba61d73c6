"""``dollhouse annotate``: run a teacher over scenes once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dollhouse.cli.app import SkipOption, app, quiet_libraries
from dollhouse.errors import TeacherError

FAILURES_SHOWN = 10


@app.command()
def annotate(
    teacher: Annotated[
        str,
        typer.Option(
            help="annotations, huggingface:FOLDER, openai:URL, llava3d:FOLDER, dollhouse:FOLDER or file:JSONL."
        ),
    ],
    scenes: Annotated[str, typer.Option(help="Scenes, such as rooms:train/0-199 or a folder.")],
    out: Annotated[Path, typer.Option(help="The records' folder; records already in it are not made again.")],
    questions: Annotated[
        str | None,
        typer.Option(help="generated, descriptions or a JSONL file. Default: generated where there are boxes."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Questions a scene at most.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the question sampling.")] = 0,
    views: Annotated[int | None, typer.Option(min=1, help="Photos a scene at most, spread over it.")] = None,
    geometry_teacher: Annotated[
        list[str] | None,
        typer.Option(
            help="Sources of depth and boxes, tried in order: own, scene, sensor, depth:FOLDER, detect:FOLDER, "
            "vggt:PATH, dollhouse:FOLDER, none. Default: own, then scene."
        ),
    ] = None,
    teacher_arg: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE of the teacher, or detect.KEY=VALUE of a geometry teacher.")
    ] = None,
    features: Annotated[bool, typer.Option(help="Store the teacher's spatial features.")] = True,
    fp16: Annotated[bool, typer.Option("--fp16", help="Store features and depth in half precision.")] = False,
    skip_bad: SkipOption = False,
) -> None:
    """Run a teacher over scenes once and store its answers, depth, boxes and features as records.

    After a kill, the same command continues. Exit code 1 where some scenes failed.

    Example: dollhouse annotate --teacher annotations --scenes rooms:train/0-199 --out records/
    """
    quiet_libraries()
    from dollhouse.system.progress import SceneProgress
    from dollhouse.teachers.annotate import annotate_scenes

    usage: list[str] = []
    try:
        with SceneProgress() as progress:
            result = annotate_scenes(
                teacher,
                scenes,
                out,
                questions=questions,
                limit=limit,
                seed=seed,
                views=views,
                geometry_teachers=geometry_teacher or ("own", "scene"),
                teacher_args=_key_values(teacher_arg or []),
                features=features,
                fp16=fp16,
                skip_bad=skip_bad,
                on_scene=progress.on_scene,
                on_usage=usage.append,
            )
    finally:
        for line in usage:
            print(f"{teacher}: {line}", file=sys.stderr)
    for failure in result.failures[:FAILURES_SHOWN]:
        print(f"failed: {failure.scene}: {failure.reason}", file=sys.stderr)
    if len(result.failures) > FAILURES_SHOWN:
        print(f"failed: {len(result.failures) - FAILURES_SHOWN} more", file=sys.stderr)
    rest = f", {len(result.failures)} scenes failed; run the same command again for these" if result.failures else ""
    print(f"records: {out}: {result.made} made with {result.answers} answers, {result.existing} already there{rest}")
    if result.failures:
        raise typer.Exit(1)


def _key_values(arguments: list[str]) -> dict[str, str]:
    values = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise TeacherError(f"--teacher-arg {argument!r}: write KEY=VALUE, such as max_new_tokens=64")
        values[key.strip()] = value
    return values
