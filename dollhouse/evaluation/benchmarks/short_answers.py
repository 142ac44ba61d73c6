"""Judging answers of a word or a phrase against those that people gave, as ScanQA's and SQA3D's evaluations do.

Knows no benchmark. Exact match cleans answers itself; the captioning scores are given cleaned answers, as the official
evaluations do (``specs/llava3d.md``, section 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dollhouse.evaluation.benchmarks.benchmark import BenchmarkResult, Progress, Sample, SampleScores, single_units
from dollhouse.evaluation.metrics.text import score_texts
from dollhouse.evaluation.metrics.text.exact_match import clean_answer

SCORERS = ("exact_match", "coco")
MATCHES = ("em", "em_refined", "em_refined_strict")
MEANS = ("coco_rouge_l", "coco_cider")  #: figures that are the mean of their rows


def match_answers(
    samples: Sequence[Sample], predictions: Sequence[str], progress: Progress | None, *, captions: bool = True
) -> BenchmarkResult:
    """Exact matches and, with ``captions``, COCO's scores on cleaned answers; the headline is ``em``."""
    answers = [sample.answers for sample in samples]
    found = score_texts(predictions, answers, ("exact_match",), progress)
    credits: dict[str, SampleScores] = {name: found[name].rows for name in MATCHES}
    scores: dict[str, Any] = {}
    if captions:
        cleaned = [[clean_answer(answer) for answer in row] for row in answers]
        alike = score_texts([clean_answer(text) for text in predictions], cleaned, ("coco",), progress)
        credits |= {name: alike[name].rows for name in MEANS}
        scores = {name: score.value for name, score in alike.items() if name not in MEANS}
    return BenchmarkResult(single_units(samples), credits, scores)
