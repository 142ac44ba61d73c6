"""Ridge regression in closed form, its strength chosen by leaving one out, and its predictions for unseen groups.

Knows numbers only. Source: Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning" (2009), sections
3.4.1 (ridge by singular values) and 7.10 (leaving one out).

Axes: n samples, F features, t targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array

STRENGTHS = np.logspace(-1, 5, 13)  #: on features of deviation 1
FOLDS = 5


def ridge_predict(x: Array, y: Array, unseen: Array, strengths: Array = STRENGTHS) -> Array:
    """Predictions (m, t) for ``unseen`` (m, F) from samples ``x`` (n, F) and ``y`` (n, t).

    Features are brought to mean 0 and deviation 1; the mean of ``y`` carries no penalty. Of ``strengths`` the one is
    taken whose predictions of each sample from all others are best in the mean square.
    """
    mean, deviation = x.mean(0), x.std(0)
    scale = np.where(deviation > 1e-9 * (1 + np.abs(mean)), deviation, np.inf)  # what never changes says nothing
    left, singular, right = np.linalg.svd((x - mean) / scale, full_matrices=False)
    offset = y.mean(0)
    turned = left.T @ (y - offset)
    best, chosen = np.inf, strengths[0]
    for strength in strengths:
        shrunk = singular**2 / (singular**2 + strength)
        leverage = (left**2 * shrunk).sum(1) + 1 / len(x)
        fitted = offset + left @ (shrunk[:, None] * turned)
        error = float((((y - fitted) / np.maximum(1 - leverage, 1e-6)[:, None]) ** 2).mean())
        if error < best:
            best, chosen = error, strength
    weights = right.T @ ((singular / (singular**2 + chosen))[:, None] * turned)
    predicted: Array = offset + (unseen - mean) / scale @ weights
    return predicted


def folds_of(groups: Sequence[Any], folds: int = FOLDS, seed: int = 0) -> NDArray[np.int64]:
    """The fold (n,) in which each sample is tested; all samples of a group share one."""
    names = list(dict.fromkeys(groups))
    turn = np.random.default_rng(seed).permutation(len(names)) % folds
    of_group = dict(zip(names, turn.tolist(), strict=True))
    return np.array([of_group[group] for group in groups], dtype=np.int64)


def predict_unseen(x: Array, y: Array, fold: NDArray[np.int64]) -> tuple[Array, Array]:
    """For every sample: its prediction (n, t) by a probe of the other folds, and the mean of ``y`` there (n, t)."""
    predicted, mean = np.empty_like(y, dtype=np.float64), np.empty_like(y, dtype=np.float64)
    for number in np.unique(fold):
        test = fold == number
        predicted[test] = ridge_predict(x[~test], y[~test], x[test])
        mean[test] = y[~test].mean(0)
    return predicted, mean
