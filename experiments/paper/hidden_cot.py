"""Controls and read-out of the thinking tokens, both from one probe of each model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dollhouse.evaluation.probing.accuracy import BASELINE, OVERALL
from dollhouse.evaluation.probing.probe import probe_thinking
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.questions.sampling import FAMILIES
from dollhouse.scenes.open import open_scenes
from dollhouse.system.atomic_io import write_text
from experiments.paper import cache as keys
from experiments.paper.cache import short_key
from experiments.paper.experiment import ROOM_SECONDS, STUDENT, Experiment, Job
from experiments.paper.figures import rows_figure
from experiments.paper.results import Result, ResultRow
from experiments.paper.spec import Row
from experiments.paper.statistics import Estimate

PROBE_FILE, ANSWERS_FILE = "probe.json", "answers.jsonl"
NO_TOKENS = {"verdict": "this model has no thinking tokens.", "ablations": {}, "logit_lens": {"examples": {}}}


def probe_job(experiment: Experiment, row: Row) -> Job:
    """Return the job that probes the thinking tokens of a row's model."""
    spec, seed = experiment.spec, experiment.spec.seeds[0]
    scenes, limit = spec.run_scenes, spec.questions_per_scene

    def build(out: Path) -> None:
        pipeline = DollhousePipeline.from_pretrained(experiment.model_folder(row.name, row, seed))
        if pipeline.model.config.num_thinking_tokens:
            probe_thinking(pipeline, scenes, questions_per_scene=limit, out=out, progress=False)
        else:
            write_text(out / PROBE_FILE, json.dumps(NO_TOKENS))

    key = short_key(experiment.model_key(row, seed), scenes, limit, keys.DATA_VERSIONS, keys.PROBE_VERSION)
    needs = tuple(job.key for job in experiment.row_jobs("", row) if row.recipe)
    return Job("probed", key, f"probe of {row.name}", 7, 3 * ROOM_SECONDS * len(open_scenes(scenes)), build, needs)


def controls(experiment: Experiment, result: Result) -> None:
    """Fill accuracy under every control."""
    spatial, changed = (column.name for column in result.columns)
    for name, row in experiment.spec.rows_of(result.key).items():
        entry = experiment.entry(probe_job(experiment, row))
        if entry is None:
            result.left_out.append(name)
            continue
        probed = json.loads((entry / PROBE_FILE).read_text(encoding="utf-8"))
        result.sentences.append(f"{name}: {probed['verdict']}")
        for control, scores in probed["ablations"].items():
            if score := scores["groups"].get(OVERALL):
                other = float(score["changed"]) if control != BASELINE else None
                change = _estimate(score, "difference", "difference_ci95") if control != BASELINE else None
                cells = {spatial: _estimate(score, "accuracy", "ci95"), changed: other}
                result.rows.append(ResultRow(f"{name}: {control}", cells, {spatial: change} if change else {}))
    result.figure = lambda: rows_figure(result.columns[:1], result.rows)


def readout(experiment: Experiment, result: Result) -> None:
    """Fill the likeliest words at each thinking token of the student, in the first probed room."""
    entry, student = experiment.entry(probe_job(experiment, STUDENT)), experiment.measured(STUDENT)
    if entry is None or student is None:
        return
    examples = json.loads((entry / PROBE_FILE).read_text(encoding="utf-8"))["logit_lens"]["examples"]
    if not examples:
        result.rows = [ResultRow("no thinking tokens", {})]
        return
    scene, tokens = next(iter(examples.items()))
    for number, words in enumerate(tokens, 1):
        shown = [f"{word['token']} ({word['probability']:.0%})" for word in words]
        cells = dict(zip((column.name for column in result.columns), shown, strict=False))
        result.rows.append(ResultRow(f"<think_{number}>", cells))
    lines = map(json.loads, (entry / ANSWERS_FILE).read_text(encoding="utf-8").splitlines())
    row = next(row for row in lines if row["scene"] == scene and row["family"] in FAMILIES)
    answer, diagnosed = student.by_id[row["id"]]["prediction"], row["predictions"][BASELINE]
    answers = f"answer {answer}; in diagnostic mode {diagnosed}; by geometry {row['answer']}"
    result.sentences = [f"{scene}, “{row['question']}”: {answers}."]


def _estimate(score: Mapping[str, Any], value: str, interval: str) -> Estimate:
    low_high: Any = score[interval] and tuple(score[interval])
    return Estimate(score[value], low_high, score["n"], score["scenes"])
