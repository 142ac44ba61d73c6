"""3DSRBench: choices about photos, repeated with rotated choices and a mirrored photo (Ma et al., ICCV 2025).

Reads the authors' table (``docs/specs/formats.md``, section 6) without its photos.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import QuestionError
from dollhouse.evaluation.benchmarks.annotation_file import field, parse_rows
from dollhouse.evaluation.benchmarks.answer_parsing import letter_of
from dollhouse.evaluation.benchmarks.benchmark import DEFINITIONS, BenchmarkResult, Sample, ScoreGroup, define, share

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
    all_correct: dict[str, dict[str, list[int]]] = {"flip": {}, "circular_flip": {}, "circular": {}}
    for place, sample in enumerate(samples):
        keys = sample.id.replace("-flip", ""), sample.scene, _ROTATED.sub("", sample.id)
        for groups, key in zip(all_correct.values(), keys, strict=True):
            groups.setdefault(key, []).append(place)
    credits = {
        name: [float(all(correct[place] for place in places)) for places in groups.values()]
        for name, groups in all_correct.items()
    }
    circular = credits.pop("circular")
    units = [
        ScoreGroup(samples[first].scene, samples[first].kind, (first, *places))
        for first, *places in all_correct["circular"].values()
    ]
    credits = {"vanilla": list(map(float, correct)), **credits}
    for name in TYPES:
        credits[name] = [credit for unit, credit in zip(units, circular, strict=True) if unit.kind.startswith(name)]
    scores = {name: share(values) for name, values in credits.items() if values}
    return BenchmarkResult(units, {"circular": np.array(circular)}, scores)


BENCHMARK = define("3dsrbench", read, score, prompt_of=prompt_of)
