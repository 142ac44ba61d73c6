"""Table IV, Fig. 2 and timing at the paper's size, from times that child processes measured."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from experiments.paper import cache as keys
from experiments.paper.cache import short_key
from experiments.paper.experiment import STAND_IN, Experiment, Job, write_stand_in
from experiments.paper.figures import rows_figure
from experiments.paper.results import Result, ResultRow, Value, show
from experiments.paper.spec import Column
from experiments.paper.statistics import Statistic, estimate, rate, ratio
from experiments.paper.timing import PAPER_SIZE, TIMES_FILE, time_models

TIMES = Column(name="", digits=1, unit="×")
SIZES = ("parameters", "bytes", "peak", "model_memory")  #: figures that are one number a model
NO_MEMORY = "teacher, no scene memory"
STAND_IN_NOTE = (
    "the trained teacher: none was given (--teacher MODEL). A stand-in is timed: the student widened to the teacher's "
    "shape, with RGB-D input, untrained. Its speed, size and memory are those of this shape; its answers mean nothing"
)


def timing_job(experiment: Experiment, paper_size: bool = False) -> Job:
    """Return the job that times teacher and student."""
    timing, scenes, student = experiment.spec.timing, experiment.spec.compared_scenes, experiment.student
    if paper_size:
        models = {name: PAPER_SIZE + name for name in ("teacher", "student")}
        once = timing.model_copy(update={"rooms": 1, "batch": 1, "repeats": 1})
        build = partial(time_models, models, scenes, once, in_turn=False)
        key = short_key(models, scenes, timing.tokens, keys.TIMING_VERSION)
        return Job("timing", key, "timing at the paper's size", 10, 400.0, build)
    stand_in = short_key(experiment.student_key, STAND_IN, keys.INIT_VERSION)

    def time_both(out: Path) -> None:
        teacher = experiment.teacher or experiment.cache.make(
            "init", "stand-in", stand_in, lambda folder: write_stand_in(student, folder)
        )
        time_models({"teacher": str(teacher), "student": str(student)}, scenes, timing, out)

    models_key = [experiment.teacher_key or stand_in, experiment.student_key]
    key = short_key(models_key, scenes, timing.model_dump(), keys.TIMING_VERSION)
    return Job("timing", key, "timing", 2, 20.0 + (2 + 2.5 * timing.repeats) * timing.rooms, time_both)


def read_times(experiment: Experiment, paper_size: bool = False) -> dict[str, Any] | None:
    """Return what was timed; None before it was."""
    entry = experiment.entry(timing_job(experiment, paper_size))
    return None if entry is None else json.loads((entry / TIMES_FILE).read_text(encoding="utf-8"))


def first_answers_per_second(experiment: Experiment) -> dict[str, float]:
    """Return scenes encoded and asked once a second, as the paper counts frames: {"teacher", "student"}."""
    times = read_times(experiment)
    return {name: len(entry["first"]) / sum(entry["first"]) for name, entry in times["models"].items()} if times else {}


def efficiency(experiment: Experiment, result: Result, paper_size: bool = False) -> None:
    """Fill the values of teacher and student and their ratios; those of times are paired by room."""
    times = read_times(experiment, paper_size)
    if times is None:
        return
    teacher, student, rooms = times["models"]["teacher"], times["models"]["student"], times["rooms"]
    values: dict[str, dict[str, Value]] = {"teacher": {}, "student": {}}
    ratios: dict[str, Value] = {}

    def value(figure: str, statistic: Statistic, n: int = rooms) -> Value:
        whole = estimate([statistic], rooms, n)
        return whole and whole.value if figure in SIZES else whole

    for name, figure, scale in ((column.name, column.figure, column.scale) for column in result.columns):
        for model, entry in times["models"].items():
            n = sum(entry["questions"]) if figure == "batched" else rooms
            values[model][name] = value(figure, _statistic(entry, figure, scale), n)
        ratios[name] = value(figure, ratio(_statistic(teacher, figure), _statistic(student, figure)))
    ratios[NO_MEMORY] = value("first", ratio(_statistic(teacher, "first"), _statistic(student, "later")))
    shown = {name: show(TIMES, value) for name, value in ratios.items()}
    result.rows = [
        ResultRow("teacher", values["teacher"]),
        ResultRow(NO_MEMORY, {"later answer": values["teacher"]["first answer"]}),
        ResultRow("student", values["student"]),
        ResultRow("teacher / student", shown),
        ResultRow(f"{NO_MEMORY} / student", {"later answer": shown[NO_MEMORY]}),
    ]
    result.sentences = [
        f"Like for like, the teacher's first answer takes {shown['first answer']} the student's time and a later one, "
        f"both with scene memory, {shown['later answer']}. Where the teacher encodes the scene again for every "
        f"question, as LLaVA-3D does and the paper times it, a later one takes {shown[NO_MEMORY]}. The student has "
        f"{shown['parameters']} fewer parameters. The paper: 8.72× and 3.1×."
    ]
    result.method.append(f"{times['tokens']} tokens an answer, {rooms} room(s), models alternating in every room.")
    result.more = {"ratios": asdict(ResultRow("", ratios))["values"]}
    result.more |= {name: times[name] for name in ("machine", "packages", "threads")}
    result.left_out = [] if experiment.teacher or paper_size else [STAND_IN_NOTE]
    result.figure = lambda: rows_figure(result.columns, [result.rows[0], result.rows[2]])


def _statistic(entry: dict[str, Any], name: str, scale: float = 1.0) -> Statistic:
    """Seconds a room of ``first`` or ``later``; ``batched``: answers a second; else a size of the model."""
    if name == "batched":
        return rate(entry["questions"], entry["all"])
    values = [entry[name]] * len(entry["first"]) if name in SIZES else entry[name]
    return rate([scale * value for value in values], [1.0] * len(values))
