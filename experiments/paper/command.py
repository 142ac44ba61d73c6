"""``dollhouse reproduce``: plan the jobs of the tables asked for, do those that fit, write what there is.

Knows the order of things; each table knows its own jobs.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from dollhouse.errors import RecipeError
from dollhouse.evaluation.report.report_schema import package_versions
from dollhouse.system.atomic_io import write_text
from dollhouse.system.environment import describe_machine, source_commit
from experiments.paper import (
    ablation,
    cases,
    controls,
    curve,
    descriptions,
    diagnosis,
    efficiency,
    forms,
    models,
    paper_size,
    retention,
    thinking,
)
from experiments.paper.bench import Bench
from experiments.paper.extent import read_extent
from experiments.paper.plan import Job, Outcome, carry_out, foresee, in_order
from experiments.paper.report import write_results
from experiments.paper.table import Result

#: what can be asked for, in the order of the page
CHAPTERS: dict[str, ModuleType] = {
    "I": models,
    "text": descriptions,
    "retention": retention,
    "II": ablation,
    "III": thinking,
    "forms": forms,
    "controls": controls,
    "IV": efficiency,
    "V": cases,
    "fig2": efficiency,
    "fig3": curve,
    "fig4": diagnosis,
}
#: what is made only where it is asked for
ONLY_ASKED: dict[str, ModuleType] = {"paper-size": paper_size}
ALL_CHAPTERS = CHAPTERS | ONLY_ASKED
MINUTES = 60.0  #: of the default budget


def reproduce(
    out: Path,
    *,
    budget: float | None = MINUTES,
    only: Sequence[str] | None = None,
    teacher: Path | None = None,
    student: Path | None = None,
    cache: Path | None = None,
    settings: Sequence[str] = (),
    command: str | None = None,
) -> tuple[Path, Outcome]:
    """Make the paper's tables and figures in ``out``; the page's path, and how the jobs went.

    Args:
        budget: minutes; what does not fit is left out, the worthiest first. None: no limit.
        only: keys of ALL_CHAPTERS; None: all of CHAPTERS.
        teacher, student: model folders; None: no teacher, the shipped student.
        cache: where rendered rooms are kept; None: below ``out``.
        settings: overrides of the extent, ``key=value``.

    Killed at any moment, the same call goes on. Raises RecipeError for unknown keys or settings, ModelError for model
    folders, StorageError where nothing can be written.
    """
    bench = Bench(out, read_extent(settings), student, teacher, cache)
    chosen = choose(only)
    jobs = jobs_of(bench, chosen)
    outcome = carry_out(jobs, None if budget is None else 60 * budget, on_job=tell)
    results = results_of(bench, chosen)
    about = {
        "student": str(bench.student_folder.name),
        "teacher": "none" if teacher is None else teacher.name,
        "budget in minutes": budget,
        "extent": bench.extent.model_dump(),
        "command": command or "dollhouse reproduce",
        "commit": source_commit(),
        "machine": describe_machine(),
        "packages": package_versions(),
        "left_out": outcome.left_out,
        "jobs": {"kept": outcome.kept, "seconds": outcome.seconds},
    }
    page = write_results(results, about, out / "results")
    keep_run_files(bench.archive.used, out / "results" / "runs")
    return page, outcome


def foretell(
    out: Path,
    *,
    budget: float | None,
    only: Sequence[str] | None,
    teacher: Path | None,
    student: Path | None,
    settings: Sequence[str],
) -> tuple[list[Job], Outcome]:
    """What :func:`reproduce` would do: its jobs in order, and which of them would be done, kept and left out."""
    bench = Bench(out, read_extent(settings), student, teacher)
    jobs = in_order(jobs_of(bench, choose(only)))
    return jobs, foresee(jobs, None if budget is None else 60 * budget)


def choose(only: Sequence[str] | None) -> list[str]:
    """Keys of ALL_CHAPTERS, in the page's order, however they are written. Raises RecipeError."""
    if only is None:
        return list(CHAPTERS)
    known = {key.lower(): key for key in ALL_CHAPTERS}
    asked = [one.strip().lower().replace(".", "").replace(" ", "") for one in only]
    if odd := [one for one, plain in zip(only, asked, strict=True) if plain not in known]:
        raise RecipeError(f"--only {odd[0]}: the paper has no such table here; known are {', '.join(ALL_CHAPTERS)}")
    return [key for key in ALL_CHAPTERS if key.lower() in asked]


def jobs_of(bench: Bench, chosen: Sequence[str]) -> list[Job]:
    """All jobs of the chapters, each once."""
    modules = list(dict.fromkeys(ALL_CHAPTERS[key] for key in chosen))
    return in_order([job for module in modules for job in module.jobs(bench)])


def results_of(bench: Bench, chosen: Sequence[str]) -> list[Result]:
    """The results that there are, in the page's order."""
    modules = list(dict.fromkeys(ALL_CHAPTERS[key] for key in chosen))
    found: dict[str, Result] = {result.key: result for module in modules for result in module.results(bench)}
    return [found[key] for key in chosen if key in found]


def keep_run_files(runs: Iterable[Path], folder: Path) -> None:
    """Beside the tables, what every run behind them says of itself: recipe, versions, commit, times."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for run in sorted(runs):
        write_text(folder / f"{run.name}.json", (run / "run.json").read_text(encoding="utf-8"))


def tell(job: Job, number: int, count: int) -> None:
    """A line before each job."""
    about = f"{job.seconds:.0f} s" if job.seconds < 100 else f"{job.seconds / 60:.0f} min"
    print(f"[{number}/{count}] {job.name} (about {about})", file=sys.stderr, flush=True)


def print_outcome(page: Path, outcome: Outcome) -> None:
    """How it went, for the person who asked."""
    print(f"done: {len(outcome.done)} jobs, kept from before: {len(outcome.kept)}, left out: {len(outcome.left_out)}")
    for name, why in outcome.left_out.items():
        print(f"left out: {name}: {why}")
    print(f"report: {page}")


def print_foretold(jobs: Sequence[Job], outcome: Outcome) -> None:
    """Every job, and whether it would be done."""
    for job in jobs:
        if job.name in outcome.left_out:
            told = f"left out: {outcome.left_out[job.name]}"
        else:
            told = "kept from before" if job.name in outcome.kept else f"about {job.seconds:.0f} s"
        print(f"{job.name}: {told}")
