"""Verify a report: score its predictions again without a model, and list every difference.

The files are those of :mod:`dollhouse.evaluation.report.report_schema`. Scores must agree bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from dollhouse.errors import QuestionError, ScoreError
from dollhouse.evaluation.benchmarks import Benchmark, benchmark_definition
from dollhouse.evaluation.benchmarks.benchmark import BenchmarkResult, Sample
from dollhouse.evaluation.benchmarks.summary import compute_scores, sample_credits
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
from dollhouse.system.read_files import decode_json, decoding, parse_json, read_bytes

MOST = 10  #: findings of a kind that are listed
_PARTS = {
    "prediction": "the prediction",
    "question": "the question or its prompt",
    "rest": "the true answer or another field",
}


@dataclass(frozen=True)
class Verification:
    """The result of a verification; ``findings`` is empty where everything agrees."""

    benchmark: str
    samples: int
    findings: list[str]
    report: dict[str, Any]

    @property
    def agrees(self) -> bool:
        return not self.findings


def verify_report(path: Path) -> Verification:
    """Check ``report.json`` (or its folder) against the predictions beside it.

    Raises ScoreError where report or predictions cannot be read, or the benchmark is unknown.
    """
    report, file = read_report(path)
    with decoding(file, "a report as it was written", ScoreError, "fetch it again"):
        return _verify(report, file)


def _verify(report: dict[str, Any], file: Path) -> Verification:
    findings = list(_changed_sections(report))
    try:
        benchmark = benchmark_definition(str(report["benchmark"].get("name")))
    except QuestionError as error:
        raise ScoreError(f"{file}: {error}; a later Dollhouse may have it") from error
    findings += _definition(report, benchmark)
    rows, text = read_predictions_of(file)
    changed = list(_changed_rows(report["samples"], rows))
    findings += changed
    if not changed and text_sha256(text) != report["predictions"].get("sha256"):
        findings.append("predictions.jsonl: white space or the order of fields was changed")
    try:
        scores, credits = score_rows(benchmark, rows, report["seed"], file)
    except ScoreError as error:
        if not changed:
            raise
        return Verification(benchmark.name, len(rows), [*findings, f"not scored again: {error}"], report)
    figures = [f"scores: {line}" for line in _differences(report["scores"], scores, "")]
    findings += figures[:MOST]
    if len(figures) > MOST:
        findings.append(f"scores: and {len(figures) - MOST} more figures")
    wrong = [n for n, row in enumerate(rows, 1) if row.get("score", row.get("correct")) != credits[n - 1]]
    if wrong:
        findings.append(f"predictions.jsonl: {len(wrong)} rows hold another score than they earn, first row {wrong[0]}")
    findings += _metrics(report, file.parent, scores)
    theirs, ours = report["packages"], package_versions()
    others = [f"{name} {theirs[name]}, here {ours.get(name)}" for name in theirs if theirs[name] != ours.get(name)]
    if figures and others:
        findings.append(f"packages differ, which may be the reason: {'; '.join(others)}")
    return Verification(benchmark.name, len(rows), findings, report)


def score_rows(
    benchmark: Benchmark, rows: Sequence[Mapping[str, Any]], seed: int, file: Path
) -> tuple[dict[str, Any], list[float | None]]:
    """Compute a report's ``scores`` and the credit of each row; raises ScoreError naming a damaged row."""
    samples, predictions = samples_of(benchmark, rows, file)
    result = score_samples(benchmark, samples, predictions, file)
    return compute_scores(benchmark, result, rows, seed), sample_credits(result, len(rows))


def score_samples(
    benchmark: Benchmark, samples: Sequence[Sample], predictions: Sequence[str], file: Path
) -> BenchmarkResult:
    """Score samples of an untrusted file; raises ScoreError where they lack what scoring needs."""
    try:
        return benchmark.score(samples, predictions)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ScoreError(
            f"{file.parent / 'predictions.jsonl'}: some row is not one of {benchmark.title} ({error!r:.100}); "
            "fetch the file again"
        ) from error


def samples_of(benchmark: Benchmark, rows: Sequence[Mapping[str, Any]], file: Path) -> tuple[list[Sample], list[str]]:
    """Rebuild the samples and predictions of a report's rows."""
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


def read_predictions_of(report_file: Path) -> tuple[list[dict[str, Any]], str]:
    """Read the rows of ``predictions.jsonl`` beside a report, and its text."""
    path = report_file.parent / "predictions.jsonl"
    content = read_bytes(path, ScoreError, f"it belongs beside {report_file.name}")
    with decoding(path, "UTF-8 text any more", ScoreError, "it was changed"):
        text = content.decode("utf-8")
    rows = []
    for number, line in enumerate(jsonl_lines(text), 1):
        row = parse_json(line, f"{path}, row {number}", ScoreError, "it was changed")
        if not isinstance(row, dict):
            raise ScoreError(f"{path}, row {number}: is not an object; it was changed")
        rows.append(row)
    return rows, text


