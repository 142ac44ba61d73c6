"""SQA3D: questions asked from a described position in a ScanNet scene (Ma et al., ICLR 2023).

Reads the authors' two files (``docs/specs/formats.md``, section 6), in either order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dollhouse.errors import QuestionError
from dollhouse.evaluation.benchmarks.annotation_file import field, read_json
from dollhouse.evaluation.benchmarks.benchmark import DEFINITIONS, BenchmarkResult, Sample, define
from dollhouse.evaluation.benchmarks.scanqa import MATCHES, match_answers
from dollhouse.evaluation.metrics.text.exact_match import official_means
from dollhouse.evaluation.metrics.text.score import TextScore

KINDS = ("what", "is", "how", "can", "which", "other")  #: the official evaluation counts them from 0
_FILES = DEFINITIONS["sqa3d"]["source"]["files"]


def kind_of(question: str) -> str:
    """Return one of KINDS, by the question's first word."""
    first = question.split(maxsplit=1)[0].lower() if question.strip() else ""
    return first if first in KINDS else "other"


def read(paths: Sequence[Path]) -> list[Sample]:
    """Read the samples of a questions file and an annotations file."""
    questions: dict[str, dict[str, Any]] = {}
    answers_of: dict[str, list[Any]] = {}
    for path in paths:
        data = read_json(path)
        if not isinstance(data, dict) or not ({"questions", "annotations"} & data.keys()):
            raise QuestionError(f"{path}: holds neither 'questions' nor 'annotations'; give both {_FILES}")
        for number, row in enumerate(data.get("questions", ()), 1):
            questions[str(field(row, "question_id", (int, str), f"{path}, question {number}"))] = row
        for number, row in enumerate(data.get("annotations", ()), 1):
            where = f"{path}, annotation {number}"
            answers = field(row, "answers", list, where)
            id = str(field(row, "question_id", (int, str), where))
            answers_of[id] = [field(answer, "answer", str, where) for answer in answers]
    if not questions or not answers_of:
        lacking = "annotations" if questions else "questions"
        raise QuestionError(f"{paths[0]}: the file of {lacking} is missing; give both {_FILES}")
    unanswered = [id for id in questions if not answers_of.get(id)]
    if unanswered:
        raise QuestionError(
            f"{paths[0]}: {len(unanswered)} of {len(questions)} questions have no answer, first {unanswered[0]}; "
            "give the two files of the same split"
        )
    samples = []
    for id, row in questions.items():
        where = f"{paths[0]}, question {id}"
        question = field(row, "question", str, where)
        scene, facts = field(row, "scene_id", str, where), {"situation": field(row, "situation", str, where)}
        samples.append(Sample(id, scene, kind_of(question), question, tuple(answers_of[id]), facts))
    return samples


def score(samples: Sequence[Sample], predictions: Sequence[str]) -> BenchmarkResult:
    """Score exact matches, with means by kind as the official evaluation prints them."""
    result = match_answers(samples, predictions, captions=False)
    kinds = [KINDS.index(sample.kind) for sample in samples]
    official: dict[str, Any] = {}
    for name in MATCHES[:2]:
        rows = result.credits[name]
        means = official_means(TextScore(float(rows.mean()), rows), kinds)
        official |= {f"official_{name}_type{kind}": mean for kind, mean in enumerate(means)}
    return replace(result, scores=official)


BENCHMARK = define("sqa3d", read, score)
