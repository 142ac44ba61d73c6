"""How sure an accuracy is: percentile bootstrap intervals that resample whole scenes.

Knows nothing of questions. Questions about one room share its objects and its mistakes, so they are not independent;
resampling single questions would give intervals that are too narrow. Source: Efron and Tibshirani, "An Introduction to
the Bootstrap" (1993), chapters 8 (clustered data) and 13 (percentile intervals).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array

RESAMPLES = 2000
BLOCK = 100  #: resamples drawn at once, so that memory does not grow with their number


def resampled_sums(values: Array, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """Sums (resamples, G) of the rows of ``values`` (S, G) over scenes drawn with replacement, S at a time.

    The same ``seed`` and S draw the same scenes, so sums of several columns belong together.
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
    """The 2.5th and 97.5th percentile of resampled statistics (resamples,); None if none of them is a number."""
    known = statistics[np.isfinite(statistics)]
    if not len(known):
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def accuracy_interval(
    right: Array, asked: Array, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of ``sum(right) / sum(asked)``, given per scene (S,), resampling scenes.

    None with fewer than two scenes that were asked anything: one scene says nothing about other scenes.
    """
    right, asked = np.asarray(right, dtype=np.float64), np.asarray(asked, dtype=np.float64)
    if (asked > 0).sum() < 2:
        return None
    sums = resampled_sums(np.column_stack([right, asked]), resamples, seed)
    with np.errstate(invalid="ignore"):
        return interval_95(sums[:, 0] / sums[:, 1])
