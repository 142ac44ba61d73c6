"""3DSRBench: choices about photos, repeated with rotated choices and a mirrored photo (Ma et al., ICCV 2025).

Reads the authors' table (``docs/specs/formats.md``, section 6) without its photos.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import QuestionError
from dollhouse.evaluation.benchmarks.annotation_file import field, parse_rows
from dollhouse.evaluation.benchmarks.answer_parsing import letter_of
from dollhouse.evaluation.benchmarks.benchmark import DEFINITIONS, BenchmarkResult, Sample, ScoreGroup, define

TYPES = ("height", "location", "orientation", "multi_object")  #: a category's name begins with its type
CHOICE = DEFINITIONS["3dsrbench"]["prompts"]["choice"]
_LETTERS = ("A", "B", "C", "D")
_COLUMNS = ("qid", "question", *_LETTERS, "answer", "category")
_ROTATED, _VARIANT = re.compile(r"-\d$"), re.compile(r"(?:-flip|-\d)+$")


def read(paths: Sequence[Path]) -> list[Sample]:
    """Read the samples of ``3dsrbench_v1_vlmevalkit_circular.tsv``, or a Parquet or JSONL file with its columns."""
    return parse_rows(paths, _COLUMNS, _sample)


def _sample(row: dict[str, Any], where: str) -> Sample:
    id, category = field(row, "qid", str, where), field(row, "category", str, where)
    choices = {letter: str(row[letter]) for letter in _LETTERS if row.get(letter) not in (None, "")}
    answer = field(row, "answer", str, where)
    if answer not in choices:
        raise QuestionError(f"{where}: the answer {answer!r} is none of {', '.join(choices)}; fetch the file again")
    if not category.startswith(TYPES):
        raise QuestionError(f"{where}: category {category!r} is of no type; there are {', '.join(TYPES)}")
    return Sample(
        id=id,
        scene=_VARIANT.sub("", id),  # all variants of a photo are resampled together
        kind=category,
        question=field(row, "question", str, where),
        answers=(answer,),
        facts={"choices": choices},
        media=(f"{id}.jpg",),
    )


def prompt_of(sample: Sample) -> str:
    options = "\n".join(f"{letter}. {text}" for letter, text in sample.facts["choices"].items())
    return CHOICE.format(question=sample.question, options=options)


def score(samples: Sequence[Sample], predictions: Sequence[str]) -> BenchmarkResult:
    """Score ``circular`` (correct under every rotation of the choices), ``vanilla``, ``flip``, ``circular_flip``."""
    correct = [
        letter_of(text, sample.facts["choices"]) == sample.answers[0]
        for sample, text in zip(samples, predictions, strict=True)
    ]
    rotations: dict[str, list[int]] = defaultdict(list)
    variants: dict[str, list[int]] = defaultdict(list)
    mirrored: dict[str, list[int]] = defaultdict(list)
    for place, sample in enumerate(samples):
        mirrored[sample.id.replace("-flip", "")].append(place)
        rotations[_ROTATED.sub("", sample.id)].append(place)
        variants[sample.scene].append(place)
    units = [
        ScoreGroup(samples[places[0]].scene, samples[places[0]].kind, tuple(places)) for places in rotations.values()
    ]
    circular = np.array([all(correct[place] for place in unit.members) for unit in units], dtype=np.float64)
    scores: dict[str, Any] = {
        "vanilla": _share([float(value) for value in correct]),
        "flip": _share([float(all(correct[place] for place in places)) for places in mirrored.values()]),
        "circular_flip": _share([float(all(correct[place] for place in places)) for places in variants.values()]),
    }
    for name in TYPES:
        of_type = [credit for unit, credit in zip(units, circular.tolist(), strict=True) if unit.kind.startswith(name)]
        if of_type:
            scores[name] = _share(of_type)
    return BenchmarkResult(units, {"circular": circular}, scores)


def _share(credits: Sequence[float]) -> dict[str, float]:
    return {"value": math.fsum(credits) / len(credits), "n": len(credits)}


BENCHMARK = define("3dsrbench", read, score, prompt_of=prompt_of)
