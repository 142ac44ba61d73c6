"""``dollhouse annotate``: run a teacher over scenes once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dollhouse.cli.app import SkipOption, app, quiet_libraries
from dollhouse.cli.corrections import with_corrections

if TYPE_CHECKING:
    from dollhouse.scenes.corrections import Corrections

FAILURES_SHOWN = 10


@app.command()
@with_corrections
def annotate(
    teacher: Annotated[
        str,
        typer.Option(
            help="annotations, huggingface:FOLDER, endpoint:URL, llava3d:FOLDER, checkpoint:FOLDER or file:JSONL."
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
    views: Annotated[
        int | None, typer.Option(min=1, help="Photos a scene at most; of scans, chosen by overlap.")
    ] = None,
    geometry_teacher: Annotated[
        list[str] | None,
        typer.Option(
            help="Sources of depth and boxes, tried in order: own, scene, sensor, depth:FOLDER, detect:FOLDER, "
            "vggt:PATH, checkpoint:FOLDER, none. Default: own, then scene."
        ),
    ] = None,
    teacher_arg: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE of the teacher, or detect.KEY=VALUE of a geometry teacher.")
    ] = None,
    features: Annotated[bool, typer.Option(help="Store the teacher's spatial features.")] = True,
    fp16: Annotated[bool, typer.Option("--fp16", help="Store features and depth in half precision.")] = False,
    skip_bad: SkipOption = False,
    *,
    corrections: Corrections,
) -> None:
    """Run a teacher over scenes once and store its answers, depth, boxes and features as records.

    After a kill, the same command continues. Exit code 1 where some scenes failed.

    Example: dollhouse annotate --teacher annotations --scenes rooms:train/0-199 --out records/
    """
    quiet_libraries()
    from dollhouse.system.progress import ProgressBar
    from dollhouse.teachers.annotate import annotate as run_teacher
    from dollhouse.teachers.registry import parse_teacher_args

    with ProgressBar("annotate") as progress:
        run = run_teacher(
            teacher,
            scenes,
            out,
            questions=questions,
            limit=limit,
            seed=seed,
            views=views,
            geometry_teachers=geometry_teacher or ("own", "scene"),
            teacher_args=parse_teacher_args(teacher_arg or []),
            features=features,
            fp16=fp16,
            skip_bad=skip_bad,
            corrections=corrections,
            on_scene=lambda run: progress.update(
                run.done, run.total, f"{run.existing} existing, {len(run.failures)} failed", skipped=run.existing
            ),
            on_usage=lambda usage: print(f"{teacher}: {usage}", file=sys.stderr),
        )
    for failure in run.failures[:FAILURES_SHOWN]:
        print(f"failed: {failure.scene}: {failure.reason}", file=sys.stderr)
    if len(run.failures) > FAILURES_SHOWN:
        print(f"failed: {len(run.failures) - FAILURES_SHOWN} more", file=sys.stderr)
    if run.unanswered:
        reasons = ", ".join(f"{count} {reason}" for reason, count in run.unanswered.most_common())
        advice = "; max_new_tokens includes a model's thoughts" if any("cut" in why for why in run.unanswered) else ""
        print(f"without an answer, and not asked again: {reasons}{advice}", file=sys.stderr)
    rest = f", {len(run.failures)} scenes failed; run the same command again for these" if run.failures else ""
    print(f"records: {out}: {run.written} written with {run.answers} answers, {run.existing} existing{rest}")
    if run.failures:
        raise typer.Exit(1)
