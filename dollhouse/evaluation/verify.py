"""Checks a report: scores its predictions again, without any model, and tells every difference.

Knows the files that an evaluation leaves (:mod:`dollhouse.evaluation.report.report_schema`). Scores must agree bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from dollhouse.errors import QuestionError, ScoreError
from dollhouse.evaluation.benchmarks import Benchmark, benchmark_definition
from dollhouse.evaluation.benchmarks.benchmark import BenchmarkResult, Progress, Sample
from dollhouse.evaluation.benchmarks.summary import all_scores, credit_of_samples
from dollhouse.evaluation.perception_records import PerceptionScorer
from dollhouse.evaluation.report.report_schema import (
    benchmark_scorers,
    digest,
    jsonl_lines,
    line_digests,
    package_versions,
    read_report,
    row_digests,
    text_sha256,
)

MOST = 10  #: findings of one sort that are told
_PARTS = {
    "prediction": "the prediction",
    "question": "the question or its prompt",
    "rest": "the true answer or another field",
}


@dataclass(frozen=True)
class Verification:
    """What was checked, and what did not agree; ``findings`` is empty where all did."""

    benchmark: str
    samples: int
    findings: list[str]
    report: dict[str, Any]

    @property
    def agrees(self) -> bool:
        return not self.findings


def verify_report(path: Path, progress: Progress | None = None) -> Verification:
    """Check ``report.json`` (or its folder) against the predictions beside it.

    Raises ScoreError where report or predictions cannot be read at all, or the benchmark is unknown here.
    """
    report, file = read_report(path)
    findings = list(_changed_sections(report))
    benchmark = _benchmark_of(report, file)
    findings += _definition(report, benchmark)
    rows, text = read_rows_of(report, file)
    changed = list(_changed_rows(report, rows))
    findings += changed
    if not changed and text_sha256(text) != _held(report, "predictions", "sha256"):
        findings.append(f"{_held(report, 'predictions', 'file')}: white space or the order of fields was changed")
    try:
        found, credits = score_rows(benchmark, rows, report["seed"], file, progress)
    except ScoreError as error:
        if not changed:
            raise
        return Verification(benchmark.name, len(rows), [*findings, f"not scored again: {error}"], report)
    figures = [f"scores: {line}" for line in _differences(_held(report, "scores"), found, "")]
    findings += figures[:MOST]
    if len(figures) > MOST:
        findings.append(f"scores: and {len(figures) - MOST} more figures")
    findings += _wrong_credits(rows, credits)
    findings += _metrics(report, file, found)
    if figures:
        findings += _other_packages(report)
    return Verification(benchmark.name, len(rows), findings, report)


def score_rows(
    benchmark: Benchmark, rows: Sequence[Mapping[str, Any]], seed: int, file: Path, progress: Progress | None = None
) -> tuple[dict[str, Any], list[float | None]]:
    """The ``scores`` of a report, and the credit of each row. Raises ScoreError naming a row that is odd."""
    samples, predictions = samples_of(benchmark, rows, file)
    judged = judge_rows(benchmark, samples, predictions, file, progress)
    return all_scores(benchmark, judged, rows, seed), credit_of_samples(judged, len(rows))


def judge_rows(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    predictions: Sequence[str],
    file: Path,
    progress: Progress | None = None,
) -> BenchmarkResult:
    """The judgement of rows that anyone may have written. Raises ScoreError where they lack what it needs."""
    try:
        return benchmark.judge(samples, predictions, progress)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ScoreError(
            f"{file.parent / 'predictions.jsonl'}: some row is not one of {benchmark.title} ({error!r:.100}); "
            "fetch the file again"
        ) from error


def samples_of(benchmark: Benchmark, rows: Sequence[Mapping[str, Any]], file: Path) -> tuple[list[Sample], list[str]]:
    """Questions and predictions of a report's rows."""
    samples, predictions = [], []
    for number, row in enumerate(rows, 1):
        try:
            samples.append(benchmark.sample_of(row))
            predictions.append(row["prediction"] + "")
        except (KeyError, TypeError) as error:
            raise ScoreError(
                f"{file.parent / 'predictions.jsonl'}, row {number}: not a row of {benchmark.title} ({error}); "
                "fetch the file again"
            ) from error
    return samples, predictions


