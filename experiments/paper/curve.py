"""Fig. 3: the training curve of the run with all losses: every loss over its steps, and what it was multiplied by.

Reads the run's ``metrics.jsonl``; knows nothing of what the losses mean.
"""

from __future__ import annotations

from pathlib import Path

from dollhouse.training.plots import WEIGHT, losses_of, plot_losses, read_stages
from experiments.paper import ablation, paper
from experiments.paper.bench import RECORDS_JOB, Bench, Trial
from experiments.paper.plan import Job
from experiments.paper.table import Column, Result, Row

KEY = "fig3"
COLUMNS = [Column("first"), Column("last"), Column("weight at first"), Column("weight at last")]


def jobs(bench: Bench) -> list[Job]:
    wanted = {_run(bench).name, RECORDS_JOB}
    return [job for job in ablation.jobs(bench) if job.name in wanted]


def results(bench: Bench) -> list[Result]:
    folder = bench.archive.run_folder(_run(bench).recipe)
    told = folder is not None and read_stages(folder / "metrics.jsonl")  # a run of a step or two logs nothing
    return [curve(folder / "metrics.jsonl")] if folder is not None and told else []


def curve(metrics: Path) -> Result:
    """The figure of a run's logged lines, each a mean over the steps since the one before."""
    lines = [line for of_stage in read_stages(metrics).values() for line in of_stage]
    first, last = lines[0], lines[-1]
    rows = [
        Row(
            name,
            {
                "first": first[name],
                "last": last.get(name),
                "weight at first": first.get(WEIGHT + name),
                "weight at last": last.get(WEIGHT + name),
            },
        )
        for name in losses_of(first)
    ]
    how = (
        f"The run with all losses of Table II, first seed, {last['step']} steps. A point: the mean since the last one."
    )
    result = Result(KEY, "Fig. 3: a training curve", COLUMNS, rows, paper.CURVE, [], [how])

    def draw(out: Path) -> None:
        plot_losses(metrics, out)

    result.picture = draw
    return result


def _run(bench: Bench) -> Trial:
    return ablation.trials(bench)[ablation.ALL][0]
