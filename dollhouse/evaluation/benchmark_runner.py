"""Scores answers to a benchmark, read from a file made elsewhere or asked of a teacher, and writes their report.

Knows no single benchmark and no single teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import file_digest
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from dollhouse.errors import StorageError
from dollhouse.evaluation.benchmarks.asking import ask, open_shown, place_of
from dollhouse.evaluation.benchmarks.benchmark import Benchmark, Sample
from dollhouse.evaluation.benchmarks.summary import all_scores, credit_of_samples
from dollhouse.evaluation.predictions import Predictions, read_predictions
from dollhouse.evaluation.report.benchmark_page import benchmark_page
from dollhouse.evaluation.report.lineage import UNKNOWN
from dollhouse.evaluation.report.pictures import frame_strip
from dollhouse.evaluation.report.report_schema import build_report, format_report, jsonl_text
from dollhouse.system.atomic_io import write_text
from dollhouse.teachers.protocol import Teacher

T = TypeVar("T")


@dataclass(frozen=True)
class BenchmarkRun:
    """What answers to a benchmark earned, and where it was written (``folder`` is None if it was not)."""

    benchmark: Benchmark
    scores: dict[str, Any]  #: as in report.json
    rows: list[dict[str, Any]]  #: as in predictions.jsonl
    program: str  #: who made the predictions, or whose form their file had
    asked: dict[str, int]  #: how many rows were asked in the benchmark's words, in others, or do not say
    folder: Path | None


def score_file(
    benchmark: Benchmark,
    predictions: Path,
    annotations: Sequence[Path],
    *,
    out: Path | None = None,
    model: str | None = None,
    seed: int = 0,
    command: str | None = None,
    progress: bool = True,
) -> BenchmarkRun:
    """Score ``predictions`` against the authors' ``annotations``; ``model`` is only written down.

    With ``out`` the folder gets ``predictions.jsonl``, ``report.html`` and ``report.json``. Raises QuestionError from
    annotations, ScoreError from predictions, StorageError where ``out`` cannot be written.
    """
    make_folder(out)
    samples = benchmark.samples(annotations)
    read = _read(predictions, samples, progress)
    told = {"name": model, "predictions": predictions.name, "sha256": _hash(predictions), "form": read.program}
    return score_answers(benchmark, samples, read, out=out, model=told, seed=seed, command=command, progress=progress)


def ask_and_score(
    benchmark: Benchmark,
    teacher: Teacher,
    scenes: Path,
    annotations: Sequence[Path],
    *,
    out: Path | None = None,
    seed: int = 0,
    command: str | None = None,
    progress: bool = True,
    lineage: Mapping[str, Any] | None = None,
) -> BenchmarkRun:
    """Ask ``teacher`` every question about the scenes, videos or pictures in ``scenes``, and score what it says.

    ``lineage`` (what the model was made from) is only written down.
    Raises what :func:`~dollhouse.evaluation.benchmarks.asking.ask` and :func:`score_file` raise.
    """
    make_folder(out)
    samples = benchmark.samples(annotations)
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("asking", total=len({(sample.scene, sample.media) for sample in samples}))
        texts = ask(benchmark, samples, teacher, scenes, lambda scene: bar.advance(task))
    prompts: list[str | None] = [benchmark.prompt_of(sample) for sample in samples]
    told = {**teacher.provenance(), "lineage": lineage or UNKNOWN}
    said = Predictions(str(told.get("teacher")), texts, prompts)

    @cache
    def frames(scene: str, media: tuple[str, ...]) -> str:
        return frame_strip([view.image for view in open_shown(benchmark, place_of(scenes, scene, media)).views])

    return score_answers(
        benchmark,
        samples,
        said,
        out=out,
        model=told,
        seed=seed,
        command=command,
        progress=progress,
        picture=lambda row: frames(row["scene"], tuple(row["media"])),
    )


def score_answers(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    said: Predictions,
    *,
    out: Path | None,
    model: Mapping[str, Any],
    seed: int,
    command: str | None,
    progress: bool,
    picture: Callable[[Mapping[str, Any]], str | None] = lambda row: None,
) -> BenchmarkRun:
    """Score answers in the order of ``samples``, and write the report where there is a folder for it.

    ``picture`` gives a data URI of what was shown for a row of ``predictions.jsonl``, for the page.
    """
    what = f"scoring {len(samples):,} answers"
    judged = _with_clock(what, progress, lambda: benchmark.judge(samples, said.texts, None))
    credits = credit_of_samples(judged, len(samples))
    rows = [benchmark.row_of(*parts) for parts in zip(samples, said.texts, said.prompts, credits, strict=True)]
    scores = _with_clock("drawing intervals", progress, lambda: all_scores(benchmark, judged, rows, seed))
    asked = _asked(benchmark, samples, said)
    if out is not None:
        lines, made = jsonl_text(rows), {"command": command}
        told = build_report(benchmark, rows, lines, scores, model=model, seed=seed, provenance=made, prompt_match=asked)
        page = {"model": model.get("name"), "seed": seed, "command": command or "not given"}
        write_text(out / "predictions.jsonl", lines)
        write_text(out / "report.html", benchmark_page(benchmark, scores, rows, page, picture))
        write_text(out / "report.json", format_report(told))
    return BenchmarkRun(benchmark, scores, rows, said.program, asked, out)


def make_folder(folder: Path | None) -> None:
    """The folder for a report, made before the work, so that a wrong name costs nothing. Raises StorageError."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {folder} ({error.strerror or error}); choose another") from error


def _read(path: Path, samples: Sequence[Sample], shown: bool) -> Predictions:
    columns = (TextColumn("reading"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("reading", total=path.stat().st_size if path.is_file() else None)
        return read_predictions(path, samples, lambda count: bar.advance(task, count))


def _with_clock(what: str, shown: bool, work: Callable[[], T]) -> T:
    """Do some work under a bar with a clock."""
    columns = (TextColumn(what), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task(what, total=None)
        result = work()
        bar.update(task, total=1, completed=1)
        return result


def _asked(benchmark: Benchmark, samples: Sequence[Sample], read: Predictions) -> dict[str, int]:
    """How many rows say that they were asked in the benchmark's own words."""
    counts = {"in these words": 0, "in other words": 0, "not told": 0}
    for sample, prompt in zip(samples, read.prompts, strict=True):
        same = prompt is not None and prompt.strip() == benchmark.prompt_of(sample).strip()
        counts["not told" if prompt is None else "in these words" if same else "in other words"] += 1
    return counts


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
