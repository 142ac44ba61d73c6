"""Our own questions about photos of real rooms; the questions ship with the package, the photos do not.

``docs/guides/evaluate.md`` lists the sources of the photos and how they are laid out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import QuestionError
from dollhouse.evaluation.benchmarks.annotation_file import field, parse_rows, text_list
from dollhouse.evaluation.benchmarks.benchmark import (
    BenchmarkResult,
    Sample,
    SampleScores,
    define,
    sample_of,
    single_units,
)
from dollhouse.evaluation.benchmarks.summary import ClusterAggregator
from dollhouse.evaluation.metrics.calibration import calibrate
from dollhouse.evaluation.metrics.spatial import normalise
from dollhouse.scenes.labels import LabelMap, default_labels

QUESTIONS = Path(__file__).with_name("real_photos.jsonl")  #: those that ship
_SAME = {"gray": "grey", "none": "0", "no 1": "0"}
_LABELS = LabelMap(default_labels())
_VIEW = re.compile(r"^in (?:view|photo|image) \d+, ")
_EITHER = re.compile(r"which .*?, (?P<a>.+) or (?P<b>.+)\?$")
_YES_NO = re.compile(r"(?:is|are|does|do|can) ")


def read(paths: Sequence[Path]) -> list[Sample]:
    """Read rows ``{scene, id, family, question, answer, accept}`` of JSONL files."""
    return parse_rows(paths, (), _sample)


def _sample(row: dict[str, Any], where: str) -> Sample:
    id, scene, family, question, answer = (
        field(row, name, str, where) for name in ("id", "scene", "family", "question", "answer")
    )
    if not question.strip():
        raise QuestionError(f"{where}: the question is empty; write it in words")
    accepted = tuple(dict.fromkeys((answer, *text_list(row, "accept", where))))
    if empty := [text for text in accepted if not canonical(text)]:
        raise QuestionError(f"{where}: the answer {empty[0]!r} holds no word and no number")
    return Sample(id, scene, family, question, accepted, {"choices": list(choices_of(question, accepted))})


def canonical(answer: str) -> str:
    """Normalise an answer: case, articles, punctuation, number words, spelling, and aliases and plurals of labels."""
    text = normalise(answer)
    text = _SAME.get(text, text)
    return _LABELS.map(text) or text


def choices_of(question: str, accepted: Sequence[str]) -> tuple[str, ...]:
    """Return the answers that a question offers; () where it offers none, or not the accepted one."""
    text = _VIEW.sub("", question.lower().strip())
    if "left or right" in text:
        choices: tuple[str, ...] = ("left", "right")
    elif either := _EITHER.match(text):
        choices = either["a"], either["b"]
    else:
        choices = ("yes", "no") if _YES_NO.match(text) else ()
    choices = tuple(map(canonical, choices))
    return choices if {canonical(answer) for answer in accepted} & set(choices) else ()


def is_correct(sample: Sample, prediction: str) -> bool:
    """Return whether an answer is accepted; of a list ("the lamp and the vase"), every item must be."""
    accepted = set(map(canonical, sample.answers))
    items = [canonical(item) for item in re.split(r",|;|\band\b", prediction.lower()) if normalise(item)]
    return canonical(prediction) in accepted or (bool(items) and accepted.issuperset(items))


def score(samples: Sequence[Sample], predictions: Sequence[str]) -> BenchmarkResult:
    """Score accuracy by family; overall is over all questions."""
    return BenchmarkResult(single_units(samples), {"accuracy": _credits(samples, predictions)})


def control_metrics(rows: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    """Compute what stands beside the accuracy, from ``predictions.jsonl`` alone.

    Returns:
        ``controls``: ``blind`` (where there is one), ``chance`` and ``majority``, each ``{overall, kinds}``;
        ``over_blind``, the paired difference; ``majority_answers``; and ``calibration``.
    """
    samples = list(map(sample_of, rows))
    correct = _credits(samples, [row["prediction"] for row in rows])
    table = ClusterAggregator(single_units(samples), sorted({sample.kind for sample in samples}))
    constant = {kind: _majority([s for s in samples if s.kind == kind]) for kind in table.kinds}
    majority = _credits(samples, [constant[sample.kind] for sample in samples])
    controls = {"chance": _chance(samples, table.kinds), "majority": _figures(table, majority, seed)}
    over_blind = None
    if all(isinstance(row.get("blind_prediction"), str) for row in rows):
        blind = _credits(samples, [row["blind_prediction"] for row in rows])
        controls = {"blind": _figures(table, blind, seed), **controls}
        over_blind = _figures(table, correct - blind, seed)
    confidences = [row.get("confidence") for row in rows]
    scenes = [sample.scene for sample in samples]
    return {
        "controls": controls,
        "over_blind": over_blind,
        "majority_answers": constant,
        "calibration": calibrate(scenes, confidences, correct.astype(bool).tolist()),
    }


def _credits(samples: Sequence[Sample], predictions: Sequence[str]) -> SampleScores:
    return np.array([is_correct(*pair) for pair in zip(samples, predictions, strict=True)], dtype=np.float64)


def _figures(table: ClusterAggregator, credits: SampleScores, seed: int) -> dict[str, Any]:
    kinds = {kind: table.of(credits, [kind], seed) for kind in table.kinds}
    return {"overall": table.of(credits, table.kinds, seed), "kinds": kinds}


def _chance(samples: Sequence[Sample], kinds: Sequence[str]) -> dict[str, Any]:
    """Average the accuracy of guessing among the choices of questions; 0 for those that offer none."""
    chances = [(sample.kind, 1.0 / (len(sample.facts["choices"]) or math.inf)) for sample in samples]

    def entry(wanted: Sequence[str]) -> dict[str, Any]:
        values = [chance for kind, chance in chances if kind in wanted]
        return {"value": math.fsum(values) / len(values), "n": len(values)}

    return {"overall": entry(kinds), "kinds": {kind: entry([kind]) for kind in kinds}}


def _majority(samples: Sequence[Sample]) -> str:
    """Return the constant answer that most of these very questions accept: the best that any constant can reach."""
    counts: dict[str, int] = {}
    for sample in samples:
        for answer in set(map(canonical, sample.answers)):
            counts[answer] = counts.get(answer, 0) + 1
    return min(counts, key=lambda answer: (-counts[answer], answer))


BENCHMARK = define("realphotos", read, score, more_scores=control_metrics, shipped=(QUESTIONS,), controlled=True)
