"""VSI-Bench: distances, sizes, counts, directions and routes asked about videos of rooms (Yang et al., CVPR 2025).

Reads the authors' file (``docs/specs/formats.md``, section 6). Answers are parsed in three ways: the first
word (official), the first number (lmms-eval since 0.7), or the only number (lenient).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import QuestionError
from dollhouse.evaluation.benchmarks.annotation_file import field, parse_rows
from dollhouse.evaluation.benchmarks.answer_parsing import first_number, first_word, letter_of
from dollhouse.evaluation.benchmarks.benchmark import DEFINITIONS, BenchmarkResult, Sample, define, single_units
from dollhouse.evaluation.metrics.spatial import mean_relative_accuracy, number_in

DIRECTIONS = ("object_rel_direction_easy", "object_rel_direction_medium", "object_rel_direction_hard")
CHOICES = (*DIRECTIONS, "object_rel_distance", "route_planning", "obj_appearance_order")
NUMBERS = ("object_abs_distance", "object_counting", "object_size_estimation", "room_size_estimation")
#: the eight that are averaged: the three directions are one
GROUPS = (DIRECTIONS, *((kind,) for kind in (*CHOICES[3:], *NUMBERS)))
PROMPTS = DEFINITIONS["vsibench"]["prompts"]
_COLUMNS = ("id", "dataset", "scene_name", "question_type", "question", "ground_truth", "options")


def read(paths: Sequence[Path]) -> list[Sample]:
    """Read the samples of ``test.jsonl`` or ``test-*.parquet``."""
    return parse_rows(paths, _COLUMNS, _sample)


def _sample(row: dict[str, Any], where: str) -> Sample:
    kind, truth = field(row, "question_type", str, where), str(field(row, "ground_truth", (str, int, float), where))
    options = row.get("options") or []
    if kind in NUMBERS:
        if not _number(truth):
            raise QuestionError(f"{where}: ground_truth {truth!r} of {kind} is not a number above zero; fetch it again")
    elif kind in CHOICES:
        if truth not in _lettered(options):
            raise QuestionError(f"{where}: ground_truth {truth!r} is not the letter of an option; fetch it again")
    else:
        raise QuestionError(f"{where}: question_type {kind!r} is unknown; there are {', '.join((*CHOICES, *NUMBERS))}")
    dataset, scene = field(row, "dataset", str, where), field(row, "scene_name", str, where)
    return Sample(
        id=str(field(row, "id", (int, str), where)),
        scene=f"{dataset}/{scene}",
        kind=kind,
        question=field(row, "question", str, where),
        answers=(truth,),
        facts={"options": list(options)},
        media=(f"{dataset}/{scene}.mp4",),
    )


def _lettered(options: Sequence[str]) -> Mapping[str, str]:
    """Parse options such as "A. the sofa" to letter -> text."""
    return {letter.strip(): text.strip() for letter, _, text in (option.partition(".") for option in options)}


def _number(text: str) -> float | None:
    try:
        return float(text) if math.isfinite(float(text)) else None
    except ValueError:
        return None


def prompt_of(sample: Sample) -> str:
    template = PROMPTS["number" if sample.kind in NUMBERS else "choice"]
    return template.format(question=sample.question, options="\n".join(sample.facts["options"]))


def score(samples: Sequence[Sample], predictions: Sequence[str]) -> BenchmarkResult:
    """Score accuracy of choices and mean relative accuracy of numbers, for each way of parsing."""
    official, lmms_eval, lenient = (np.empty(len(samples)) for _ in range(3))
    for place, (sample, text) in enumerate(zip(samples, predictions, strict=True)):
        word, truth = first_word(text), sample.answers[0]
        if sample.kind in NUMBERS:
            official[place] = mean_relative_accuracy(_number(word), float(truth))
            lmms_eval[place] = mean_relative_accuracy(first_number(text), float(truth))
            lenient[place] = mean_relative_accuracy(number_in(text), float(truth))
        else:
            official[place] = lmms_eval[place] = word.lower() == truth.lower()
            lenient[place] = letter_of(text, _lettered(sample.facts["options"])) == truth
    return BenchmarkResult(
        single_units(samples), {"official": official, "lmms_eval": lmms_eval, "read": lenient}, groups=GROUPS
    )


BENCHMARK = define("vsibench", read, score, prompt_of=prompt_of)
