"""``dollhouse evaluate``: score a model or a teacher on scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dollhouse.cli.app import ModelArgument, OutOption, SeedOption, app, command_line, console, quiet_libraries
from dollhouse.errors import QuestionError


@app.command()
def evaluate(
    model: ModelArgument = "nano",
    scenes: Annotated[str, typer.Option(help="Scenes, such as rooms:test/0-199 or a folder.")] = "rooms:test/0-199",
    blind: Annotated[
        Path | None, typer.Option(help="The blind control's model folder. Default: `blind` inside the model folder.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Score a teacher's answers instead of a model, named as for annotate.")
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="Questions a scene.")] = 40,
    oracle_boxes: Annotated[
        bool, typer.Option("--oracle-boxes", help="Give the language model the true boxes: what does perception cost?")
    ] = False,
    holdout_every: Annotated[
        int, typer.Option(min=0, help="Score only every n-th view, those held out in training.")
    ] = 0,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Score answers against geometry beside a blind control and chance; score depth and 3D boxes.

    Example: dollhouse evaluate runs/nano/model --scenes rooms:test/0-199 --out results/

    A teacher: dollhouse evaluate --teacher llava3d:FOLDER --scenes rooms:test/0-199 --out results/
    """
    quiet_libraries()
    from dollhouse.scenes.open import open_scenes

    if teacher is not None:
        if blind or oracle_boxes or holdout_every:
            raise QuestionError("--blind, --oracle-boxes and --holdout-every are for a model: leave out --teacher")
        from dollhouse.cli.benchmark import print_benchmark
        from dollhouse.evaluation.teacher_eval import evaluate_teacher
        from dollhouse.teachers.registry import open_teacher

        opened = open_teacher(teacher)
        print_benchmark(
            evaluate_teacher(
                opened, open_scenes(scenes), limit=questions, out=out, seed=seed, command=command_line()
            )
        )
        return
    from dollhouse.evaluation.evaluate import evaluate as evaluate_model
    from dollhouse.evaluation.oracle_boxes import OracleBoxes
    from dollhouse.evaluation.report.lineage import lineage_of
    from dollhouse.evaluation.report.table import print_metrics
    from dollhouse.inference.pipeline import DollhousePipeline
    from dollhouse.models.dollhouse.checkpoint import model_folder
    from dollhouse.system.environment import commit

    pipeline = DollhousePipeline.from_pretrained(model)
    control = blind or model_folder(model) / "blind"
    report = evaluate_model(
        OracleBoxes(pipeline) if oracle_boxes else pipeline,
        [scene.hold_out(holdout_every)[1] for scene in open_scenes(scenes)] if holdout_every else scenes,
        blind=DollhousePipeline.from_pretrained(control) if blind or control.is_dir() else None,
        questions_per_scene=questions,
        out=out,
        seed=seed,
        commit=commit(),
        command=command_line(),
        lineage=lineage_of(model_folder(model)),
    )
    print_metrics(report.metrics, console())
    if report.folder:
        print(f"report: {report.folder / 'report.html'}")
