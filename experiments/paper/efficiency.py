"""Rows of Table IV: what ``dollhouse bench`` measured, and times of teacher and student on the same rooms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from dollhouse.evaluation.tables.measurements import MeasurementsBuilder
from dollhouse.evaluation.tables.table import Cell
from dollhouse.evaluation.tables.table import Row as TableRow
from dollhouse.system.read_files import decode_json
from experiments.paper import cache as keys
from experiments.paper.cache import short_key
from experiments.paper.experiment import Experiment, Job
from experiments.paper.timing import PAPER_SIZE, SIZES, TIMES_FILE, time_models


def timing_job(experiment: Experiment, paper_size: bool = False) -> Job | None:
    """Return the job that times teacher and student; None where one of them is not given."""
    timing, scenes, models = experiment.spec.timing, experiment.spec.compared_scenes, experiment.models
    if paper_size:
        random = {name: PAPER_SIZE + name for name in ("teacher", "student")}
        once = timing.model_copy(update={"rooms": 1, "batch": 1, "repeats": 1})
        key = short_key(random, scenes, timing.tokens, keys.TIMING_VERSION)
        build = partial(time_models, random, scenes, once, in_turn=False)
        return Job("timing", key, "timing at the paper's size", 10, 400.0, build)
    if not {"teacher", "student"} <= models.keys():
        return None
    both = {name: str(models[name]) for name in ("teacher", "student")}
    keyed = [experiment.given_key(name) for name in both]
    key = short_key(keyed, scenes, timing.model_dump(), keys.TIMING_VERSION)
    seconds = 20.0 + (2 + 2.5 * timing.repeats) * timing.rooms
    return Job("timing", key, "timing", 2, seconds, partial(time_models, both, scenes, timing))


def timing_rows(
    experiment: Experiment, builder: MeasurementsBuilder, key: str, left_out: list[str]
) -> Iterator[TableRow]:
    """Yield seconds of teacher and student and their ratios, like for like first, paired by room."""
    table = experiment.spec.tables[key]
    job = timing_job(experiment, table.paper_size)
    entry = None if job is None else experiment.entry(job)
    if entry is None:
        left_out.append("all rows (give --model student=FOLDER --model teacher=FOLDER)")
        return
    times = json.loads((entry / TIMES_FILE).read_text(encoding="utf-8"))
    names = {name: f"{key}, {name}" for name in times["models"]}
    for name, measured in times["models"].items():
        facts = {part: value for part, value in measured.items() if part in SIZES}
        builder.models[names[name]] = facts | {part: times[part] for part in ("machine", "threads", "tokens")}
        for part in ("first", "later"):
            builder.add_series(names[name], f"seconds/{part}", measured[part])
    figures = {column.name: column.figure for column in table.columns}
    for name in times["models"]:
        cells = {column: Cell(figure=figure, models={"0": names[name]}) for column, figure in figures.items()}
        yield TableRow(name=name, cells=cells)
    over = {
        column: Cell(figure=figure, models={"0": names["teacher"]}, over=names["student"])
        for column, figure in figures.items()
    }
    yield TableRow(name="teacher / student", cells=over)


def bench_rows(
    experiment: Experiment, builder: MeasurementsBuilder, key: str, left_out: list[str]
) -> Iterator[TableRow]:
    """Yield medians of ``dollhouse bench --out``, ratios to the first system below."""
    columns = experiment.spec.tables[key].columns
    if not experiment.benches:
        left_out.append("all rows (give --bench NAME=FILE of dollhouse bench --out)")
    for title, file in experiment.benches.items():
        result = decode_json(file.read_bytes())
        first = None
        for system, figures in result["systems"].items():
            name = f"{title}, {system}"
            facts = {part: spread["median"] for part, spread in figures.items()} | {"name": system}
            if title in experiment.models:
                facts["weights"] = experiment.given_key(title)
            builder.models[name] = facts | {"machine": result["machine"], "settings": result["settings"]}
            first = first or name
            known = {column.name: column.figure for column in columns if column.figure in facts}
            cells = {column: Cell(figure=f"fact/{part}", models={"0": name}) for column, part in known.items()}
            yield TableRow(name=name, cells=cells)
            if name != first:
                over = {column: cell.model_copy(update={"over": first}) for column, cell in cells.items()}
                yield TableRow(name=f"{name}, over the first", cells=over)
