"""Percentile bootstrap intervals that resample whole scenes.

Questions about one scene are not independent, so single questions are never resampled. Source: Efron and Tibshirani,
"An Introduction to the Bootstrap" (1993), chapters 8 (clustered data) and 13 (percentile intervals).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array

RESAMPLES = 2000
BLOCK = 100  #: resamples drawn at once, so that memory does not grow with their number


def resampled_sums(values: Array, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """Sum the rows of ``values`` (S, G) over S scenes drawn with replacement.

    Returns:
        Sums (resamples, G). The same ``seed`` and S draw the same scenes.
    """
    values = np.asarray(values, dtype=np.float64)
    scenes = len(values)
    generator = np.random.default_rng(seed)
    sums = []
    for start in range(0, resamples, BLOCK):
        drawn: NDArray[np.int64] = generator.integers(0, scenes, size=(min(BLOCK, resamples - start), scenes))
        times = np.stack([np.bincount(row, minlength=scenes) for row in drawn])
        sums.append(times @ values)
    return np.concatenate(sums)


def interval_95(statistics: Array) -> tuple[float, float] | None:
    """Return the 2.5th and 97.5th percentile of ``statistics``; None where none is finite."""
    finite = statistics[np.isfinite(statistics)]
    if not len(finite):
        return None
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def accuracy_interval(
    correct: Array, total: Array, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95 % interval of ``sum(correct) / sum(total)``, counts of each scene (S,), resampling scenes.

    None where fewer than two scenes have answers.
    """
    correct, total = np.asarray(correct, dtype=np.float64), np.asarray(total, dtype=np.float64)
    if (total > 0).sum() < 2:
        return None
    sums = resampled_sums(np.column_stack([correct, total]), resamples, seed)
    with np.errstate(invalid="ignore"):
        return interval_95(sums[:, 0] / sums[:, 1])
