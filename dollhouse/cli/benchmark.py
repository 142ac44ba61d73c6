"""``dollhouse benchmark``: score a published benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dollhouse.cli.app import (
    ModelOption,
    OutOption,
    SeedOption,
    TeacherArgOption,
    app,
    command_line,
    interruptible,
    quiet_libraries,
)
from dollhouse.errors import QuestionError
from dollhouse.system.console import console

if TYPE_CHECKING:
    from dollhouse.evaluation.benchmark_runner import BenchmarkRun
    from dollhouse.evaluation.benchmarks.benchmark import Benchmark


@app.command()
@interruptible()
def benchmark(
    name: Annotated[
        str, typer.Argument(help="real-photos, scanqa, sqa3d, beacon3d, vsibench, 3dsrbench, spatialbench or rooms.")
    ],
    annotations: Annotated[
        list[Path] | None, typer.Option(help="The benchmark's own files; once for each file.")
    ] = None,
    scenes: Annotated[
        Path | None, typer.Option("--scenes", "--data", help="Folder of the benchmark's scans, videos or photos.")
    ] = None,
    model: ModelOption = "nano",
    teacher: Annotated[str | None, typer.Option(help="Answer with a teacher instead, named as for annotate.")] = None,
    teacher_arg: TeacherArgOption = None,
    blind: Annotated[
        Path | None, typer.Option(help="Blind control of real-photos. Default: `blind` inside the model folder.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Score answers made elsewhere: ours, LLaVA-3D's, lmms-eval's, VLMEvalKit's, ScanQA's."),
    ] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Score a published benchmark: its frames, prompts and scorers. Without --annotations: print its definition.

    The questions of real-photos ship with Dollhouse; its photos do not (docs/guides/evaluate.md).

    Example: dollhouse benchmark scanqa --annotations val.json --scenes scans/ --out results/

    Photos of real rooms: dollhouse benchmark real-photos --data real/ --out results/

    Answers made elsewhere: dollhouse benchmark scanqa --annotations val.json --predictions answers.jsonl
    """
    quiet_libraries()
    from dollhouse.evaluation.benchmark_runner import run_benchmark, score_predictions
    from dollhouse.evaluation.benchmarks import benchmark_definition
    from dollhouse.teachers.registry import parse_teacher_args

    definition = benchmark_definition(name)
    if not annotations and not (definition.shipped and (scenes or predictions)):
        if scenes or predictions:
            raise QuestionError(f"{name}: give its own files with --annotations")
        _print_definition(definition, console())
    elif predictions:
        print_run(
            score_predictions(
                definition, predictions, annotations or (), out=out, model=model, seed=seed, command=command_line()
            )
        )
    elif scenes is None:
        raise QuestionError(f"{name}: give the folder of its scenes with --scenes, or answers with --predictions")
    else:
        answerer = teacher or ("checkpoint" if model == "nano" else f"checkpoint:{model}")
        args, command = parse_teacher_args(teacher_arg or []), command_line()
        print_run(
            run_benchmark(
                definition,
                answerer,
                scenes,
                annotations or (),
                teacher_args=args,
                blind=blind,
                out=out,
                seed=seed,
                command=command,
            )
        )


def print_run(run: BenchmarkRun) -> None:
    """Print the definition, how many rows used its prompts, and every figure."""
    from dollhouse.evaluation.benchmarks.summary import format_figure

    out, scores = console(), run.scores
    _print_definition(run.benchmark, out)
    prompts = ", ".join(f"{count:,} {match}" for match, count in run.prompt_match.items() if count)
    out.print(f"prompts as in the benchmark: {prompts} ({run.program})")
    table = Table(title=f"{len(run.rows):,} answers", title_justify="left")
    controls = scores.get("more", {}).get("controls", {})
    for column in (scores["headline"], "value", "95 % interval", "n", *controls):
        table.add_column(column, justify="left" if column == scores["headline"] else "right")
    for name, entry in scores["kinds"].items():
        table.add_row(name, *_cells(entry), *(_cells(control["kinds"][name])[0] for control in controls.values()))
    if scores["overall"]:
        others = (_cells(control["overall"])[0] for control in controls.values())
        table.add_row("overall", *_cells(scores["overall"]), *others, style="bold")
    for name, entry in scores["credits"].items():
        table.add_row(name, *_cells(entry))
    out.print(table)
    print_few_scenes(scores["overall"], out)
    if over_blind := scores.get("more", {}).get("over_blind"):
        out.print("above the blind control: {} ({})".format(*_cells(over_blind["overall"])))
    for name, value in {**scores["scores"], **(scores.get("more", {}).get("calibration") or {})}.items():
        out.print(f"{name}: {format_figure(value)}")
    if run.folder:
        out.print(f"report: {run.folder / 'report.html'} and {run.folder / 'report.json'}")


def print_few_scenes(overall: Mapping[str, Any] | None, out: Console) -> None:
    """Print a warning where intervals over so few scenes are too narrow."""
    from dollhouse.evaluation.benchmarks.summary import FEW_SCENES

    if overall and overall["ci95"] is not None and overall["scenes"] < FEW_SCENES:
        out.print(f"only {overall['scenes']} scenes: the intervals are too narrow")


def _print_definition(definition: Benchmark, out: Console) -> None:
    out.print(f"{definition.title} ({definition.version})", style="bold")
    out.print(f"frames: {definition.frames.rule}")
    for name, text in definition.prompts.items():
        out.print(f"prompt {name}: {json.dumps(text, ensure_ascii=False)}")
    out.print(f"scoring: {definition.scoring}")


def _cells(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    interval = "{:.4f} - {:.4f}".format(*entry["ci95"]) if entry.get("ci95") else ""
    return f"{entry['value']:.4f}", interval, f"{entry['n']:,}"
