"""``dollhouse evaluate``: score a model or a teacher on scenes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dollhouse.cli.app import (
    ModelArgument,
    OutOption,
    SeedOption,
    TeacherArgOption,
    app,
    command_line,
    interruptible,
    quiet_libraries,
    with_corrections,
)
from dollhouse.errors import QuestionError
from dollhouse.system.console import console

if TYPE_CHECKING:
    from dollhouse.scenes.corrections import Corrections


@app.command()
@with_corrections
@interruptible()
def evaluate(
    model: ModelArgument = "nano",
    scenes: Annotated[str, typer.Option(help="Scenes, such as rooms:test/0-199 or a folder.")] = "rooms:test/0-199",
    blind: Annotated[
        Path | None, typer.Option(help="The blind control's model folder. Default: `blind` inside the model folder.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Score a teacher's answers instead of a model, named as for annotate.")
    ] = None,
    teacher_arg: TeacherArgOption = None,
    questions: Annotated[int, typer.Option(min=1, help="Questions a scene.")] = 40,
    oracle_boxes: Annotated[
        bool, typer.Option("--oracle-boxes", help="Give the language model the true boxes: what does perception cost?")
    ] = False,
    holdout_every: Annotated[
        int, typer.Option(min=0, help="Score only every n-th view, those held out in training.")
    ] = 0,
    views: Annotated[
        int | None, typer.Option(min=1, help="Photos of a scan at most, chosen by overlap. Default: the model's.")
    ] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    *,
    corrections: Corrections,
) -> None:
    """Score answers against geometry beside a blind control and chance; score depth and 3D boxes.

    Example: dollhouse evaluate runs/nano/model --scenes rooms:test/0-199 --out results/

    A teacher: dollhouse evaluate --teacher llava3d:FOLDER --scenes rooms:test/0-199 --out results/
    """
    quiet_libraries()
    if teacher is not None:
        if blind or oracle_boxes or holdout_every:
            raise QuestionError("--blind, --oracle-boxes and --holdout-every are for a model: leave out --teacher")
        from dollhouse.cli.benchmark import print_run
        from dollhouse.evaluation.benchmark_runner import evaluate_teacher
        from dollhouse.teachers.registry import parse_teacher_args

        print_run(
            evaluate_teacher(
                teacher,
                scenes,
                teacher_args=parse_teacher_args(teacher_arg or []),
                questions_per_scene=questions,
                views=views,
                out=out,
                seed=seed,
                corrections=corrections,
                command=command_line(),
            )
        )
        return
    from dollhouse.evaluation.evaluate import evaluate as evaluate_model
    from dollhouse.evaluation.report.evaluation_page import metrics_summary
    from dollhouse.system.environment import source_commit

    report = evaluate_model(
        model,
        scenes,
        blind=blind,
        oracle_boxes=oracle_boxes,
        hold_out_every=holdout_every,
        views=views,
        questions_per_scene=questions,
        out=out,
        seed=seed,
        corrections=corrections,
        commit=source_commit(),
        command=command_line(),
    )
    console().print(metrics_summary(report.metrics))
    if report.folder:
        print(f"report: {report.folder / 'report.html'}")