def read_rows_of(report: Mapping[str, Any], file: Path) -> tuple[list[dict[str, Any]], str]:
    """The rows of the predictions beside a report, and their text."""
    path = file.parent / "predictions.jsonl"
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ScoreError(f"{path}: cannot be read ({error.strerror}); it belongs beside {file.name}") from error
    except UnicodeDecodeError as error:
        raise ScoreError(f"{path}: is no longer UTF-8 at byte {error.start}; it was changed") from error
    rows = []
    for number, line in enumerate(jsonl_lines(text), 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ScoreError(f"{path}, row {number}: is no longer JSON ({error.msg}); it was changed") from error
        if not isinstance(row, dict):
            raise ScoreError(f"{path}, row {number}: is not an object; it was changed")
        rows.append(row)
    return rows, text


def _benchmark_of(report: Mapping[str, Any], file: Path) -> Benchmark:
    try:
        return benchmark_definition(str(_held(report, "benchmark", "name")))
    except QuestionError as error:
        raise ScoreError(f"{file}: {error}; a later Dollhouse may know it") from error


def _changed_sections(report: Mapping[str, Any]) -> Iterator[str]:
    digests = report.get("digests") or {}
    for name in {**digests, **report}:
        if name == "digests":
            continue
        if name not in report:
            yield f"report.json: {name!r} was taken away"
        elif name not in digests:
            yield f"report.json: {name!r} was added after it was written"
        elif digests[name] != digest(report[name]):
            yield f"report.json: {name!r} was changed after it was written"


def _definition(report: Mapping[str, Any], benchmark: Benchmark) -> Iterator[str]:
    """Where the benchmark and its scorers are others here than the report says."""
    theirs, ours = _held(report, "scorers") or {}, benchmark_scorers(benchmark)
    for name in {**theirs, **ours}:
        if theirs.get(name) != ours.get(name):
            yield f"scorer {name}: the report says {theirs.get(name)}, here it is {ours.get(name)}"
    prompts = _held(report, "prompts") or {}
    for name in {**prompts, **benchmark.prompts}:
        if prompts.get(name) != benchmark.prompts.get(name):
            yield f"prompt {name!r}: the report's is not that of {benchmark.version}"
    definition = benchmark.definition()
    if _held(report, "frames") != definition["frames"]:
        yield f"frames: the report's rule is not that of {benchmark.version}"
    for name, value in (_held(report, "benchmark") or {}).items():
        if definition.get(name) != value:
            yield f"benchmark {name}: the report's is not that of {benchmark.version}"


def _changed_rows(report: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    samples = _held(report, "samples") or {}
    ids: list[str] = samples.get("ids") or []
    if text_sha256("\n".join(ids)) != samples.get("sha256"):
        yield "report.json: the ids of the samples are not those of their hash"
    if any(len(samples.get(part) or ()) != len(ids) for part in _PARTS):
        yield "report.json: 'samples' has not a digest for every id"
        return
    if len(rows) != len(ids):
        yield f"predictions.jsonl: has {len(rows)} rows, the report speaks of {len(ids)}"
    told = 0
    for number, (row, id) in enumerate(zip(rows, ids, strict=False), 1):
        if told == MOST:
            yield "predictions.jsonl: and more rows"
            return
        if str(row.get("id")) != id:
            told += 1
            yield f"predictions.jsonl, row {number}: is about {row.get('id')!r}, the report says {id!r}"
            continue
        digests = row_digests(row)
        for part, what in _PARTS.items():
            if digests[part] != samples[part][number - 1]:
                told += 1
                yield f"predictions.jsonl, row {number} ({id}): {what} was changed"


def _wrong_credits(rows: Sequence[Mapping[str, Any]], credits: Sequence[float | None]) -> Iterator[str]:
    wrong = [
        number
        for number, (row, credit) in enumerate(zip(rows, credits, strict=True), 1)
        if row.get("score", row.get("correct")) != credit
    ]
    if wrong:
        yield f"predictions.jsonl: {len(wrong)} rows hold another score than they earn, first row {wrong[0]}"


def _metrics(report: Mapping[str, Any], file: Path, scores: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the ``metrics.json`` and ``perception.jsonl`` beside a report that speaks of them."""
    if not report.get("metrics"):
        return
    path = file.parent / "metrics.json"
    if not path.is_file():
        yield f"{path.name}: is missing"
        return
    text = path.read_bytes().decode("utf-8", "replace")
    if text_sha256(text) != report["metrics"].get("sha256"):
        yield f"{path.name}: was changed after it was written"
    try:
        told = json.loads(text)
    except json.JSONDecodeError:
        return  # it was changed, which is told
    perception, changed = _perception_scores(report, file.parent / "perception.jsonl")
    yield from changed
    more = scores["more"]
    for name, value in {**(more["answers"] or {}), **more["curves"], "chance": more["chance"], **perception}.items():
        yield from (f"{path.name}: {line}" for line in _differences(told.get(name), value, name))
    for name, value in (more["blind"] or {}).items():
        held = (told.get("blind") or {}).get(name)
        yield from (f"{path.name}: {line}" for line in _differences(held, value, f"blind.{name}"))


def _perception_scores(report: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], list[str]]:
    """Depth and boxes scored again, and what is wrong with their file."""
    if not report.get("perception"):
        return {}, []
    if not path.is_file():
        return {}, [f"{path.name}: is missing"]
    text = path.read_bytes().decode("utf-8", "replace")
    theirs, ours = report["perception"].get("lines") or [], line_digests(text)
    changed = [number for number, pair in enumerate(zip_longest(theirs, ours), 1) if pair[0] != pair[1]]
    findings = [f"{path.name}, line {number}: was changed after it was written" for number in changed[:MOST]]
    scorer = PerceptionScorer()
    for number, line in enumerate(jsonl_lines(text), 1):
        try:
            scorer.add(json.loads(line))
        except (KeyError, TypeError, ValueError) as error:  # a line that is no longer JSON is a ValueError
            return {}, [*findings, f"{path.name}, line {number}: cannot be scored again ({error!r:.100})"]
    return scorer.result(), findings


def _other_packages(report: Mapping[str, Any]) -> Iterator[str]:
    theirs, ours = _held(report, "packages") or {}, package_versions()
    others = [f"{name} {theirs.get(name)}, here {ours.get(name)}" for name in theirs if theirs[name] != ours.get(name)]
    if others:
        yield f"packages differ, which may be why: {'; '.join(others)}"


def _differences(theirs: Any, ours: Any, where: str) -> Iterator[str]:
    """Paths at which two JSON values differ in any bit."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in {**theirs, **ours}:
            yield from _differences(theirs.get(key), ours.get(key), f"{where}.{key}" if where else key)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for place, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from _differences(one, other, f"{where}[{place}]")
    elif type(theirs) is not type(ours) or theirs != ours:
        yield f"{where}: the report says {theirs!r:.80}, scored again it is {ours!r:.80}"


def _held(report: Mapping[str, Any], *names: str) -> Any:
    value: Any = report
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
