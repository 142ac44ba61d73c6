"""Run the jobs of the chosen tables within a time budget, and write what there is; resumable at any moment."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from dollhouse.errors import DollhouseError
from dollhouse.evaluation.report.render import Chart, Note, Part, Section, Table, render_sections
from dollhouse.evaluation.report.report_schema import package_versions
from dollhouse.models.dollhouse.serialization import SHIPPED
from dollhouse.scenes.visualize import save_figure
from dollhouse.system.atomic_io import write_text
from dollhouse.system.environment import describe_machine, source_commit
from experiments.paper.experiment import Experiment, Job
from experiments.paper.results import SECOND_LINES, Result
from experiments.paper.spec import TABLES, read_spec
from experiments.paper.tables import build_table, table_jobs

INTRODUCTION = "The paper's figures on the right, ours on the left, with 95 % bootstrap intervals over rooms. "


@dataclass
class Outcome:
    """How jobs went, by name."""

    done: dict[str, float] = field(default_factory=dict)  #: seconds that each took
    cached: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  #: why


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """Sort jobs by priority; one that several tables name stays once, at its best priority."""
    first: dict[str, Job] = {}
    for job in sorted(jobs, key=lambda job: job.priority):
        first.setdefault(job.key, job)
    return list(first.values())


def run_jobs(
    jobs: Sequence[Job],
    cached: Callable[[Job], bool],
    run: Callable[[Job], object],
    budget: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Run the jobs that fit into ``budget`` seconds (None: all), best priority first.

    Expected times are corrected by what the jobs so far took. A job that no longer fits is left out, and smaller ones
    after it may still fit.
    """
    outcome, present, ordered = Outcome(), set[str](), in_order(jobs)
    started, expected, taken = clock(), 0.0, 0.0
    for number, job in enumerate(ordered, 1):
        wanted = job.seconds * (taken / expected if expected else 1.0)
        left = float("inf") if budget is None else max(0.0, budget - (clock() - started))
        if missing := [other.name for other in ordered if other.key in job.needs and other.key not in present]:
            outcome.left_out[job.name] = f"it needs {', '.join(missing)}"
            continue
        if cached(job):
            outcome.cached.append(job.name)
        elif wanted > left:
            outcome.left_out[job.name] = f"it takes about {duration(wanted)}; {duration(left)} of the budget are left"
            continue
        else:
            print(f"[{number}/{len(ordered)}] {job.name} (about {duration(wanted)})", file=sys.stderr, flush=True)
            begun = clock()
            run(job)
            expected, taken = expected + job.seconds, taken + clock() - begun
            outcome.done[job.name] = round(clock() - begun, 1)
        present.add(job.key)
    return outcome


def duration(seconds: float) -> str:
    """Format seconds for readers."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def make_tables(
    experiment: Experiment, only: Sequence[str] | None = None, budget: float | None = None, command: str = ""
) -> tuple[Path, Outcome]:
    """Make the chosen tables (None: all but those on request) in ``experiment.out``; the page's path, and the outcome.

    ``budget`` is in seconds; None: no limit. Killed at any moment, the same call continues. Raises RecipeError for
    unknown tables, StorageError where nothing can be written.
    """
    chosen = experiment.spec.choose(only)
    outcome = run_jobs(
        [job for key in chosen for job in table_jobs(experiment, key)],
        lambda job: experiment.entry(job) is not None,
        lambda job: experiment.cache.make(job.kind, job.name, job.key, job.build),
        budget,
    )
    results = [result for key in chosen if (result := build_table(experiment, key)) is not None]
    about: dict[str, Any] = {"student": experiment.student.name}
    about |= {"teacher": experiment.teacher.name if experiment.teacher else "none"}
    about |= {"weights": {"student": experiment.student_key, "teacher": experiment.teacher_key}}
    about |= {"sizes": experiment.spec.model_dump(exclude={"tables", "recipes", "paper"}), "command": command}
    about |= {"commit": source_commit(), "machine": describe_machine(), "packages": package_versions()}
    about |= {"left_out": outcome.left_out, "jobs": {"cached": outcome.cached, "seconds": outcome.done}}
    return write_results(results, about, experiment.out / "results"), outcome


def write_results(results: Sequence[Result], about: dict[str, Any], folder: Path) -> Path:
    """Write JSON, markdown and picture of every result, ``about.json`` and one page; the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    sections = []
    for result in results:
        name, figure = result.file_name, result.figure and result.figure()
        write_text(folder / f"{name}.json", json.dumps(result.as_json(), indent=1, ensure_ascii=False) + "\n")
        write_text(folder / f"{name}.md", result.as_markdown())
        heads, rows = result.cells()
        pairs = [[(cell.split("\n")[0], cell.split("\n")[1]) if "\n" in cell else cell for cell in row] for row in rows]
        parts: list[Part] = [*result.sentences, Table(heads, pairs)]
        if figure is not None:
            save_figure(figure, folder / f"{name}.png")
            parts.append(Chart(figure, result.title, wide=True))
        parts.extend(Note(text) for text in result.method)
        parts.extend(Note(f"Left out: {text}.", "warning") for text in result.left_out)
        published: list[Part] = [Table(result.paper.columns, result.paper.rows), Note(result.paper.comparable)]
        sections.append(Section(result.title, parts, published, "The paper"))
    write_text(folder / "about.json", json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    facts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
    sections.append(Section("This run", [facts]))
    page = render_sections(
        "The paper's tables at nano size", sections, introduction=INTRODUCTION + SECOND_LINES, broad=True
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, make the tables, print what was done and left out."""
    parser = argparse.ArgumentParser(prog="python -m experiments.paper", description=__doc__)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="overrides of tables.yaml, such as seeds=[0]")
    parser.add_argument("--out", type=Path, default=Path("runs/paper"), help="folder of cache and results")
    parser.add_argument("--only", help="tables, such as II,III,fig2; default: all but paper-size")
    parser.add_argument("--budget", type=float, default=60, help="minutes; 0: no limit (default: 60)")
    parser.add_argument("--teacher", type=Path, help="folder of a Dollhouse model; default: geometry's answers")
    parser.add_argument("--student", type=Path, default=SHIPPED, help="model folder; default: the shipped one")
    parser.add_argument("--tables", type=Path, default=TABLES, help="another specification")
    parser.add_argument("--dry-run", action="store_true", help="print the jobs and whether they are cached")
    options = parser.parse_args(arguments)
    only = options.only.split(",") if options.only else None
    transformers_logging.disable_progress_bar()
    try:
        spec = read_spec(options.tables, options.settings)
        experiment = Experiment(options.out, spec, options.student, options.teacher)
        if options.dry_run:
            for job in in_order([job for key in spec.choose(only) for job in table_jobs(experiment, key)]):
                print(f"{job.name}: {'cached' if experiment.entry(job) else f'about {duration(job.seconds)}'}")
            return 0
        command = " ".join(["python -m experiments.paper", *(sys.argv[1:] if arguments is None else arguments)])
        report, outcome = make_tables(experiment, only, 60 * options.budget or None, command)
    except DollhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"done: {len(outcome.done)} jobs, cached: {len(outcome.cached)}, left out: {len(outcome.left_out)}")
    for name, why in outcome.left_out.items():
        print(f"left out: {name}: {why}")
    print(f"report: {report}")
    return 0
