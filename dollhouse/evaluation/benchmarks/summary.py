"""Figures of a scored benchmark: overall and by kind, each with n and a 95 % bootstrap interval over scenes.

The same credits give the same bits on any machine: sums are exactly rounded, and resampled sums are sums of whole
numbers of 2^-24.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dollhouse.evaluation.benchmarks.benchmark import Benchmark, BenchmarkResult, SampleScores, ScoreGroup
from dollhouse.evaluation.metrics.bootstrap import interval_95, resampled_sums
from dollhouse.geometry import Array

FEW_SCENES = 10  #: with fewer of them, intervals are known to be too narrow
FIXED = 2.0**24  #: sums of 100,000 scores up to 10 stay far below 2^53, where float64 stops being exact


def summarise(result: BenchmarkResult, seed: int = 0) -> dict[str, Any]:
    """Compute ``overall`` and ``kinds`` of the headline, ``credits`` of every other score, and ``scores``.

    Each entry is ``{value, n, scenes, ci95}``; n counts groups, ci95 is None with fewer than two scenes.
    """
    headline, *others = result.credits
    kinds = sorted({unit.kind for unit in result.units})
    table = ClusterAggregator(result.units, kinds)
    return {
        "headline": headline,
        "overall": table.overall(result.credits[headline], result, seed),
        "kinds": {kind: table.of(result.credits[headline], [kind], seed) for kind in kinds},
        "credits": {name: table.overall(result.credits[name], result, seed) for name in others},
        "scores": dict(result.scores),
    }


def compute_scores(
    benchmark: Benchmark, result: BenchmarkResult, rows: Sequence[Mapping[str, Any]], seed: int = 0
) -> dict[str, Any]:
    """Run :func:`summarise`, and add the benchmark's own figures of all rows as ``more``."""
    scores = summarise(result, seed)
    return scores | {"more": benchmark.more_scores(rows, seed)} if benchmark.more_scores else scores


class ClusterAggregator:
    """Aggregates credits by scene and kind, for fast sums over resampled scenes."""

    def __init__(self, units: Sequence[ScoreGroup], kinds: Sequence[str]) -> None:
        scenes = {scene: place for place, scene in enumerate(dict.fromkeys(unit.scene for unit in units))}
        self.kinds = list(kinds)
        places = {kind: place for place, kind in enumerate(self.kinds)}
        self._scene = np.array([scenes[unit.scene] for unit in units], dtype=np.int64)
        self._kind = np.array([places[unit.kind] for unit in units], dtype=np.int64)
        self._shape = (len(scenes), len(self.kinds))
        self._resampled_cache: tuple[SampleScores, int, Array] | None = None  # credits, seed, resampled sums

    def overall(self, credits: SampleScores, result: BenchmarkResult, seed: int) -> dict[str, Any] | None:
        """Compute the overall figure: the mean over units, or over the benchmark's groups of kinds."""
        if result.groups is None:
            counted = [kind for kind in self.kinds if result.counted is None or kind in result.counted]
            return self.of(credits, counted, seed)
        groups = [[kind for kind in group if kind in self.kinds] for group in result.groups]
        return self._nested(credits, [group for group in groups if group], seed)

    def of(self, credits: SampleScores, kinds: Sequence[str], seed: int) -> dict[str, Any] | None:
        """Compute the mean over all units of ``kinds``; None where there are none."""
        columns = [self.kinds.index(kind) for kind in kinds]
        chosen = np.isin(self._kind, columns)
        if not chosen.any():
            return None
        sums, counts = self._resampled(credits, seed)
        with np.errstate(invalid="ignore"):
            means = sums[:, columns].sum(1) / counts[:, columns].sum(1)
        value = math.fsum(credits[chosen].tolist()) / int(chosen.sum())
        return self._entry(value, chosen, means / FIXED)

    def _nested(self, credits: SampleScores, groups: Sequence[Sequence[str]], seed: int) -> dict[str, Any] | None:
        if not groups:
            return None
        columns = [[self.kinds.index(kind) for kind in group] for group in groups]
        chosen = np.isin(self._kind, [column for group in columns for column in group])
        sums, counts = self._resampled(credits, seed)
        with np.errstate(invalid="ignore"):
            means = sums / counts / FIXED
        drawn = np.mean([np.mean([means[:, column] for column in group], axis=0) for group in columns], axis=0)
        exact = [math.fsum(self._mean(credits, column) for column in group) / len(group) for group in columns]
        return self._entry(math.fsum(exact) / len(exact), chosen, drawn)

    def _mean(self, credits: SampleScores, column: int) -> float:
        rows = credits[self._kind == column].tolist()
        return math.fsum(rows) / len(rows)

    def _resampled(self, credits: SampleScores, seed: int) -> tuple[Array, Array]:
        """Resample sums of credits, in units of 2^-24, and counts of units: each (resamples, kinds)."""
        if self._resampled_cache is None or self._resampled_cache[0] is not credits or self._resampled_cache[1] != seed:
            sums, counts = np.zeros(self._shape), np.zeros(self._shape)
            np.add.at(sums, (self._scene, self._kind), np.rint(credits * FIXED))
            np.add.at(counts, (self._scene, self._kind), 1.0)
            self._resampled_cache = credits, seed, resampled_sums(np.concatenate([sums, counts], axis=1), seed=seed)
        both = self._resampled_cache[2]
        return both[:, : len(self.kinds)], both[:, len(self.kinds) :]

    def _entry(self, value: float, chosen: np.ndarray, drawn: Array) -> dict[str, Any]:
        scenes = len(np.unique(self._scene[chosen]))
        interval = interval_95(drawn) if scenes > 1 else None
        listed = None if interval is None else list(interval)
        return {"value": value, "n": int(chosen.sum()), "scenes": scenes, "ci95": listed}


def sample_credits(result: BenchmarkResult, samples: int) -> list[float | None]:
    """Return the headline credit of each sample's group; None where it is in none."""
    credits: list[float | None] = [None] * samples
    headline: Mapping[str, SampleScores] = result.credits
    for unit, credit in zip(result.units, next(iter(headline.values())).tolist(), strict=True):
        for place in unit.members:
            credits[place] = credit
    return credits


def format_figure(value: Any) -> str:
    """Format a figure without an interval, or several by name."""
    if isinstance(value, Mapping) and set(value) == {"value", "n"}:
        return f"{value['value']:.4f} (n {value['n']:,})"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {format_figure(inner)}" for name, inner in value.items() if inner is not None)
    return f"{value:.4f}" if isinstance(value, float) else str(value)
