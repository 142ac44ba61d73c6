"""Controls of the thinking tokens, from one probe of each model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from dollhouse.evaluation.probing.accuracy import BASELINE
from dollhouse.evaluation.probing.probe import probe_thinking
from dollhouse.evaluation.tables.measurements import MeasurementsBuilder
from dollhouse.evaluation.tables.table import Cell
from dollhouse.evaluation.tables.table import Row as TableRow
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.scenes.open import open_scenes
from experiments.paper import cache as keys
from experiments.paper.cache import short_key
from experiments.paper.experiment import ROOM_SECONDS, Experiment, Job
from experiments.paper.spec import Row

ANSWERS_FILE = "answers.jsonl"


def probe_job(experiment: Experiment, row: Row) -> Job:
    """Return the job that probes the thinking tokens of a row's model."""
    spec, seed = experiment.spec, experiment.spec.seeds[0]
    scenes, limit = spec.run_scenes, spec.questions_per_scene

    def build(out: Path) -> None:
        pipeline = DollhousePipeline.from_pretrained(experiment.model_folder(row.name, row, seed))
        probe_thinking(pipeline, scenes, questions_per_scene=limit, out=out, progress=False)

    key = short_key(experiment.model_key(row, seed), scenes, limit, keys.DATA_VERSIONS, keys.PROBE_VERSION)
    needs = tuple(job.key for job in experiment.row_jobs("", row) if row.recipe)
    return Job("probed", key, f"probe of {row.name}", 7, 3 * ROOM_SECONDS * len(open_scenes(scenes)), build, needs)


def control_rows(builder: MeasurementsBuilder, name: str, entry: Path) -> Iterator[TableRow]:
    """Yield a row a control: accuracy, the difference from the model as it is, and how many answers stay the same.

    The questions must be among those that a model was measured on, which has their choices.
    """
    probed = [json.loads(line) for line in (entry / ANSWERS_FILE).read_text(encoding="utf-8").splitlines()]
    asked = [(builder.question(row["id"]), row["predictions"]) for row in probed]
    known = [(question, predictions) for question, predictions in asked if question is not None]
    if not known:
        return
    for control in known[0][1]:
        model = f"{name}: {control}"
        builder.models[model] = {"model": name, "thinking tokens": control}
        builder.add_answers(model, [{**question, "prediction": answers[control]} for question, answers in known])
        cells = {"spatial": Cell(figure="accuracy", models={"0": model})}
        if control != BASELINE:
            cells["same answers"] = Cell(figure="agreement", models={"0": model}, reference=f"{name}: {BASELINE}")
        yield TableRow(name=model, cells=cells, base=None if control == BASELINE else f"{name}: {BASELINE}")
