"""Run the jobs of the chosen tables within a time budget, and write what there is; resumable at any moment."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from dollhouse.errors import DollhouseError, ScoreError
from dollhouse.evaluation.tables.folder import fill_page, write_folder
from dollhouse.evaluation.tables.table import Table
from dollhouse.system.environment import describe_machine, source_commit
from dollhouse.system.figures import save_figure
from experiments.paper.experiment import Experiment, Job
from experiments.paper.figures import rows_figure
from experiments.paper.spec import TABLES, read_spec
from experiments.paper.tables import TableBuilder, table_jobs

PAGE = Path(__file__).with_name("page.md")  #: template of the summary


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
    most: int | None = None,
) -> Outcome:
    """Run the jobs that fit into ``budget`` seconds (None: all), best priority first.

    Expected times are corrected by what the jobs so far took. A job that no longer fits is left out, and smaller ones
    after it may still fit.
    """
    outcome, ordered = Outcome(), in_order(jobs)
    present = {job.key for job in ordered if cached(job)}
    started, expected, taken = clock(), 0.0, 0.0
    for number, job in enumerate(ordered, 1):
        wanted = job.seconds * (taken / expected if expected else 1.0)
        left = float("inf") if budget is None else max(0.0, budget - (clock() - started))
        if missing := [other.name for other in ordered if other.key in job.needs and other.key not in present]:
            outcome.left_out[job.name] = f"it needs {', '.join(missing)}"
            continue
        if cached(job):
            outcome.cached.append(job.name)
        elif most is not None and len(outcome.done) >= most:
            outcome.left_out[job.name] = f"it takes about {duration(wanted)}; {most} jobs were run"
            continue
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
    experiment: Experiment,
    only: Sequence[str] | None = None,
    budget: float | None = None,
    most: int | None = None,
    command: str = "",
) -> tuple[Path, Outcome]:
    """Make the chosen tables (None: all but those on request) in ``experiment.out``; the folder, and the outcome.

    ``budget`` is in seconds; None: no limit. ``most``: jobs to run at most. Killed at any moment, the same call
    continues. Raises RecipeError for unknown tables, StorageError where nothing can be written.
    """
    chosen = experiment.spec.choose(only)
    outcome = run_jobs(
        [job for key in chosen for job in table_jobs(experiment, key)],
        lambda job: experiment.entry(job) is not None,
        lambda job: experiment.cache.make(job.kind, job.name, job.key, job.build),
        budget,
        most=most,
    )
    builder = TableBuilder(experiment)
    drafts = [table for key in chosen if (table := builder.build(key)) is not None]
    measurements = builder.builder.build()
    tables = [table.computed(measurements) for table in drafts]
    about: dict[str, Any] = {"command": command, "commit": source_commit(), "machine": describe_machine()}
    about |= {"sizes": experiment.spec.model_dump(exclude={"tables", "recipes", "paper", "page"})}
    about |= {"not made": [key for key in chosen if key not in {table.key for table in tables}]}
    about |= {"jobs left out": outcome.left_out}
    page, unfilled = fitting_lines(PAGE.read_text(encoding="utf-8"), tables)
    about |= {"lines left out of the page": unfilled}
    folder = experiment.out / "results"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for table in tables:
        if table.picture:
            described = experiment.spec.tables[table.key]
            columns = table.columns[: described.pictured_columns]
            save_figure(rows_figure(columns, table.rows, described.base), folder / f"{table.key}.png")
    write_folder(folder, tables, measurements, page, about)
    return folder, outcome


def fitting_lines(page: str, tables: Sequence[Table]) -> tuple[str, list[str]]:
    """Return the lines of the summary whose tables and rows were made, and why the others are left out.

    Headings of nothing go too.
    """
    kept: list[str] = []
    left_out: list[str] = []
    for line in page.splitlines():
        try:
            fill_page(line, tables)
        except ScoreError as error:
            left_out.append(f"{line[:60]}: {error}")
            continue
        if line.startswith("## ") and kept[-2:-1] and kept[-2].startswith("## "):
            del kept[-2:]
        kept += [line] if line or kept[-1:] != [""] else []
    return "\n".join(kept) + "\n", left_out


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, make the tables, print what was done and left out."""
    parser = argparse.ArgumentParser(prog="python -m experiments.paper", description=__doc__)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="overrides of tables.yaml, such as seeds=[0]")
    parser.add_argument("--out", type=Path, default=Path("runs/paper"), help="folder of cache and results")
    parser.add_argument("--only", help="tables, such as II,III,retention; default: all but those on request")
    parser.add_argument("--budget", type=float, default=60, help="minutes; 0: no limit (default: 60)")
    parser.add_argument("--most", type=int, help="jobs to run at most; the same command continues")
    given = {
        "model": "a model folder, such as rooms_nano=FOLDER",
        "report": "a folder of dollhouse benchmark real-photos",
    }
    given["bench"] = "a file of dollhouse bench --out"
    for option, text in given.items():
        parser.add_argument(f"--{option}", type=_named, action="append", default=[], metavar="NAME=PATH", help=text)
    parser.add_argument("--tables", type=Path, default=TABLES, help="another specification")
    parser.add_argument("--dry-run", action="store_true", help="print the jobs and whether they are cached")
    options = parser.parse_args(arguments)
    only = options.only.split(",") if options.only else None
    transformers_logging.disable_progress_bar()
    try:
        spec = read_spec(options.tables, options.settings)
        named = [dict(getattr(options, option)) for option in given]
        experiment = Experiment(options.out, spec, *named)
        if options.dry_run:
            for job in in_order([job for key in spec.choose(only) for job in table_jobs(experiment, key)]):
                print(f"{job.name}: {'cached' if experiment.entry(job) else f'about {duration(job.seconds)}'}")
            return 0
        folders = [f"--{option} {name}=PATH" for option in given for name, _ in getattr(options, option)]
        parts = [*(["--only", options.only] if options.only else []), *folders, *options.settings]
        command = " ".join(["python -m experiments.paper", *parts])
        report, outcome = make_tables(experiment, only, 60 * options.budget or None, options.most, command)
    except DollhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"done: {len(outcome.done)} jobs, cached: {len(outcome.cached)}, left out: {len(outcome.left_out)}")
    for name, why in outcome.left_out.items():
        print(f"left out: {name}: {why}")
    print(f"report: {report}")
    return 0


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=PATH")
    return name, Path(path)
