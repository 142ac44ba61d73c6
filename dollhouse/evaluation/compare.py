"""Compare two reports on the questions that both have: paired differences, and where the answers differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dollhouse.errors import ScoreError
from dollhouse.evaluation.benchmarks import Benchmark, benchmark_definition
from dollhouse.evaluation.benchmarks.benchmark import BenchmarkResult, Sample, SampleScores
from dollhouse.evaluation.benchmarks.summary import ClusterAggregator
from dollhouse.evaluation.report.report_schema import read_report
from dollhouse.evaluation.verify import read_predictions_of, samples_of, score_samples
from dollhouse.system.read_files import decoding


@dataclass(frozen=True)
class Comparison:
    """A comparison; ``overall`` and each of ``kinds`` are ``{a, b, difference (b - a), ci95, n, scenes}``."""

    benchmark: str  #: version
    headline: str
    a: str  #: model names
    b: str
    overall: dict[str, Any]
    kinds: dict[str, dict[str, Any]]
    differing: list[dict[str, Any]]  #: questions whose credit differs, the largest differences first
    only_a: list[str]  #: ids that the other lacks
    only_b: list[str]


@dataclass(frozen=True)
class _Side:
    name: str
    file: Path
    benchmark: Benchmark
    samples: dict[str, Sample]
    predictions: dict[str, str]

    def score(self, samples: Sequence[Sample]) -> BenchmarkResult:
        predictions = [self.predictions[sample.id] for sample in samples]
        return score_samples(self.benchmark, samples, predictions, self.file)


def compare_reports(a: Path, b: Path, seed: int = 0) -> Comparison:
    """Compare two reports (or their folders) of a benchmark, both scored again.

    Intervals of the differences are 95 % percentiles over scenes resampled for both sides together. Raises ScoreError
    where the reports are of different benchmarks, of different questions under the same ids, or share none.
    """
    first, second = _read_side(a), _read_side(b)
    if first.benchmark is not second.benchmark:
        raise ScoreError(
            f"{a} is about {first.benchmark.name}, {b} about {second.benchmark.name}; compare like with like"
        )
    samples = [sample for id, sample in first.samples.items() if id in second.samples]
    if not samples:
        raise ScoreError(f"{a} and {b} share no question; evaluate both on the same scenes")
    odd = [sample.id for sample in samples if sample != second.samples[sample.id]]
    if odd:
        raise ScoreError(f"{a} and {b}: {len(odd)} questions of the same id differ, the first is {odd[0]}")
    result, other = first.score(samples), second.score(samples)
    headline = next(iter(result.credits))
    credits = result.credits[headline], other.credits[headline]
    table = ClusterAggregator(result.units, sorted({unit.kind for unit in result.units}))
    return Comparison(
        benchmark=first.benchmark.version,
        headline=headline,
        a=first.name,
        b=second.name,
        overall=_paired(table, result, credits, None, seed),
        kinds={kind: _paired(table, result, credits, kind, seed) for kind in table.kinds},
        differing=_differing(result, credits, samples, first, second),
        only_a=[id for id in first.samples if id not in second.samples],
        only_b=[id for id in second.samples if id not in first.samples],
    )


def _read_side(path: Path) -> _Side:
    report, file = read_report(path)
    with decoding(file, "a report as it was written", ScoreError, "fetch it again"):
        benchmark = benchmark_definition(str(report["benchmark"]["name"]))
        samples, predictions = samples_of(benchmark, read_predictions_of(file)[0], file)
        by_id = {sample.id: sample for sample in samples}
    if len(by_id) < len(samples):
        raise ScoreError(f"{file}: holds {len(samples) - len(by_id)} questions twice; evaluate each scene once")
    name = (report.get("model") or {}).get("name") or str(path)
    return _Side(str(name), file, benchmark, by_id, dict(zip(by_id, predictions, strict=True)))


def _paired(
    table: ClusterAggregator,
    result: BenchmarkResult,
    credits: tuple[SampleScores, SampleScores],
    kind: str | None,
    seed: int,
) -> dict[str, Any]:
    """Compute a line of the comparison; the overall one where ``kind`` is None."""

    def figure(values: SampleScores) -> Mapping[str, Any]:
        entry = table.overall(values, result, seed) if kind is None else table.of(values, [kind], seed)
        return entry or {"value": None, "n": 0, "scenes": 0, "ci95": None}

    a, b, difference = figure(credits[0]), figure(credits[1]), dict(figure(credits[1] - credits[0]))
    return {"a": a["value"], "b": b["value"], "difference": difference.pop("value")} | difference


def _differing(
    result: BenchmarkResult,
    credits: tuple[SampleScores, SampleScores],
    samples: Sequence[Sample],
    first: _Side,
    second: _Side,
) -> list[dict[str, Any]]:
    rows = []
    for unit, a, b in zip(result.units, credits[0].tolist(), credits[1].tolist(), strict=True):
        if math.isclose(a, b, abs_tol=1e-12):
            continue
        rows += [
            {
                "id": sample.id,
                "kind": unit.kind,
                "question": sample.question,
                "answers": list(sample.answers),
                "a": first.predictions[sample.id],
                "b": second.predictions[sample.id],
                "credit_a": a,
                "credit_b": b,
            }
            for sample in (samples[place] for place in unit.members)
        ]
    return sorted(rows, key=lambda row: -abs(row["credit_b"] - row["credit_a"]))
