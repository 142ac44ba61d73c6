"""ScanQA: questions about ScanNet scenes with answers that people gave. Azuma et al. (CVPR 2022).

Knows the authors' file (``specs/formats.md``, section 6); judging is :mod:`short_answers`. The test splits come
without answers and cannot be scored here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dollhouse.errors import QuestionError
from dollhouse.evaluation.benchmarks.annotation_file import field, read_json
from dollhouse.evaluation.benchmarks.benchmark import Benchmark, FrameSelection, Sample, Source, every_nth
from dollhouse.evaluation.benchmarks.short_answers import SCORERS, match_answers

FRAMES = FrameSelection(
    "24 of every 10th exported frame of the scan: with n of them every (n // 24)-th from the first, the tail dropped "
    "(LLaVA-3D's rule)",
    24,
    every_nth(24),
)
SHORT = "{question} Answer the question using one word or one phrase."

#: beginnings of questions -> kind, the first that fits; in the spirit of the paper's types
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
    """place, number, colour, nature, object or other, by the question's first words."""
    lower = question.lower()
    return next((kind for start, kind in _KINDS if lower.startswith(start)), "other")


def read(paths: Sequence[Path]) -> list[Sample]:
    """The samples of ``ScanQA_v1.0_*.json``."""
    samples = []
    for path in paths:
        rows = read_json(path)
        if not isinstance(rows, list):
            raise QuestionError(f"{path}: must hold a list of questions; give ScanQA_v1.0_val.json")
        for number, row in enumerate(rows, 1):
            where = f"{path}, question {number}"
            if not isinstance(row, dict):
                raise QuestionError(f"{where}: is not an object; give ScanQA_v1.0_val.json")
            if "answers" not in row:
                raise QuestionError(f"{where}: has no answers, as in the test splits; give ScanQA_v1.0_val.json")
            question = field(row, "question", str, where)
            answers = field(row, "answers", list, where)
            if not answers or not all(isinstance(answer, str) for answer in answers):
                raise QuestionError(f"{where}: answers must be a list of texts; fetch the file again")
            samples.append(
                Sample(
                    id=field(row, "question_id", str, where),
                    scene=field(row, "scene_id", str, where),
                    kind=kind_of(question),
                    question=question,
                    answers=tuple(answers),
                )
            )
    return samples


BENCHMARK = Benchmark(
    name="scanqa",
    title="ScanQA",
    version="scanqa:1",
    frames=FRAMES,
    prompts={"short": SHORT},
    prompt_of=lambda sample: SHORT.format(question=sample.question),
    source=Source(
        "ScanQA_v1.0_val.json",
        "its authors, github.com/ATR-DBI/ScanQA; the scans from www.scan-net.org",
        "CC BY-NC-SA 3.0; the scans under ScanNet's terms of use, non-commercial",
    ),
    scoring=(
        "em, em_refined and COCO's scores on cleaned answers, as the official evaluation; em_refined_strict gives an "
        "empty answer nothing. METEOR 1.5 and SPICE need Java and are not here. Kinds by first words."
    ),
    scorers=SCORERS,
    read=read,
    judge=match_answers,
)
