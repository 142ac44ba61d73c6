"""ScanQA: questions about ScanNet scenes with human answers (Azuma et al., CVPR 2022).

Reads the authors' file (``specs/formats.md``, section 6). The test splits have no answers and cannot be scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dollhouse.errors import QuestionError
from dollhouse.evaluation.benchmarks.annotation_file import field, read_rows, text_list
from dollhouse.evaluation.benchmarks.benchmark import Benchmark, FrameSelection, Sample, Source, every_nth
from dollhouse.evaluation.benchmarks.short_answers import SCORERS, match_answers

FRAMES = FrameSelection(
    "24 of every 10th exported frame of the scan: with n of them every (n // 24)-th from the first, the tail dropped "
    "(LLaVA-3D's rule)",
    24,
    every_nth(24),
)
SHORT = "{question} Answer the question using one word or one phrase."

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
    samples = []
    for path in paths:
        for number, row in enumerate(read_rows(path, ()), 1):
            where = f"{path}, question {number}"
            if "answers" not in row:
                raise QuestionError(f"{where}: has no answers, as in the test splits; give ScanQA_v1.0_val.json")
            question = field(row, "question", str, where)
            samples.append(
                Sample(
                    id=field(row, "question_id", str, where),
                    scene=field(row, "scene_id", str, where),
                    kind=kind_of(question),
                    question=question,
                    answers=text_list(row, "answers", where),
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
    score=match_answers,
)
