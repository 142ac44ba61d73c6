"""Dollhouse's own questions about procedural rooms and annotated scans.

Questions are those of :mod:`dollhouse.questions.generate`, scores those of :mod:`dollhouse.evaluation.metrics.spatial`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.evaluation.benchmarks.annotation_file import field, parse_rows
from dollhouse.evaluation.benchmarks.benchmark import (
    Benchmark,
    BenchmarkResult,
    FrameSelection,
    Sample,
    ScoreGroup,
    Source,
    all_frames,
)
from dollhouse.evaluation.metrics.curves import answer_curves
from dollhouse.evaluation.metrics.spatial import AnswerScorer, ChanceScorer, is_correct
from dollhouse.questions.generate import FAMILIES, Question

PROMPT = "{question}"


def read(paths: Sequence[Path]) -> list[Sample]:
    """Read the questions of ``predictions.jsonl`` files; their answers are ignored."""
    return parse_rows(
        paths, (), lambda row, where: sample_of({key: field(row, key, kind, where) for key, kind in _KEYS.items()})
    )


_KEYS = dict.fromkeys(("id", "scene", "family", "form", "question", "answer"), str) | {"choices": list}


def sample_of(row: Mapping[str, Any]) -> Sample:
    """Rebuild the sample of a row of ``predictions.jsonl``."""
    facts = {"form": row["form"], "choices": list(row["choices"])}
    return Sample(row["id"], row["scene"], row["family"], row["question"], (row["answer"],), facts)


def sample_of_question(question: Question) -> Sample:
    """Convert a generated question to a sample."""
    facts = {"form": question.form, "choices": list(question.choices)}
    return Sample(question.id, question.scene, question.family, question.text, (question.answer,), facts)


def row_of(sample: Sample, prediction: str, prompt: str | None, score: float | None) -> dict[str, Any]:
    """Build a row of ``predictions.jsonl`` as ``dollhouse evaluate`` does, without facts of the scene."""
    return {
        "scene": sample.scene,
        "id": sample.id,
        "family": sample.kind,
        "form": sample.facts["form"],
        "question": sample.question,
        "choices": sample.facts["choices"],
        "answer": sample.answers[0],
        "prediction": prediction,
        "confidence": None,
        "blind_prediction": None,
        "correct": None if score is None else bool(score),
        "distance": None,
        "objects": None,
    }


def score(samples: Sequence[Sample], predictions: Sequence[str]) -> BenchmarkResult:
    """Score accuracy by family; descriptions are in no group."""
    units, credits = [], []
    for place, (sample, text) in enumerate(zip(samples, predictions, strict=True)):
        correct = is_correct(_question(sample), text)
        if correct is not None:
            units.append(ScoreGroup(sample.scene, sample.kind, (place,)))
            credits.append(float(correct))
    return BenchmarkResult(units, {"accuracy": np.array(credits)}, counted=frozenset(FAMILIES))


def answer_metrics(rows: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    """Compute the answer metrics of ``metrics.json`` from ``predictions.jsonl`` alone.

    Returns:
        ``answers``, ``blind`` (None without a blind control), ``chance`` and ``curves``.
    """
    scorers = {"prediction": AnswerScorer(seed), "blind_prediction": AnswerScorer(seed)}
    chance = ChanceScorer()
    for scene in _by_scene(rows):
        questions = [_question(sample_of(row)) for row in scene]
        chance.add(questions)
        for name, scorer in scorers.items():
            if all(isinstance(row.get(name), str) for row in scene):
                scorer.add(questions, [row[name] for row in scene])
    scored = [{**row, "correct": is_correct(_question(sample_of(row)), row["prediction"])} for row in rows]
    return {
        "answers": scorers["prediction"].result(),
        "blind": scorers["blind_prediction"].result(),
        "chance": chance.result(),
        "curves": answer_curves(scored, seed),
    }


def _by_scene(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Split rows into scenes: a new one begins where the name changes, or an id is repeated."""
    scene: list[Mapping[str, Any]] = []
    ids: set[str] = set()
    for row in rows:
        if scene and (row["scene"] != scene[0]["scene"] or row["id"] in ids):
            yield scene
            scene, ids = [], set()
        scene.append(row)
        ids.add(row["id"])
    if scene:
        yield scene


def _question(sample: Sample) -> Question:
    form, choices = sample.facts["form"], tuple(sample.facts["choices"])
    return Question(sample.id, sample.scene, sample.kind, form, sample.question, sample.answers[0], choices, (), None)


BENCHMARK = Benchmark(
    name="rooms",
    title="Dollhouse's rooms",
    version="rooms:2",
    frames=FrameSelection("all views of a scene, as wide as the model sees", None, all_frames),
    prompts={"question": PROMPT},
    prompt_of=lambda sample: PROMPT.format(question=sample.question),
    source=Source(
        "nothing: rooms are generated; give predictions.jsonl, which dollhouse evaluate --out writes",
        "dollhouse evaluate --scenes rooms:test/0-199 --out FOLDER",
        "Apache-2.0",
    ),
    scoring=(
        "an answer is correct when it equals the one that geometry gives, case, articles and punctuation aside; a "
        "distance may be 0.25 m off. Overall counts the four families; descriptions are not scored."
    ),
    scorers=("spatial", "depth", "boxes"),
    read=read,
    score=score,
    from_row=sample_of,
    to_row=row_of,
    more_scores=answer_metrics,
)
