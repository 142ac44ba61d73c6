"""The terminal output of ``dollhouse evaluate`` for benchmarks, verification and comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dollhouse.evaluation.benchmark_runner import (
    BenchmarkRun,
    evaluate_teacher,
    make_folder,
    run_benchmark,
    score_predictions,
)
from dollhouse.evaluation.benchmarks import Benchmark
from dollhouse.evaluation.benchmarks.summary import FEW_SCENES
from dollhouse.evaluation.compare import Comparison
from dollhouse.evaluation.compare import compare_reports as compare
from dollhouse.evaluation.verify import verify_report as verify
from dollhouse.system.atomic_io import write_text

DIFFERING_SHOWN = 10


def score_file(benchmark: str, predictions: Path, annotations: Sequence[Path], **options: Any) -> None:
    """Score a file of predictions and print the figures."""
    print_run(score_predictions(benchmark, predictions, annotations, **options))


def ask_benchmark(benchmark: str, teacher: str, scenes: Path, annotations: Sequence[Path], **options: Any) -> None:
    """Run a benchmark with a teacher or model and print the figures."""
    print_run(run_benchmark(benchmark, teacher, scenes, annotations, **options))


def ask_teacher(teacher: str, scenes: str, *, limit: int, **options: Any) -> None:
    """Evaluate a teacher on annotated scenes and print the figures."""
    print_run(evaluate_teacher(teacher, scenes, questions_per_scene=limit, **options))


def verify_report(path: Path) -> int:
    """Verify a report and print the findings; the exit code, 1 where something does not agree."""
    result = verify(path)
    console = Console(soft_wrap=True, highlight=False)
    if result.agrees:
        overall = result.report["scores"]["overall"]
        headline = "" if overall is None else f", {result.report['scores']['headline']} {overall['value']:.4f}"
        console.print(
            f"verified: {result.samples:,} answers of {result.benchmark} scored again, bit for bit the same{headline}"
        )
        return 0
    console.print(f"[red]not verified[/red]: {len(result.findings)} findings")
    for finding in result.findings:
        console.print(f"- {escape(finding)}")
    return 1


def compare_reports(a: Path, b: Path, *, out: Path | None, seed: int) -> None:
    """Print a comparison; with ``out`` all of it is written to ``comparison.json`` there."""
    comparison = compare(a, b, seed)
    print_comparison(comparison)
    if out is not None:
        make_folder(out)
        write_text(out / "comparison.json", json.dumps(comparison.as_json(), ensure_ascii=False, indent=1) + "\n")
        print(f"comparison: {out / 'comparison.json'}")


def print_definition(benchmark: Benchmark, console: Console) -> None:
    """Print frames, prompts and scoring."""
    console.print(f"[bold]{escape(benchmark.title)}[/bold] ({benchmark.version})")
    console.print(f"frames: {escape(benchmark.frames.rule)}")
    for name, text in benchmark.prompts.items():
        console.print(f"prompt {name}: {escape(json.dumps(text, ensure_ascii=False))}")
    console.print(f"scoring: {escape(benchmark.scoring)}")


def print_run(run: BenchmarkRun, console: Console | None = None) -> None:
    """Print the definition, how many rows used its prompts, and every figure."""
    console = console or Console(soft_wrap=True, highlight=False)
    print_definition(run.benchmark, console)
    prompts = ", ".join(f"{count:,} {match}" for match, count in run.prompt_match.items() if count)
    console.print(f"prompts as in the benchmark: {prompts} ({run.program})")
    scores = run.scores
    table = Table(title=f"{len(run.rows):,} answers", title_justify="left")
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
    if run.folder:
        console.print(f"report: {run.folder / 'report.html'} and {run.folder / 'report.json'}")


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """Print the differences, and the questions whose answers differ most."""
    console = console or Console(soft_wrap=True, highlight=False)
    console.print(f"a: {escape(comparison.a)}\nb: {escape(comparison.b)}")
    table = Table(title=f"{comparison.benchmark}, {comparison.headline}", title_justify="left")
    for column in ("kind", "a", "b", "b - a", "95 % interval", "n"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for name, entry in (*comparison.kinds.items(), ("overall", comparison.overall)):
        if entry["n"]:
            interval = "" if entry["ci95"] is None else "{:+.4f} to {:+.4f}".format(*entry["ci95"])
            figures = (f"{entry['a']:.4f}", f"{entry['b']:.4f}", f"{entry['difference']:+.4f}")
            table.add_row(name, *figures, interval, f"{entry['n']:,}", style="bold" if name == "overall" else None)
    console.print(table)
    _print_few(comparison.overall, console)
    for name, ids in (("a", comparison.only_a), ("b", comparison.only_b)):
        if ids:
            console.print(f"left out: {len(ids):,} questions that only {name} has")
    console.print(f"credit differs in {len(comparison.differing):,} answers" + ":" * bool(comparison.differing))
    for row in comparison.differing[:DIFFERING_SHOWN]:
        answers = " / ".join(row["answers"])
        line = f"{row['id']}: {row['question']} [{answers}] a: {row['a']!r} b: {row['b']!r}"
        console.print(f"- {escape(line)}")


def _print_few(overall: Mapping[str, Any] | None, console: Console) -> None:
    if overall and overall["ci95"] is not None and overall["scenes"] < FEW_SCENES:
        console.print(f"only {overall['scenes']} scenes: the intervals are too narrow")


def _cells(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    interval = "" if entry["ci95"] is None else "{:.4f} - {:.4f}".format(*entry["ci95"])
    return f"{entry['value']:.4f}", interval, f"{entry['n']:,}"


def _figure(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"value", "n"}:
        return f"{value['value']:.4f} (n {value['n']:,})"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_figure(inner)}" for name, inner in value.items())
    return f"{value:.4f}" if isinstance(value, float) else str(value)
