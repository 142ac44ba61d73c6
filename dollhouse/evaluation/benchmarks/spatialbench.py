"""SpatialBench: size, reach, position, existence and counts asked about photos (Cai et al., SpatialBot, 2024).

Reads the authors' files (``docs/specs/formats.md``, section 6), one a kind. Their evaluation searches the answer's text
in the prediction; in three of the files two consecutive questions are a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dollhouse.errors import QuestionError
from dollhouse.evaluation.benchmarks.annotation_file import field, read_rows
from dollhouse.evaluation.benchmarks.benchmark import BenchmarkResult, Sample, ScoreGroup, define
from dollhouse.evaluation.metrics.spatial import number_in

PAIRED = ("size", "reach", "existence")
KINDS = ("size", "reach", "positional", "existence", "counting")  #: the authors do not score "grounding"


def read(paths: Sequence[Path]) -> list[Sample]:
    """Read the samples of ``size.json`` and so on, or of a folder that holds some of them."""
    samples = []
    files = [file for path in paths for file in (_inside(path) if path.is_dir() else [path])]
    for path in files:
        if path.stem not in KINDS:
            raise QuestionError(f"{path}: is none of {', '.join(f'{kind}.json' for kind in KINDS)}")
        rows = read_rows(path, ())
        if path.stem in PAIRED and len(rows) % 2:
            raise QuestionError(f"{path}: its questions come in pairs, but there are {len(rows)}; fetch it again")
        samples += [_sample(path.stem, place, row, f"{path}, question {place + 1}") for place, row in enumerate(rows)]
    return samples


def _inside(folder: Path) -> list[Path]:
    return [path for path in (folder / f"{kind}.json" for kind in KINDS) if path.is_file()]


def _sample(kind: str, place: int, row: dict[str, Any], where: str) -> Sample:
    answer = str(field(row, "answer", (str, int), where))
    if kind == "counting" and not number_in(answer):
        raise QuestionError(f"{where}: the answer {answer!r} is not a number above zero; fetch the file again")
    pictures = field(row, "image", (str, list), where)
    pictures = (pictures,) if isinstance(pictures, str) else tuple(map(str, pictures))
    return Sample(
        id=f"{kind}/{row.get('id', place)}",
        scene=pictures[0],
        kind=kind,
        question=field(row, "question", str, where),
        answers=(answer,),
        media=pictures,
    )


def score(samples: Sequence[Sample], predictions: Sequence[str]) -> BenchmarkResult:
    """Score the authors' points as shares of 1: pairs of ``size`` and ``reach`` have three, of ``existence`` one."""
    units: list[ScoreGroup] = []
    credits: list[float] = []
    waiting: dict[str, int] = {}
    for place, (sample, text) in enumerate(zip(samples, predictions, strict=True)):
        if sample.kind not in PAIRED:
            units.append(ScoreGroup(sample.scene, sample.kind, (place,)))
            credits.append(
                _count_credit(sample, text) if sample.kind == "counting" else float(sample.answers[0] in text)
            )
        elif sample.kind in waiting:
            first = waiting.pop(sample.kind)
            a, b = samples[first].answers[0] in predictions[first], sample.answers[0] in text
            units.append(ScoreGroup(samples[first].scene, sample.kind, (first, place)))
            credits.append(float(a and b) if sample.kind == "existence" else (a + b + (a and b)) / 3)
        else:
            waiting[sample.kind] = place
    kinds = tuple((kind,) for kind in KINDS)
    return BenchmarkResult(units, {"points": np.array(credits)}, groups=kinds)


def _count_credit(sample: Sample, text: str) -> float:
    """Return 1 less the relative error, as the authors; an answer without exactly one number has 0."""
    truth, predicted = number_in(sample.answers[0]), number_in(text)
    if not truth:
        raise ValueError(f"{sample.id}: the true count {sample.answers[0]!r} is not a number above zero")
    return 0.0 if predicted is None else 1.0 - abs(predicted - truth) / truth


BENCHMARK = define("spatialbench", read, score)
