"""Two evaluations of the same questions, side by side: paired differences, and where the two part.

Knows reports and their predictions, no model. Both are scored again here, so what is compared is what was said, under
one version of every scorer.
"""

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
from dollhouse.evaluation.verify import judge_rows, read_rows_of, samples_of


@dataclass(frozen=True)
class Comparison:
    """``overall`` and each of ``kinds``: ``{a, b, difference (b - a), ci95, n, scenes}``, of the headline."""

    benchmark: Benchmark
    headline: str
    names: tuple[str, str]
    overall: dict[str, Any]
    kinds: dict[str, dict[str, Any]]
    parting: list[dict[str, Any]]  #: questions where one earned more, the largest differences first
    only_a: list[str]  #: ids that the other lacks
    only_b: list[str]

    def as_json(self) -> dict[str, Any]:
        return {
            "benchmark": self.benchmark.version,
            "headline": self.headline,
            "a": self.names[0],
            "b": self.names[1],
            "overall": self.overall,
            "kinds": self.kinds,
            "parting": self.parting,
            "only_a": self.only_a,
            "only_b": self.only_b,
        }


@dataclass(frozen=True)
class _Side:
    name: str
    file: Path
    benchmark: Benchmark
    samples: dict[str, Sample]
    predictions: dict[str, str]


def compare_reports(a: Path, b: Path, seed: int = 0) -> Comparison:
    """Compare two reports (or their folders) on the questions that both have.

    Intervals of the differences are 95 % percentiles over resampled scenes, both sides drawn together. Raises
    ScoreError where the reports are of different benchmarks, of different questions under the same ids, or share none.
    """
    one, other = _side(a), _side(b)
    if one.benchmark is not other.benchmark:
        raise ScoreError(f"{a} is about {one.benchmark.name}, {b} about {other.benchmark.name}; compare like with like")
    shared = [id for id in one.samples if id in other.samples]
    if not shared:
        raise ScoreError(f"{a} and {b} share no question; evaluate both on the same scenes")
    odd = [id for id in shared if one.samples[id] != other.samples[id]]
    if odd:
        raise ScoreError(f"{a} and {b}: {len(odd)} questions of the same id differ, the first is {odd[0]}")
    samples = [one.samples[id] for id in shared]
    judged = [
        judge_rows(one.benchmark, samples, [side.predictions[id] for id in shared], side.file) for side in (one, other)
    ]
    headline = next(iter(judged[0].credits))
    credits = [side.credits[headline] for side in judged]
    table = ClusterAggregator(judged[0].units, sorted({unit.kind for unit in judged[0].units}))
    return Comparison(
        benchmark=one.benchmark,
        headline=headline,
        names=(one.name, other.name),
        overall=_paired(table, judged[0], credits, None, seed),
        kinds={kind: _paired(table, judged[0], credits, kind, seed) for kind in table.kinds},
        parting=_parting(judged[0], credits, samples, one, other),
        only_a=[id for id in one.samples if id not in other.samples],
        only_b=[id for id in other.samples if id not in one.samples],
    )


def _side(path: Path) -> _Side:
    report, file = read_report(path)
    benchmark = benchmark_definition(str(report["benchmark"]["name"]))
    samples, predictions = samples_of(benchmark, read_rows_of(report, file)[0], file)
    by_id = {sample.id: sample for sample in samples}
    if len(by_id) < len(samples):
        raise ScoreError(f"{file}: asks {len(samples) - len(by_id)} questions twice; evaluate each scene once")
    name = (report.get("model") or {}).get("name") or str(path)
    return _Side(str(name), file, benchmark, by_id, dict(zip(by_id, predictions, strict=True)))


def _paired(
    table: ClusterAggregator, judged: BenchmarkResult, credits: Sequence[SampleScores], kind: str | None, seed: int
) -> dict[str, Any]:
    """One line of the comparison; of all that counts where ``kind`` is None."""

    def figure(values: SampleScores) -> Mapping[str, Any]:
        entry = table.overall(values, judged, seed) if kind is None else table.of(values, [kind], seed)
        return entry or {"value": None, "n": 0, "scenes": 0, "ci95": None}

    a, b, difference = figure(credits[0]), figure(credits[1]), figure(credits[1] - credits[0])
    return {
        "a": a["value"],
        "b": b["value"],
        "difference": difference["value"],
        "ci95": difference["ci95"],
        "n": difference["n"],
        "scenes": difference["scenes"],
    }


def _parting(
    judged: BenchmarkResult, credits: Sequence[SampleScores], samples: Sequence[Sample], one: _Side, other: _Side
) -> list[dict[str, Any]]:
    rows = []
    for unit, a, b in zip(judged.units, credits[0].tolist(), credits[1].tolist(), strict=True):
        if math.isclose(a, b, abs_tol=1e-12):
            continue
        rows += [
            {
                "id": sample.id,
                "kind": unit.kind,
                "question": sample.question,
                "answers": list(sample.answers),
                "a": one.predictions[sample.id],
                "b": other.predictions[sample.id],
                "credit_a": a,
                "credit_b": b,
            }
            for sample in (samples[place] for place in unit.members)
        ]
    return sorted(rows, key=lambda row: -abs(row["credit_b"] - row["credit_a"]))
