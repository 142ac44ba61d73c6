"""Controls and read-out of the thinking tokens: what replaces them, and which words they are nearest to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dollhouse.evaluation.probing.accuracy import BASELINE, OVERALL
from dollhouse.evaluation.probing.activations import eager_attention, record_activations
from dollhouse.evaluation.probing.logit_lens import LogitLens
from dollhouse.evaluation.probing.probe import probe_thinking
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.questions.generate import generate_questions
from dollhouse.questions.sampling import FAMILIES
from dollhouse.scenes.open import open_scenes
from dollhouse.system.atomic_io import write_text
from experiments.paper import cache as keys
from experiments.paper.cache import short_key
from experiments.paper.experiment import ROOM_SECONDS, Experiment, Job
from experiments.paper.figures import rows_figure
from experiments.paper.results import Result, ResultRow
from experiments.paper.spec import Row
from experiments.paper.statistics import Estimate

PROBE_FILE, READOUT_FILE = "probe.json", "readout.json"
WORDS = 3  #: shown of each token


def probe_job(experiment: Experiment, row: Row) -> Job:
    """Return the job that replaces the thinking tokens of a row's model."""
    spec, seed = experiment.spec, experiment.spec.seeds[0]
    scenes, limit = spec.run_scenes, spec.questions_per_scene

    def build(out: Path) -> None:
        pipeline = DollhousePipeline.from_pretrained(experiment.model_folder(row.name, row, seed))
        if pipeline.model.config.num_thinking_tokens:
            probe_thinking(pipeline, scenes, questions_per_scene=limit, out=out, progress=False)
        else:
            write_text(out / PROBE_FILE, json.dumps({"verdict": "this model has no thinking tokens.", "ablations": {}}))

    key = short_key(experiment.model_key(row, seed), scenes, limit, keys.DATA_VERSIONS, keys.PROBE_VERSION)
    needs = tuple(job.key for job in experiment.row_jobs("", row) if row.recipe)
    return Job("probed", key, f"controls of {row.name}", 7, 3 * ROOM_SECONDS * len(open_scenes(scenes)), build, needs)


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
        for control, found in probed["ablations"].items():
            if figure := found["groups"].get(OVERALL):
                value, change = (
                    _estimate(figure, "accuracy", "ci95"),
                    _estimate(figure, "difference", "difference_ci95"),
                )
                others = (float(figure["changed"]), {spatial: change}) if control != BASELINE else (None, {})
                result.rows.append(ResultRow(f"{name}: {control}", {spatial: value, changed: others[0]}, others[1]))
    result.figure = lambda: rows_figure(result.columns[:1], result.rows)


def readout_job(experiment: Experiment) -> Job:
    """Return the job that answers one question and reads the student's thinking tokens out."""
    spec = experiment.spec

    def build(out: Path) -> None:
        scene = open_scenes(spec.compared_scenes)[0]
        questions = generate_questions(scene, limit=spec.questions_per_scene)
        question = next(question for question in questions if question.family in FAMILIES)
        pipeline = DollhousePipeline.from_pretrained(experiment.student)
        session = pipeline.encode_scene(scene)
        facts: dict[str, Any] = {"scene": scene.name, "question": question.text, "geometry": question.answer}
        facts |= {"answer": session.ask([question.text])[0], "words": []}
        if pipeline.model.config.thinking_ids:
            reading = LogitLens(pipeline.processor.tokenizer)
            with eager_attention(pipeline.model):
                reading.add(scene.name, record_activations(session, question.text).thinking_logits)
            tokens = reading.result()["examples"][scene.name]
            facts["words"] = [
                [f"{word['token']} ({word['probability']:.0%})" for word in words[:WORDS]] for words in tokens
            ]
        facts["diagnosed"] = session.ask([question.text])[0]
        write_text(out / READOUT_FILE, json.dumps(facts))

    key = short_key(experiment.student_key, spec.compared_scenes, spec.questions_per_scene, keys.PROBE_VERSION)
    return Job("readout", key, "diagnostic mode", 2, 4.0, build)


def readout(experiment: Experiment, result: Result) -> None:
    """Fill the words nearest to each thinking token."""
    entry = experiment.entry(readout_job(experiment))
    if entry is None:
        return
    facts = json.loads((entry / READOUT_FILE).read_text(encoding="utf-8"))
    for number, words in enumerate(facts["words"] or [["no thinking tokens", "", ""]], 1):
        cells = dict(zip((column.name for column in result.columns), words, strict=True))
        result.rows.append(ResultRow(f"<think_{number}>", cells))
    answers = f"answer {facts['answer']}; in diagnostic mode {facts['diagnosed']}; by geometry {facts['geometry']}"
    result.sentences = [f"{facts['scene']}, “{facts['question']}”: {answers}."]


def _estimate(figure: Mapping[str, Any], value: str, interval: str) -> Estimate:
    ends = figure[interval]
    return Estimate(figure[value], None if ends is None else (ends[0], ends[1]), figure["n"], figure["scenes"])
