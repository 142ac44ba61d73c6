"""Fig. 3: the training curve of the run with all losses: every loss over its steps, and what it was multiplied by.

Reads the run's ``metrics.jsonl``; knows nothing of what the losses mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dollhouse.reproduce import ablation, paper
from dollhouse.reproduce.bench import Bench
from dollhouse.reproduce.drawing import LINE, plain_axes
from dollhouse.reproduce.plan import Job
from dollhouse.reproduce.table import Column, Result, Row
from dollhouse.scenes.plan import INK, save_figure

KEY = "fig3"
NOT_LOSSES = ("loss", "stage", "step", "epoch", "learning_rate", "grad_norm", "dropped_steps")


def jobs(bench: Bench) -> list[Job]:
    wanted = {ablation.trials(bench)[ablation.ALL][0].name, "the teacher's records"}
    return [job for job in ablation.jobs(bench) if job.name in wanted]


def results(bench: Bench) -> list[Result]:
    folder = bench.archive.run_folder(ablation.trials(bench)[ablation.ALL][0].recipe)
    if folder is None:
        return []
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [curve([line for line in lines if "loss" in line])]


def curve(lines: Sequence[Mapping[str, Any]]) -> Result:
    """The figure of a run's logged lines, each a mean over the steps since the one before."""
    losses = [name for name in lines[0] if name not in NOT_LOSSES and not name.startswith("weight_")]
    columns = [Column("first"), Column("last"), Column("weight at the end")]
    rows = [
        Row(name, {"first": lines[0][name], "last": lines[-1].get(name), "weight at the end": _weight(lines[-1], name)})
        for name in losses
    ]
    steps = lines[-1]["step"]
    how = f"The run with all losses of Table II, first seed, {steps} steps. A point: the mean since the last."
    result = Result(KEY, "Fig. 3: a training curve", columns, rows, paper.CURVE, [], [how])
    result.picture = lambda out: draw_curve(lines, losses, out)
    return result


def draw_curve(lines: Sequence[Mapping[str, Any]], losses: Sequence[str], out: Path) -> None:
    """The total, every loss relative to its first value, and the weights, over the steps."""
    figure = Figure(figsize=(10.5, 3.3), dpi=130, layout="constrained")
    panels: Any = figure.subplots(1, 3)
    steps = [line["step"] for line in lines]
    titles = ("weighted total", "each loss, its first value = 1", "weights")
    for axes, title in zip(panels, titles, strict=True):
        plain_axes(axes, title)
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        axes.set_xlabel("step", fontsize=8, color=INK)
    panels[0].plot(steps, [line["loss"] for line in lines], color=INK, linewidth=1.4)
    for place, name in enumerate(losses):
        colour, style = f"C{place % 10}", "-" if place < 10 else "--"
        there = [(line["step"], line[name]) for line in lines if name in line]
        first = there[0][1] or 1.0
        panels[1].plot([step for step, _ in there], [value / first for _, value in there], style, color=colour,
                       linewidth=1.2, label=name)  # fmt: skip
        weights = [(line["step"], line[f"weight_{name}"]) for line in lines if f"weight_{name}" in line]
        panels[2].plot(
            [step for step, _ in weights], [weight for _, weight in weights], style, color=colour, linewidth=1.2
        )
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside right center", fontsize=7.5, frameon=False)
    save_figure(figure, out)


def _weight(line: Mapping[str, Any], name: str) -> float | None:
    value = line.get(f"weight_{name}")
    return None if value is None else float(value)
