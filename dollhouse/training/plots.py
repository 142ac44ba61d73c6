"""Plots of a run's losses and their weights, from the trainer's log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dollhouse.errors import StorageError
from dollhouse.system.read_files import read_jsonl

WEIGHT = "weight_"
NOT_LOSSES = {"stage", "step", "loss", "grad_norm", "learning_rate", "epoch", "dropped_steps", "seconds_per_step"}
NOT_LOSSES |= {"scenes_per_second", "utilisation", "peak_memory_bytes"}
LABELLED = (1.0, 2.0, 3.0, 5.0, 7.0)  #: of each power of ten on an axis
MAX_POINTS = 400  #: of a line; longer runs are thinned


def plot_losses(metrics: Path, picture: Path) -> bool:
    """Plot losses and weights by stage; return False where ``metrics`` (JSONL) has no step.

    Raises StorageError where the picture cannot be written.
    """
    stages = read_stages(metrics)
    if not stages:
        return False
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    from dollhouse.system.figures import save_figure

    figure = Figure(figsize=(2.2 + 3.4 * len(stages), 7.2), dpi=110, layout="constrained")
    grid = figure.subplots(2, len(stages), squeeze=False, sharex="col", sharey="row")
    names = sorted({name for lines in stages.values() for line in lines for name in losses_of(line)})
    # tab20's dark shades first
    colours = {name: colormaps["tab20"](2 * number % 20 + number // 10) for number, name in enumerate(names)}
    for column, (stage, lines) in enumerate(stages.items()):
        top, bottom = grid[0, column], grid[1, column]
        top.set_title(stage)
        bottom.set_xlabel("step")
        for axes, prefix in ((top, ""), (bottom, WEIGHT)):
            for name in names:
                points = [(line["step"], line[prefix + name]) for line in lines if line.get(prefix + name, 0) > 0]
                marker = "." if len(points) < 12 else None
                if points:
                    axes.plot(*zip(*points, strict=True), color=colours[name], label=name, linewidth=1.6, marker=marker)
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=LABELLED))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(NullLocator())
            axes.grid(alpha=0.25, which="major")
            axes.spines[["top", "right"]].set_visible(False)
    grid[0, 0].set_ylabel("loss")
    grid[1, 0].set_ylabel("weight of the loss")
    handles = {handle.get_label(): handle for axes in grid[0] for handle in axes.get_lines()}
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False)
    save_figure(figure, picture)
    return True


def read_stages(metrics: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the logged lines with losses, by stage, in training order."""
    stages: dict[str, list[dict[str, Any]]] = {}
    for _, line in read_jsonl(metrics, StorageError) if metrics.exists() else ():
        if losses_of(line):
            stages.setdefault(line["stage"], []).append(line)
    return {stage: lines[:: max(1, len(lines) // MAX_POINTS)] for stage, lines in stages.items()}


def losses_of(line: dict[str, Any]) -> list[str]:
    """Return the names of the losses in a logged line, without parts of losses."""
    if not any(name.startswith(WEIGHT) for name in line):
        return []  # the trainer's summary at a stage's end
    return [name for name in line if name not in NOT_LOSSES and not name.startswith(WEIGHT) and "/" not in name]
