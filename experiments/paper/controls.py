"""Table III's controls: the thinking tokens of trained students replaced, to see whether their content counts.

Knows which students are probed and how figures are laid out; replacing is :mod:`dollhouse.evaluation.probing`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dollhouse.evaluation.probing.accuracy import BASELINE, OVERALL
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.dollhouse.special_tokens import PLACEMENTS
from dollhouse.system.environment import source_commit
from experiments.paper import paper, thinking
from experiments.paper.archive import model_key, short_key
from experiments.paper.bench import ROOM, Bench, Trial
from experiments.paper.drawing import draw_rows
from experiments.paper.paired import Estimate
from experiments.paper.plan import Job
from experiments.paper.table import Column, Result, Row, Value

CONTROLS_VERSION = 1  #: raise it whenever the same models would be measured otherwise
KEY = "controls"
WORTH = 7
COSTLIER = 4  #: times that probing a room takes what evaluating it does
SPATIAL = Column("spatial", "higher", percent=True, digits=1)
CHANGED = Column("other words", percent=True, digits=1)
METHOD = (
    "At inference, on the rooms of the runs: embeddings of the thinking tokens replaced by zeros, by noise of the same "
    "length, by the first one repeated, by ordinary words; their keys and values taken from another room; hidden from "
    "what follows; removed. Other words: the share of questions that are then answered in other words. Differences are "
    "paired by question; intervals are over rooms."
)


def jobs(bench: Bench) -> list[Job]:
    found: list[Job] = []
    seconds = COSTLIER * ROOM * bench.rooms(bench.extent.runs)
    for subject, trial in subjects(bench).items():
        if trial is not None:
            found += [job for job in thinking.jobs(bench) if job.name == trial.name]
        needs = () if trial is None else (trial.name,)
        found.append(_job(bench, subject, trial, seconds, needs))
    return found


def results(bench: Bench) -> list[Result]:
    told = {
        subject: json.loads((folder / "probe.json").read_text(encoding="utf-8"))
        for subject, trial in subjects(bench).items()
        if (folder := _folder(bench, trial)) is not None and (folder / "probe.json").is_file()
    }
    if not told:
        return []
    result = table(told)
    result.left_out = [subject for subject in subjects(bench) if subject not in told]
    return [result]


def subjects(bench: Bench) -> dict[str, Trial | None]:
    """Who is probed: the student as it stands (None), if it has thinking tokens, and a trial of each placement."""
    found: dict[str, Trial | None] = {}
    settings = json.loads((bench.student_folder / "config.json").read_text(encoding="utf-8"))
    if settings["num_thinking_tokens"]:
        found[f"student, K = {settings['num_thinking_tokens']}"] = None
    counts = [count for count in bench.extent.thinking_counts if 0 < count <= bench.extent.hidden_cot]
    rows = thinking.trials(bench) if counts else {}
    for placement in PLACEMENTS if counts else ():
        setting = (max(counts), placement)
        found[thinking.name_of(setting)] = rows[setting][0]
    return found


def table(told: Mapping[str, Mapping[str, Any]]) -> Result:
    """The table of probes (``probe.json``) by who was probed."""
    rows, sentences = [], []
    for subject, found in told.items():
        sentences.append(f"{subject}: {found['verdict']}")
        for name, control in found["ablations"].items():
            figure = control["groups"].get(OVERALL)
            if figure is not None:
                rows.append(_row(f"{subject}: {name}", figure, name == BASELINE))
    result = Result(
        KEY,
        "Table III's controls: what if something else stood there?",
        [SPATIAL, CHANGED],
        rows,
        paper.CONTROLS,
        sentences,
        [METHOD],
    )
    result.picture = lambda out: draw_rows([SPATIAL], rows, None, out)
    return result


def _row(name: str, figure: Mapping[str, Any], untouched: bool) -> Row:
    def estimate(value: str, interval: str) -> Estimate:
        ends = figure[interval]
        return Estimate(figure[value], None if ends is None else (ends[0], ends[1]), figure["n"], figure["scenes"])

    accuracy = estimate("accuracy", "ci95")
    if untouched:
        return Row(name, {SPATIAL.name: accuracy})
    values: dict[str, Value] = {SPATIAL.name: accuracy, CHANGED.name: float(figure["changed"])}
    return Row(name, values, {SPATIAL.name: estimate("difference", "difference_ci95")})


def _job(bench: Bench, subject: str, trial: Trial | None, seconds: float, needs: tuple[str, ...]) -> Job:
    def do() -> None:
        from dollhouse.evaluation.probing.probe import probe_thinking

        model = bench.student_folder if trial is None else bench.archive.trained(trial.recipe)
        assert model is not None  # the job needs the trial's
        rooms, questions = bench.extent.runs, bench.extent.questions
        pipeline = DollhousePipeline.from_pretrained(model)
        out, told = _folder(bench, trial), "dollhouse reproduce"
        probe_thinking(
            pipeline,
            rooms,
            questions_per_scene=questions,
            out=out,
            progress=False,
            commit=source_commit(),
            command=told,
        )

    def kept() -> bool:
        folder = _folder(bench, trial)
        return folder is not None and (folder / "probe.json").is_file()

    return Job(f"controls of {subject}", KEY, WORTH, seconds, do, kept, needs)


def _folder(bench: Bench, trial: Trial | None) -> Path | None:
    """Where the probe of a student, of these rooms and by this code is kept; None before the student is trained."""
    model = bench.student_folder if trial is None else bench.archive.trained(trial.recipe)
    if model is None:
        return None
    told = [model_key(model), bench.extent.runs, bench.extent.questions]
    return bench.out / "probed" / short_key([told, CONTROLS_VERSION])
