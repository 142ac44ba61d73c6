"""ScanQA: questions about ScanNet scenes with human answers (Azuma et al., CVPR 2022).

Reads the authors' file (``docs/specs/formats.md``, section 6). The test splits have no answers and cannot be scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dollhouse.errors import QuestionError
from dollhouse.evaluation.benchmarks.annotation_file import field, parse_rows, text_list
from dollhouse.evaluation.benchmarks.benchmark import BenchmarkResult, Sample, SampleScores, define, single_units
from dollhouse.evaluation.metrics.text import score_texts
from dollhouse.evaluation.metrics.text.exact_match import clean_answer

MATCHES = ("em", "em_refined", "em_refined_strict")
MEANS = ("coco_rouge_l", "coco_cider")  #: figures that are the mean of their rows

#: beginnings of questions -> kind, the first that matches; after the paper's types
_KINDS = (
    ("where", "place"),
    ("on what", "place"),
    ("in what", "place"),
    ("how many", "number"),
    ("what color", "colour"),
    ("what type", "nature"),
    ("what kind", "nature"),
    ("what shape", "nature"),
    ("what", "object"),
)


def kind_of(question: str) -> str:
    """Classify a question by its first words: place, number, colour, nature, object or other."""
    lower = question.lower()
    return next((kind for start, kind in _KINDS if lower.startswith(start)), "other")


def read(paths: Sequence[Path]) -> list[Sample]:
    """Read the samples of ``ScanQA_v1.0_*.json``."""
    return parse_rows(paths, (), _sample)


def _sample(row: dict[str, Any], where: str) -> Sample:
    if "answers" not in row:
        raise QuestionError(f"{where}: has no answers, as in the test splits; give ScanQA_v1.0_val.json")
    question = field(row, "question", str, where)
    return Sample(
        id=field(row, "question_id", str, where),
        scene=field(row, "scene_id", str, where),
        kind=kind_of(question),
        question=question,
        answers=text_list(row, "answers", where),
    )


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


BENCHMARK = define("scanqa", read, match_answers)
