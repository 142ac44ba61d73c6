"""What ``dollhouse evaluate`` does besides evaluating on scenes: benchmarks, verification, comparison.

Knows what a person asks for and how answers look on a terminal; each function calls one public function.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dollhouse.errors import QuestionError
from dollhouse.evaluation.benchmark_runner import BenchmarkRun, ask_and_score, make_folder, score_file
from dollhouse.evaluation.benchmarks import Benchmark, benchmark_definition, rooms
from dollhouse.evaluation.benchmarks.summary import FEW_SCENES
from dollhouse.evaluation.compare import Comparison
from dollhouse.evaluation.compare import compare_reports as compare_files
from dollhouse.evaluation.report.lineage import model_lineage
from dollhouse.evaluation.verify import verify_report as verify
from dollhouse.system.atomic_io import write_text

PARTING_SHOWN = 10


def score_predictions(
    benchmark: str,
    predictions: Path,
    annotations: Sequence[Path],
    *,
    out: Path | None,
    model: str | None,
    seed: int,
    command: str,
) -> None:
    """Score a file of predictions and print what it earned, with the benchmark's definition."""
    scored = score_file(
        benchmark_definition(benchmark),
        predictions,
        annotations,
        out=out,
        model=model,
        seed=seed,
        command=command,
    )
    print_scored(scored)


def ask_benchmark(
    benchmark: str,
    teacher: str,
    scenes: Path,
    annotations: Sequence[Path],
    *,
    out: Path | None,
    seed: int,
    command: str,
) -> None:
    """Ask a teacher or a model a benchmark's questions and print what its answers earned."""
    from dollhouse.models.dollhouse.checkpoint import SHIPPED
    from dollhouse.teachers.registry import open_teacher

    chosen = benchmark_definition(benchmark)
    if chosen is rooms.BENCHMARK:
        raise QuestionError("rooms are asked without --benchmark: dollhouse evaluate MODEL --scenes rooms:test/0-199")
    chosen.samples(annotations)  # before a large model is opened
    asked = open_teacher(teacher)
    kind, _, folder = teacher.partition(":")
    lineage = model_lineage(Path(folder) if folder else SHIPPED) if kind == "checkpoint" else None
    scored = ask_and_score(chosen, asked, scenes, annotations, out=out, seed=seed, command=command, lineage=lineage)
    print_scored(scored)


def ask_teacher(teacher: str, scenes: str, *, limit: int, out: Path | None, seed: int, command: str) -> None:
    """Ask a teacher the questions of annotated scenes and print what its answers earned."""
    from dollhouse.evaluation.teacher_eval import ask_about_scenes
    from dollhouse.scenes.open import open_scenes
    from dollhouse.teachers.registry import open_teacher

    opened = open_scenes(scenes)
    print_scored(ask_about_scenes(open_teacher(teacher), opened, limit=limit, out=out, seed=seed, command=command))


def verify_report(path: Path) -> int:
    """Verify a report and print what was found; the exit code, 1 where something does not agree."""
    found = verify(path)
    console = Console(soft_wrap=True, highlight=False)
    if found.agrees:
        overall = found.report["scores"]["overall"]
        told = "" if overall is None else f", {found.report['scores']['headline']} {overall['value']:.4f}"
        console.print(
            f"verified: {found.samples:,} answers of {found.benchmark} scored again, bit for bit the same{told}"
        )
        return 0
    console.print(f"[red]not verified[/red]: {len(found.findings)} findings")
    for finding in found.findings:
        console.print(f"- {escape(finding)}")
    return 1


def compare_reports(a: Path, b: Path, *, out: Path | None, seed: int) -> None:
    """Print a comparison; with ``out`` all of it goes into ``comparison.json`` there."""
    found = compare_files(a, b, seed)
    print_comparison(found)
    if out is not None:
        make_folder(out)
        write_text(out / "comparison.json", json.dumps(found.as_json(), ensure_ascii=False, indent=1) + "\n")
        print(f"comparison: {out / 'comparison.json'}")


