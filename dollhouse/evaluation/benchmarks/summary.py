"""Figures of a judged benchmark: overall and by kind, each with its number and a 95 % bootstrap interval over scenes.

Knows no benchmark. The same judgements give the same bits on any machine: sums are exactly rounded, and what is
resampled is counted in whole numbers of 2^-24, whose sums no processor rounds.
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


def summarise(judged: BenchmarkResult, seed: int = 0) -> dict[str, Any]:
    """``overall`` and ``kinds`` of the headline, ``credits`` of every other score, and the judge's own ``scores``.

    Each entry is ``{value, n, scenes, ci95}``; n counts units, ci95 is None with fewer than two scenes.
    """
    headline, *others = judged.credits
    kinds = sorted({unit.kind for unit in judged.units})
    table = ClusterAggregator(judged.units, kinds)
    return {
        "headline": headline,
        "overall": table.overall(judged.credits[headline], judged, seed),
        "kinds": {kind: table.of(judged.credits[headline], [kind], seed) for kind in kinds},
        "credits": {name: table.overall(judged.credits[name], judged, seed) for name in others},
        "scores": dict(judged.scores),
    }


def all_scores(
    benchmark: Benchmark, judged: BenchmarkResult, rows: Sequence[Mapping[str, Any]], seed: int = 0
) -> dict[str, Any]:
    """:func:`summarise`, and in ``more`` what the benchmark itself draws from all lines of ``predictions.jsonl``."""
    scores = summarise(judged, seed)
    return scores | {"more": benchmark.more_scores(rows, seed)} if benchmark.more_scores else scores


class ClusterAggregator:
    """Units by scene and kind, so that sums of any credits over resampled scenes are quick."""

    def __init__(self, units: Sequence[ScoreGroup], kinds: Sequence[str]) -> None:
        scenes = {scene: place for place, scene in enumerate(dict.fromkeys(unit.scene for unit in units))}
        self.kinds = list(kinds)
        places = {kind: place for place, kind in enumerate(self.kinds)}
        self._scene = np.array([scenes[unit.scene] for unit in units], dtype=np.int64)
        self._kind = np.array([places[unit.kind] for unit in units], dtype=np.int64)
        self._shape = (len(scenes), len(self.kinds))
        self._drawn: tuple[SampleScores, int, Array] | None = None  # the credits resampled last, and what came out

    def overall(self, credits: SampleScores, judged: BenchmarkResult, seed: int) -> dict[str, Any] | None:
        """The figure over all that counts: the mean over units, or over the benchmark's groups of kinds."""
        if judged.groups is None:
            counted = [kind for kind in self.kinds if judged.counted is None or kind in judged.counted]
            return self.of(credits, counted, seed)
        groups = [[kind for kind in group if kind in self.kinds] for group in judged.groups]
        return self._nested(credits, [group for group in groups if group], seed)

    def of(self, credits: SampleScores, kinds: Sequence[str], seed: int) -> dict[str, Any] | None:
        """The mean over all units of ``kinds``; None where there are none."""
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
        """Sums of credits, in units of 2^-24, and counts of units: each (resamples, kinds)."""
        if self._drawn is None or self._drawn[0] is not credits or self._drawn[1] != seed:
            sums, counts = np.zeros(self._shape), np.zeros(self._shape)
            np.add.at(sums, (self._scene, self._kind), np.rint(credits * FIXED))
            np.add.at(counts, (self._scene, self._kind), 1.0)
            self._drawn = credits, seed, resampled_sums(np.concatenate([sums, counts], axis=1), seed=seed)
        both = self._drawn[2]
        return both[:, : len(self.kinds)], both[:, len(self.kinds) :]

    def _entry(self, value: float, chosen: np.ndarray, drawn: Array) -> dict[str, Any]:
        scenes = len(np.unique(self._scene[chosen]))
        interval = interval_95(drawn) if scenes > 1 else None
        listed = None if interval is None else list(interval)
        return {"value": value, "n": int(chosen.sum()), "scenes": scenes, "ci95": listed}


def credit_of_samples(judged: BenchmarkResult, samples: int) -> list[float | None]:
    """The headline credit of the unit that each of N samples is in; None where it is in none."""
    credits: list[float | None] = [None] * samples
    headline: Mapping[str, SampleScores] = judged.credits
    for unit, credit in zip(judged.units, next(iter(headline.values())).tolist(), strict=True):
        for place in unit.members:
            credits[place] = credit
    return credits
