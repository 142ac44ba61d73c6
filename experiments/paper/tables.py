"""Name the jobs behind each table, and fill the table from what the cache holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dollhouse.errors import ScoreError
from dollhouse.questions.sampling import FAMILIES
from dollhouse.scenes.open import open_scenes
from dollhouse.training.plots import WEIGHT, losses_of, read_stages
from experiments.paper import efficiency, hidden_cot
from experiments.paper.experiment import STUDENT, TEACHER, Experiment, Job
from experiments.paper.figures import curve_figure, rows_figure
from experiments.paper.measure import Measured
from experiments.paper.results import Result, ResultRow, Value, difference_sentence, show
from experiments.paper.spec import Column, Row
from experiments.paper.statistics import Estimate, Figure, difference, estimate, rate, ratio, shortened, text_scores

PERCENT = Column(name="", percent=True, digits=1)


def table_jobs(experiment: Experiment, key: str) -> list[Job]:
    """Return the jobs of a table."""
    table, rows = experiment.spec.tables[key], experiment.spec.rows_of(key)
    compared = table.kind in ("comparison", "retention", "text", "cases")
    jobs = [job for row in (STUDENT, TEACHER) for job in experiment.row_jobs("", row) if compared]
    for row in rows.values():
        jobs += experiment.row_jobs(key, row, rows.get(row.compare_with or table.base or ""))
    if table.kind in ("controls", "readout"):
        jobs += [hidden_cot.probe_job(experiment, row) for row in rows.values()]
    if table.kind in ("efficiency", "paper_size") or any(column.figure == "scenes/s" for column in table.columns):
        jobs.append(efficiency.timing_job(experiment, table.kind == "paper_size"))
    return jobs


def build_table(experiment: Experiment, key: str) -> Result | None:
    """Return a table from what was measured so far; None where nothing was."""
    table = experiment.spec.tables[key]
    result = Result(key, table.title, table.columns, table.paper, [table.method])
    FILL[table.kind](experiment, result)
    return result if result.rows else None


def comparison(experiment: Experiment, result: Result) -> None:
    """Fill rows of models and runs, with differences paired by room and seed."""
    spec, table = experiment.spec, experiment.spec.tables[result.key]
    names, teacher = [scene.name for scene in open_scenes(spec.run_scenes)], experiment.measured(TEACHER)
    rows, speeds = spec.rows_of(result.key), efficiency.first_answers_per_second(experiment)
    measured: dict[str, dict[int, Measured]] = {}
    for name, row in rows.items():
        found = {seed: experiment.measured(row, seed) for seed in spec.seeds_of(row)}
        measured[name] = {seed: whole.restricted(names) for seed, whole in found.items() if whole is not None}
        missing = [seed for seed in found if seed not in measured[name]]
        result.left_out += [f"{name}, seed {seed}" if row.recipe else name for seed in missing]
        base = row.compare_with or table.base or ""
        others = measured.get(base, {}) if base != name else {}
        values: dict[str, Value] = {}
        differences: dict[str, Estimate] = {}
        for column in table.columns if measured[name] else ():
            first = next(iter(measured[name].values()))
            if column.figure == "parameters":
                values[column.name] = None if row.model == "blind" else first.parameters / 1e6
            elif column.figure == "scenes/s":
                values[column.name] = speeds.get(row.model or "")
            elif row.model != "blind" or column.figure == "accuracy":
                figures = {seed: _figure(model, column, row, teacher) for seed, model in measured[name].items()}
                rooms, n = next((figure.rooms, figure.n) for figure in figures.values())
                values[column.name] = estimate([figure.statistic for figure in figures.values()], rooms, n)
                both = [(figure, others[seed]) for seed, figure in figures.items() if seed in others]
                pairs = [difference(a.statistic, _figure(b, column, rows[base], teacher).statistic) for a, b in both]
                if pairs and (change := estimate(pairs, rooms, n)):
                    differences[column.name] = change
        if values:
            result.rows.append(ResultRow(name, values, differences, len(measured[name])))
        if differences:
            result.sentences.append(difference_sentence(result.rows[-1], table.columns, base))
    if (student := experiment.measured(STUDENT)) is not None:
        chance, blind = show(PERCENT, student.metrics["chance"]["overall"]), _blind(student.restricted(names))
        result.sentences.append(f"Beside every accuracy: blind student {show(PERCENT, blind)}, chance {chance}.")
    result.figure = lambda: rows_figure(table.columns[: table.pictured_columns], result.rows, table.base)


def retention(experiment: Experiment, result: Result) -> None:
    """Fill the accuracy of student and teacher and their ratio, by family. Raises ScoreError."""
    student, teacher = experiment.measured(STUDENT), experiment.measured(TEACHER)
    if student is None or teacher is None:
        return
    if student.by_id.keys() != teacher.by_id.keys():
        raise ScoreError(f"{student.model} and {teacher.model} answered different questions: measure them again")
    column, chance = result.columns[2], student.metrics["chance"]
    groups: dict[str, Sequence[str]] = {name: (name,) for name in FAMILIES} | {"all four": FAMILIES}
    for name, families in groups.items():
        ours, theirs = student.accuracy(families), teacher.accuracy(families)
        share = estimate([ratio(ours.statistic, theirs.statistic)], ours.rooms, ours.n)
        guessed = chance["overall"] if name == "all four" else chance["families"].get(name)
        cells = [ours.estimate(), theirs.estimate(), share, _blind(student, families), guessed]
        result.rows.append(ResultRow(name, _by_column(result, cells)))
    shown = [f"{row.name} {show(column, row.values[column.name])}" for row in result.rows]
    result.sentences = [f"The student keeps this share of the teacher's accuracy: {', '.join(shown)}. The paper: 64 %."]
    result.figure = lambda: rows_figure(result.columns[:3], result.rows)


def text(experiment: Experiment, result: Result) -> None:
    """Fill text scores of the student's descriptions against the teacher's."""
    student, teacher = experiment.measured(STUDENT), experiment.measured(TEACHER)
    if student is None or (experiment.teacher is not None and teacher is None):
        return
    ours, theirs = student.texts(teacher)
    scenes = [str(row["scene"]) for row in student.descriptions]
    whole, cut = text_scores(ours, theirs, scenes), text_scores(*shortened(ours, theirs), scenes)
    scored = [ResultRow(name, _by_column(result, [whole[name], cut[name]])) for name in whole]
    result.rows = list(scored)
    for name, texts in (("student", ours), ("teacher", theirs)):
        mean = rate([len(text.split()) for text in texts], [1.0] * len(texts))
        words = estimate([mean], len(texts), len(texts))
        result.rows.append(ResultRow(f"words, {name}", _by_column(result, [words, None])))
    result.left_out = [] if teacher else ["the teacher: none was given; descriptions made from geometry stand in"]
    result.figure = lambda: rows_figure(result.columns, scored)


def cases(experiment: Experiment, result: Result) -> None:
    """Fill one success and one failure of the student."""
    student, teacher = experiment.measured(STUDENT), experiment.measured(TEACHER)
    if student is None or (experiment.teacher is not None and teacher is None):
        return
    chosen = choose_cases(student, teacher)
    for name, case in chosen.items():
        described = [row for row in student.descriptions if row["scene"] == case["scene"]][:1]
        for label, row in [(name, case), *(("the same room", row) for row in described)]:
            theirs = teacher and str(teacher.by_id[row["id"]]["prediction"])
            cells = [row["scene"], row["question"], row["prediction"], theirs, row["answer"], row["blind_prediction"]]
            result.rows.append(ResultRow(label, _by_column(result, cells)))
    result.left_out = [f"a {name}: no question fits" for name in ("success", "failure") if name not in chosen]


def choose_cases(student: Measured, teacher: Measured | None) -> dict[str, dict[str, Any]]:
    """Return the success and the failure; absent where no question fits."""
    rows = [row for row in student.rows if row["family"] in FAMILIES]
    success = next((row for row in rows if row["correct"] and row["blind_prediction"] != row["prediction"]), None)
    wrong = [row for row in rows if not row["correct"] and (success is None or row["scene"] != success["scene"])]
    failure = next((row for row in wrong if teacher is None or teacher.by_id[row["id"]]["correct"]), None)
    return {name: case for name, case in (("success", success), ("failure", failure)) if case is not None}


def curve(experiment: Experiment, result: Result) -> None:
    """Fill first and last losses and weights of a training run."""
    row, seed = next(iter(experiment.spec.rows_of(result.key).values())), experiment.spec.seeds[0]
    folder = experiment.cache.find("runs", experiment.model_key(row, seed))
    lines = [line for stage in read_stages(folder / "metrics.jsonl").values() for line in stage] if folder else []
    for name in losses_of(lines[0]) if lines else ():
        cells = (lines[0][name], lines[-1].get(name), lines[0].get(WEIGHT + name), lines[-1].get(WEIGHT + name))
        result.rows.append(ResultRow(name, _by_column(result, cells)))
    result.figure = lambda: curve_figure(lines)


def _figure(measured: Measured, column: Column, row: Row, teacher: Measured | None) -> Figure:
    """Return a column's figure; that of a blind row is in the student's measurement."""
    if row.model == "blind":
        return measured.accuracy(field="blind_prediction")
    return measured.figure(column.figure, teacher)


def _blind(student: Measured, families: Sequence[str] = FAMILIES) -> Estimate | None:
    return student.accuracy(families, "blind_prediction").estimate() if student.metrics["blind"] else None


def _by_column(result: Result, cells: Sequence[Any]) -> dict[str, Any]:
    return dict(zip((column.name for column in result.columns), cells, strict=True))


NAMED = (comparison, retention, text, cases, curve, hidden_cot.controls, hidden_cot.readout, efficiency.efficiency)
#: by the ``kind`` of a table, which is the name of the function
FILL: dict[str, Callable[[Experiment, Result], None]] = {function.__name__: function for function in NAMED}
FILL["paper_size"] = partial(efficiency.efficiency, paper_size=True)
