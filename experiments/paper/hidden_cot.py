"""Controls of the thinking tokens, from one probe of each model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
from experiments.paper.experiment import REPEATED_PRIORITY, ROOM_SECONDS, Experiment, Job
from experiments.paper.spec import Row

ANSWERS_FILE = "answers.jsonl"
PROBE_PRIORITY = REPEATED_PRIORITY + 1  #: after the runs of all seeds, which it needs


def probe_job(experiment: Experiment, row: Row, seed: int) -> Job:
    """Return the job that probes the thinking tokens of a row's model."""
    spec, limit = experiment.spec, experiment.spec.questions_of(row)
    scenes, name = row.scenes or spec.run_scenes, f"{row.same_as or row.name}, seed {seed}" if row.recipe else row.name

    def build(out: Path) -> None:
        pipeline = DollhousePipeline.from_pretrained(experiment.model_folder(name, row, seed))
        probe_thinking(
            pipeline, scenes, questions_per_scene=limit, oracle_boxes=row.oracle_boxes, out=out, progress=False
        )

    true_boxes = ["true boxes"] if row.oracle_boxes else []
    key = short_key(experiment.model_key(row, seed), scenes, limit, keys.DATA_VERSIONS, keys.PROBE_VERSION, *true_boxes)
    needs = tuple(job.key for job in experiment.row_jobs("", row) if row.recipe)
    seconds = 3 * ROOM_SECONDS * len(open_scenes(scenes))
    return Job("probed", key, f"probe of {name}", PROBE_PRIORITY, seconds, build, needs)


def control_rows(
    builder: MeasurementsBuilder, name: str, entries: Mapping[str, Path], columns: Mapping[str, str]
) -> Iterator[TableRow]:
    """Yield a row a control: accuracies, differences from the model as it is, and how many answers stay the same.

    The questions must be among those that a model was measured on, which has their choices.

    Args:
        entries: the probes' folders by seed.
        columns: figures by name, such as accuracy/open; ``agreement`` and ``agreement/FAMILY`` count equal answers of
            the first seed.
    """
    names: dict[str, dict[str, str]] = {}  # of models, by control and seed
    for seed, entry in entries.items():
        probed = [json.loads(line) for line in (entry / ANSWERS_FILE).read_text(encoding="utf-8").splitlines()]
        asked = [(builder.question(row["id"]), row["predictions"]) for row in probed]
        known = [(question, predictions) for question, predictions in asked if question is not None]
        for control in known[0][1] if known else ():
            model = f"{name}: {control}" + (f", seed {seed}" if len(entries) > 1 else "")
            names.setdefault(control, {})[seed] = model
            builder.models[model] = {"model": name, "thinking tokens": control}
            builder.add_answers(model, [{**question, "prediction": answers[control]} for question, answers in known])
    for control, models in names.items():
        cells = {}
        for column, figure in columns.items():
            if not figure.startswith("agreement"):
                cells[column] = Cell(figure=figure, models=models)
            elif control != BASELINE:
                seed, model = next(iter(models.items()))
                cells[column] = Cell(figure=figure, models={seed: model}, reference=names[BASELINE][seed])
        yield TableRow(
            name=f"{name}: {control}", cells=cells, base=None if control == BASELINE else f"{name}: {BASELINE}"
        )
