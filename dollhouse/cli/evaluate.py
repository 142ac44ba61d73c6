"""``dollhouse evaluate``: score a model or its answers, verify a report, compare two."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dollhouse.cli.root import app, command_line, quiet_libraries
from dollhouse.errors import QuestionError


@app.command()
def evaluate(
    model: Annotated[Path | None, typer.Argument(help="A model folder. Default: the shipped nano student.")] = None,
    scenes: Annotated[str, typer.Option(help="Scenes, such as rooms:test/0-199 or a folder.")] = "rooms:test/0-199",
    blind: Annotated[
        Path | None, typer.Option(help="The blind control's model folder. Default: `blind` inside the model folder.")
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="Questions a scene.")] = 40,
    true_boxes: Annotated[
        bool, typer.Option("--true-boxes", help="Tell the language model the true boxes: what do the eyes cost?")
    ] = False,
    holdout_every: Annotated[
        int, typer.Option(min=0, help="Score only every n-th view, those held out in training.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the choice of questions and of the intervals.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json and report.html.")] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(help="scanqa, sqa3d, beacon3d, vsibench, 3dsrbench, spatialbench or rooms; with --annotations."),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Whom to ask instead of a model, named as for label: its answers only.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Answers made elsewhere: ours, LLaVA-3D's, lmms-eval's, VLMEvalKit's, ScanQA's.")
    ] = None,
    annotations: Annotated[
        list[Path] | None, typer.Option(help="The benchmark's own files; once for each file.")
    ] = None,
    verify: Annotated[
        Path | None, typer.Option(help="A report.json: score it again without a model; exit code 1 if it differs.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Two report.json: paired differences, and where they part.")
    ] = None,
) -> None:
    """Score a model against geometry: answers beside a blind student and chance, depth, and 3D boxes.

    Example: dollhouse evaluate runs/nano/model --scenes rooms:test/0-199 --out results/

    Of a teacher: dollhouse evaluate --teacher llava3d:FOLDER --scenes rooms:test/0-199 --out results/

    Of a benchmark: dollhouse evaluate --benchmark scanqa --annotations val.json --scenes scans/ --out results/

    Answers made elsewhere: dollhouse evaluate --benchmark scanqa --annotations val.json --predictions answers.jsonl
    """
    if verify or compare or benchmark or predictions or (teacher and not annotations):
        from dollhouse.evaluation import command

        if verify:
            raise typer.Exit(command.verify_report(verify))
        if compare:
            command.compare_reports(*compare, out=out, seed=seed)
            return
        if teacher and not benchmark:
            line = command_line()
            command.ask_teacher(teacher, scenes, limit=questions, out=out, seed=seed, command=line)
            return
        if not benchmark:
            raise QuestionError("--predictions of which benchmark? Give --benchmark and --annotations too")
        line, files = command_line(), annotations or []
        if predictions:
            name = None if model is None else str(model)
            command.score_file(benchmark, predictions, files, out=out, model=name, seed=seed, command=line)
        else:
            asked = teacher or ("checkpoint" if model is None else f"checkpoint:{model}")
            command.ask_benchmark(benchmark, asked, Path(scenes), files, out=out, seed=seed, command=line)
        return
    if annotations:
        raise QuestionError("--annotations are of a benchmark: give --benchmark too")
    quiet_libraries()
    from dollhouse.evaluation.evaluate import evaluate as score
    from dollhouse.evaluation.oracle_boxes import OracleBoxesModel
    from dollhouse.evaluation.report.lineage import model_lineage
    from dollhouse.evaluation.report.table import metrics_summary
    from dollhouse.inference.pipeline import DollhousePipeline
    from dollhouse.models.dollhouse.checkpoint import SHIPPED
    from dollhouse.scenes.open import open_scenes
    from dollhouse.system.environment import source_commit

    pipeline = DollhousePipeline.from_pretrained(model)
    beside = blind or (model or SHIPPED) / "blind"
    report = score(
        OracleBoxesModel(pipeline) if true_boxes else pipeline,
        [scene.hold_out(holdout_every)[1] for scene in open_scenes(scenes)] if holdout_every else scenes,
        blind=DollhousePipeline.from_pretrained(beside) if blind or beside.is_dir() else None,
        questions_per_scene=questions,
        out=out,
        seed=seed,
        commit=source_commit(),
        command=command_line(),
        lineage=model_lineage(model or SHIPPED),
    )
    Console(highlight=False).print(metrics_summary(report.metrics))
    if report.folder:
        print(f"report: {report.folder / 'report.html'}")
