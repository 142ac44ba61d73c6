"""Dollhouse's own questions about procedural rooms and annotated scans.

Questions are those of :mod:`dollhouse.questions.generate`, scores those of :mod:`dollhouse.evaluation.metrics.spatial`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.evaluation.benchmarks.annotation_file import field, parse_rows
from dollhouse.evaluation.benchmarks.benchmark import BenchmarkResult, Sample, ScoreGroup, define
from dollhouse.evaluation.metrics.curves import answer_curves
from dollhouse.evaluation.metrics.spatial import AnswerScorer, ChanceScorer, is_correct
from dollhouse.questions.generate import FAMILIES, Question


def read(paths: Sequence[Path]) -> list[Sample]:
    """Read the questions of ``predictions.jsonl`` files; their answers are ignored."""
    kinds = dict.fromkeys(("id", "scene", "family", "form", "question", "answer"), str) | {"choices": list}

    def parse(row: dict[str, Any], where: str) -> Sample:
        return sample_of({name: field(row, name, kind, where) for name, kind in kinds.items()} | row)

    return parse_rows(paths, (), parse)


def question_of(row: Mapping[str, Any]) -> Question:
    """Rebuild the question of a row of ``predictions.jsonl``."""
    id, scene, family, form, text, answer = (
        row[name] for name in ("id", "scene", "family", "form", "question", "answer")
    )
    accept = tuple(row.get("accept") or ())
    return Question(id, scene, family, form, text, answer, tuple(row["choices"]), (), None, accept)


def sample_of_question(question: Question) -> Sample:
    """Convert a generated question to a sample."""
    facts = {"form": question.form, "choices": list(question.choices)} | _accept(question)
    return Sample(question.id, question.scene, question.family, question.text, (question.answer,), facts)


def sample_of(row: Mapping[str, Any]) -> Sample:
    """Rebuild the sample of a row of ``predictions.jsonl``."""
    return sample_of_question(question_of(row))


def row_of_question(
    question: Question,
    prediction: str,
    correct: bool | None,
    confidence: float | None = None,
    blind_prediction: str | None = None,
    distance: float | None = None,
    objects: int | None = None,
) -> dict[str, Any]:
    """Build a row of ``predictions.jsonl``; a distance in metres and a number of objects are facts of the scene."""
    return {
        "scene": question.scene,
        "id": question.id,
        "family": question.family,
        "form": question.form,
        "question": question.text,
        "choices": list(question.choices),
        "answer": question.answer,
        **_accept(question),
        "prediction": prediction,
        "confidence": confidence,
        "blind_prediction": blind_prediction,
        "correct": correct,
        "distance": distance,
        "objects": objects,
    }


def row_of(sample: Sample, prediction: str, prompt: str | None, score: float | None) -> dict[str, Any]:
    """Build a row of ``predictions.jsonl`` without facts of the scene."""
    return row_of_question(_question(sample), prediction, None if score is None else bool(score))


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
        questions = list(map(question_of, scene))
        chance.add(questions)
        for name, scorer in scorers.items():
            if all(isinstance(row.get(name), str) for row in scene):
                scorer.add(questions, [row[name] for row in scene])
    scored = [{**row, "correct": is_correct(question_of(row), row["prediction"])} for row in rows]
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
    form, choices, accept = (sample.facts.get(name) for name in ("form", "choices", "accept"))
    known = (sample.id, sample.scene, sample.kind, str(form), sample.question, sample.answers[0])
    return Question(*known, tuple(choices or ()), (), None, tuple(accept or ()))


def _accept(question: Question) -> dict[str, list[str]]:
    return {"accept": list(question.accept)} if question.accept else {}


BENCHMARK = define("rooms", read, score, sample_of=sample_of, row_of=row_of, more_scores=answer_metrics)
