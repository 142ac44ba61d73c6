"""Scores of short answers against human ones, as in ScanQA's and SQA3D's evaluations.

The captioning scores get cleaned answers, as in the official evaluations (``docs/specs/llava3d.md``, section 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dollhouse.evaluation.benchmarks.benchmark import BenchmarkResult, Sample, SampleScores, single_units
from dollhouse.evaluation.metrics.text import score_texts
from dollhouse.evaluation.metrics.text.exact_match import clean_answer

SCORERS = ("exact_match", "coco")
MATCHES = ("em", "em_refined", "em_refined_strict")
MEANS = ("coco_rouge_l", "coco_cider")  #: figures that are the mean of their rows


def match_answers(samples: Sequence[Sample], predictions: Sequence[str], *, captions: bool = True) -> BenchmarkResult:
    """Score exact matches and, with ``captions``, COCO's scores of cleaned answers; the headline is ``em``."""
    answers = [sample.answers for sample in samples]
    matches = score_texts(predictions, answers, ("exact_match",))
    credits: dict[str, SampleScores] = {name: matches[name].rows for name in MATCHES}
    scores: dict[str, Any] = {}
    if captions:
        cleaned = [[clean_answer(answer) for answer in row] for row in answers]
        coco = score_texts([clean_answer(text) for text in predictions], cleaned, ("coco",))
        credits |= {name: coco[name].rows for name in MEANS}
        scores = {name: score.value for name, score in coco.items() if name not in MEANS}
    return BenchmarkResult(single_units(samples), credits, scores)
