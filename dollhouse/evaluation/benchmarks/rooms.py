"""Dollhouse's own questions about rooms and annotated scans: the four spatial families, and a few besides.

Knows the lines of ``predictions.jsonl`` that ``dollhouse evaluate`` writes; questions are made from scenes by
:mod:`dollhouse.questions.generate` and judged by :mod:`dollhouse.evaluation.metrics.spatial`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.evaluation.benchmarks.annotation_file import field, read_rows
from dollhouse.evaluation.benchmarks.benchmark import (
    Benchmark,
    BenchmarkResult,
    FrameSelection,
    Progress,
    Sample,
    ScoreGroup,
    Source,
    all_frames,
)
from dollhouse.evaluation.metrics.curves import answer_curves
from dollhouse.evaluation.metrics.spatial import AnswerScorer, ChanceScorer, is_correct
from dollhouse.questions.generate import FAMILIES, Question

ASKED = "{question}"


def read(paths: Sequence[Path]) -> list[Sample]:
    """The questions of files that ``dollhouse evaluate`` wrote; what was answered there is passed over."""
    return [
        sample_of({key: field(row, key, kind, f"{path}, line {number}") for key, kind in _KEYS.items()})
        for path in paths
        for number, row in enumerate(read_rows(path, ()), 1)
    ]


_KEYS = dict.fromkeys(("id", "scene", "family", "form", "question", "answer"), str) | {"choices": list}


def sample_of(row: Mapping[str, Any]) -> Sample:
    """The sample of a line of ``predictions.jsonl``."""
    facts = {"form": row["form"], "choices": list(row["choices"])}
    return Sample(row["id"], row["scene"], row["family"], row["question"], (row["answer"],), facts)


def sample_of_question(question: Question) -> Sample:
    """A question that was made from a scene, as a sample."""
    facts = {"form": question.form, "choices": list(question.choices)}
    return Sample(question.id, question.scene, question.family, question.text, (question.answer,), facts)


def row_of(sample: Sample, prediction: str, prompt: str | None, score: float | None) -> dict[str, Any]:
    """A line of ``predictions.jsonl`` as ``dollhouse evaluate`` writes it, without what only the scene tells."""
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


def judge(samples: Sequence[Sample], predictions: Sequence[str], progress: Progress | None = None) -> BenchmarkResult:
    """Accuracy by family; descriptions are in no unit."""
    units, credits = [], []
    for place, (sample, text) in enumerate(zip(samples, predictions, strict=True)):
        verdict = is_correct(_question(sample), text)
        if verdict is not None:
            units.append(ScoreGroup(sample.scene, sample.kind, (place,)))
            credits.append(float(verdict))
    return BenchmarkResult(units, {"accuracy": np.array(credits)}, counted=frozenset(FAMILIES))


def answer_metrics(rows: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    """What ``metrics.json`` says about answers, from its ``predictions.jsonl`` alone.

    ``answers``, ``blind`` (None where no blind student was asked), ``chance`` and ``curves``
    (:func:`~dollhouse.evaluation.metrics.curves.answer_curves`).
    """
    scorers = {"prediction": AnswerScorer(seed), "blind_prediction": AnswerScorer(seed)}
    chance = ChanceScorer()
    for scene in _by_scene(rows):
        questions = [_question(sample_of(row)) for row in scene]
        chance.add(questions)
        for said, scorer in scorers.items():
            if all(isinstance(row.get(said), str) for row in scene):
                scorer.add(questions, [row[said] for row in scene])
    judged = [{**row, "correct": is_correct(_question(sample_of(row)), row["prediction"])} for row in rows]
    return {
        "answers": scorers["prediction"].result(),
        "blind": scorers["blind_prediction"].result(),
        "chance": chance.result(),
        "curves": answer_curves(judged, seed),
    }


def _by_scene(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Rows that were asked of one scene together: a new scene begins where the name changes, or an id comes again."""
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
    prompts={"asked": ASKED},
    prompt_of=lambda sample: ASKED.format(question=sample.question),
    source=Source(
        "nothing: rooms are made on the spot; give predictions.jsonl, which dollhouse evaluate --out writes",
        "dollhouse evaluate --scenes rooms:test/0-199 --out FOLDER",
        "Apache-2.0",
    ),
    scoring=(
        "an answer is right when it says what geometry says, case, articles and punctuation aside; a distance may be "
        "0.25 m off. Overall counts the four families; descriptions are not judged."
    ),
    scorers=("spatial", "depth", "boxes"),
    read=read,
    judge=judge,
    from_row=sample_of,
    to_row=row_of,
    more_scores=answer_metrics,
)