def _changed_sections(report: Mapping[str, Any]) -> Iterator[str]:
    digests = report.get("digests") or {}
    for name in {**digests, **report}:
        if name == "digests":
            continue
        if name not in report:
            yield f"report.json: {name!r} was removed"
        elif name not in digests:
            yield f"report.json: {name!r} was added after it was written"
        elif digests[name] != digest(report[name]):
            yield f"report.json: {name!r} was changed after it was written"


def _definition(report: Mapping[str, Any], benchmark: Benchmark) -> Iterator[str]:
    """Yield where the report's benchmark and scorers differ from the installed ones."""
    definition = benchmark.definition()
    installed = {name: definition[name] for name in ("prompts", "frames")}
    installed |= {"benchmark": {name: definition.get(name) for name in report["benchmark"]}}
    for section, ours in (installed | {"scorers": benchmark_scorers(benchmark)}).items():
        theirs = report[section]
        for name in {**theirs, **ours}:
            if theirs.get(name) != ours.get(name):
                values = f"the report has {theirs.get(name)!s:.80}, installed is {ours.get(name)!s:.80}"
                yield f"{section}, {name}: {values}"


def _changed_rows(samples: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    ids: list[str] = samples.get("ids") or []
    if text_sha256("\n".join(ids)) != samples.get("sha256"):
        yield "report.json: the ids of the samples are not those of their hash"
    if any(len(samples.get(part) or ()) != len(ids) for part in _PARTS):
        yield "report.json: 'samples' has not a digest for every id"
        return
    if len(rows) != len(ids):
        yield f"predictions.jsonl: has {len(rows)} rows, the report {len(ids)}"
    changed = (finding for place, row in enumerate(rows[: len(ids)]) for finding in _changed_row(samples, place, row))
    yield from islice(changed, MOST)
    if next(changed, None):
        yield "predictions.jsonl: and more rows"


def _changed_row(samples: Mapping[str, Any], place: int, row: Mapping[str, Any]) -> Iterator[str]:
    id, where = samples["ids"][place], f"predictions.jsonl, row {place + 1}"
    if str(row.get("id")) != id:
        yield f"{where}: is about {row.get('id')!r}, the report has {id!r}"
        return
    digests = row_digests(row)
    yield from (f"{where} ({id}): {what} was changed" for p, what in _PARTS.items() if digests[p] != samples[p][place])


def _metrics(report: Mapping[str, Any], folder: Path, scores: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with ``metrics.json`` and ``perception.jsonl``, where the report names them."""
    if not report.get("metrics"):
        return
    path = folder / "metrics.json"
    if not path.is_file():
        yield "metrics.json: is missing"
        return
    text = read_bytes(path, ScoreError).decode("utf-8", "replace")
    if text_sha256(text) != report["metrics"].get("sha256"):
        yield "metrics.json: was changed after it was written"
    try:
        metrics = decode_json(text)
    except ValueError:
        return  # the hash differs, which is a finding already
    perception, findings = _perception_scores(report, folder / "perception.jsonl")
    yield from findings
    more = scores["more"]
    ours = {**(more["answers"] or {}), **more["curves"], "chance": more["chance"], **perception}
    theirs = {name: metrics.get(name) for name in ours}
    blind, stored = more["blind"] or {}, metrics.get("blind") or {}
    ours["blind"], theirs["blind"] = blind, {name: stored.get(name) for name in blind}
    yield from (f"metrics.json: {line}" for line in _differences(theirs, ours, ""))


def _perception_scores(report: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], list[str]]:
    """Score depth and boxes again, and list what is wrong with their file."""
    if not report.get("perception"):
        return {}, []
    if not path.is_file():
        return {}, [f"{path.name}: is missing"]
    text = read_bytes(path, ScoreError).decode("utf-8", "replace")
    theirs, ours = report["perception"].get("lines") or [], line_digests(text)
    changed = [number for number, pair in enumerate(zip_longest(theirs, ours), 1) if pair[0] != pair[1]]
    findings = [f"{path.name}, line {number}: was changed after it was written" for number in changed[:MOST]]
    scorer = PerceptionScorer()
    for number, line in enumerate(jsonl_lines(text), 1):
        try:
            scorer.add(decode_json(line))
        except (KeyError, TypeError, ValueError) as error:  # a line that is no longer JSON is a ValueError
            return {}, [*findings, f"{path.name}, line {number}: cannot be scored again ({error!r:.100})"]
    return scorer.result(), findings


def _differences(theirs: Any, ours: Any, where: str) -> Iterator[str]:
    """Yield the paths at which two JSON values differ in any bit."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in {**theirs, **ours}:
            yield from _differences(theirs.get(key), ours.get(key), f"{where}.{key}" if where else key)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for place, pair in enumerate(zip(theirs, ours, strict=True)):
            yield from _differences(*pair, f"{where}[{place}]")
    elif type(theirs) is not type(ours) or theirs != ours:
        yield f"{where}: the report has {theirs!r:.80}, scored again it is {ours!r:.80}"