def print_definition(benchmark: Benchmark, console: Console) -> None:
    """Which frames, how many and which words: they are part of the score."""
    console.print(f"[bold]{escape(benchmark.title)}[/bold] ({benchmark.version})")
    console.print(f"frames: {escape(benchmark.frames.rule)}")
    for name, text in benchmark.prompts.items():
        console.print(f"prompt {name}: {escape(json.dumps(text, ensure_ascii=False))}")
    console.print(f"scoring: {escape(benchmark.scoring)}")


def print_scored(scored: BenchmarkRun, console: Console | None = None) -> None:
    """The definition, how the rows were asked, and every figure."""
    console = console or Console(soft_wrap=True, highlight=False)
    print_definition(scored.benchmark, console)
    asked = ", ".join(f"{count:,} {how}" for how, count in scored.asked.items() if count)
    console.print(f"asked: {asked} ({scored.program})")
    scores = scored.scores
    table = Table(title=f"{len(scored.rows):,} answers", title_justify="left")
    for column in (scores["headline"], "value", "95 % interval", "n"):
        table.add_column(column, justify="left" if column == scores["headline"] else "right")
    for name, entry in scores["kinds"].items():
        table.add_row(name, *_cells(entry))
    if scores["overall"]:
        table.add_row("overall", *_cells(scores["overall"]), style="bold")
    for name, entry in scores["credits"].items():
        table.add_row(name, *_cells(entry))
    console.print(table)
    _print_few(scores["overall"], console)
    for name, value in scores["scores"].items():
        console.print(f"{name}: {_figure(value)}")
    if scored.folder:
        console.print(f"report: {scored.folder / 'report.html'} and {scored.folder / 'report.json'}")


def print_comparison(found: Comparison, console: Console | None = None) -> None:
    """A table of differences and the questions where the two part most."""
    console = console or Console(soft_wrap=True, highlight=False)
    console.print(f"a: {escape(found.names[0])}\nb: {escape(found.names[1])}")
    table = Table(title=f"{found.benchmark.title}, {found.headline}", title_justify="left")
    for column in ("kind", "a", "b", "b - a", "95 % interval", "n"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for name, entry in (*found.kinds.items(), ("overall", found.overall)):
        if entry["n"]:
            interval = "" if entry["ci95"] is None else "{:+.4f} to {:+.4f}".format(*entry["ci95"])
            figures = (f"{entry['a']:.4f}", f"{entry['b']:.4f}", f"{entry['difference']:+.4f}")
            table.add_row(name, *figures, interval, f"{entry['n']:,}", style="bold" if name == "overall" else None)
    console.print(table)
    _print_few(found.overall, console)
    for name, ids in (("a", found.only_a), ("b", found.only_b)):
        if ids:
            console.print(f"left out: {len(ids):,} questions that only {name} was asked")
    console.print(f"they part in {len(found.parting):,} answers" + (", such as:" if found.parting else ""))
    for row in found.parting[:PARTING_SHOWN]:
        answers = " / ".join(row["answers"])
        line = f"{row['id']}: {row['question']} [{answers}] a: {row['a']!r} b: {row['b']!r}"
        console.print(f"- {escape(line)}")


def _print_few(overall: Mapping[str, Any] | None, console: Console) -> None:
    if overall and overall["ci95"] is not None and overall["scenes"] < FEW_SCENES:
        console.print(f"only {overall['scenes']} scenes: the intervals are too narrow to lean on")


def _cells(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    interval = "" if entry["ci95"] is None else "{:.4f} - {:.4f}".format(*entry["ci95"])
    return f"{entry['value']:.4f}", interval, f"{entry['n']:,}"


def _figure(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"value", "n"}:
        return f"{value['value']:.4f} (n {value['n']:,})"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_figure(inner)}" for name, inner in value.items())
    return f"{value:.4f}" if isinstance(value, float) else str(value)
