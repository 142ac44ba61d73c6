"""Errors of predicted depth maps, aggregated over scenes.

Source: Eigen et al., "Depth map prediction from a single image using a multi-scale deep network" (2014). Errors are
averaged over the valid pixels of a view, then over views. Lengths are in the depth's own unit; ``si_log`` is not times
100.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import ModelError
from dollhouse.geometry import Array

Alignment = Literal["none", "median"]

VERSION = "depth:1"  #: rises when any number may change
DISTANCES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 12.0)  #: metres, edges of bins
SMALLEST = 1e-3  #: predictions are raised to this many metres, so that ratios and logarithms exist


def valid_depth(depth: Array) -> NDArray[np.bool_]:
    """Return where a depth map (..., H, W) is finite and above zero."""
    return np.isfinite(depth) & (depth > 0)


def align_depth(predicted: Array, truth: Array, alignment: Alignment) -> Array:
    """Align predictions (V, H, W) to the truth (V, H, W), with one factor for all views.

    ``none`` changes nothing; ``median`` multiplies by the ratio of the medians over valid pixels, where there are any.
    """
    if alignment not in ("none", "median"):
        raise ValueError(f"unknown depth alignment {alignment!r}: none or median")
    predicted, truth, valid = np.asarray(predicted, dtype=np.float64), np.asarray(truth), valid_depth(truth)
    if alignment == "none" or not valid.any():
        return predicted
    median = float(np.median(predicted[valid]))
    return predicted * (np.median(truth[valid].astype(np.float64)) / max(median, SMALLEST))


def view_errors(predicted: Array, truth: Array) -> dict[str, float]:
    """Compute the errors of one view (H, W) over its valid pixels, of which there is at least one.

    Returns:
        abs_rel, sq_rel, rmse, mae, rmse_log, si_log (the standard deviation of the log ratio) and delta_1, 2, 3: the
        share of pixels whose ratio to the truth, the larger over the smaller, is below 1.25, 1.25² and 1.25³.
    """
    valid = valid_depth(truth)
    target = np.asarray(truth, dtype=np.float64)[valid]
    guess = np.maximum(np.asarray(predicted, dtype=np.float64)[valid], SMALLEST)
    difference = guess - target
    log_ratio = np.log(guess / target)
    ratio = np.exp(np.abs(log_ratio))
    return {
        "abs_rel": float(np.mean(np.abs(difference) / target)),
        "sq_rel": float(np.mean(difference**2 / target)),
        "rmse": float(np.sqrt(np.mean(difference**2))),
        "mae": float(np.mean(np.abs(difference))),
        "rmse_log": float(np.sqrt(np.mean(log_ratio**2))),
        "si_log": float(np.std(log_ratio)),
        "delta_1": float(np.mean(ratio < 1.25)),
        "delta_2": float(np.mean(ratio < 1.25**2)),
        "delta_3": float(np.mean(ratio < 1.25**3)),
    }


def scene_errors(predicted: Array, truth: Array, alignment: Alignment) -> list[dict[str, float]]:
    """Compute :func:`view_errors` of a scene's views (V, H, W), aligned together, without views that lack depth.

    Raises:
        ValueError: the shapes differ.
        ModelError: a prediction is not finite.
    """
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    if predicted.shape != truth.shape or predicted.ndim != 3:
        raise ValueError(f"predicted depth has shape {predicted.shape}, true depth {truth.shape}; both (V, H, W)")
    if not np.isfinite(predicted).all():
        raise ModelError("the model predicted depth that is not a finite number; its weights may be damaged")
    aligned = align_depth(predicted, truth, alignment)
    return [view_errors(*pair) for pair in zip(aligned, truth, strict=True) if valid_depth(pair[1]).any()]


def errors_by_distance(predicted: Array, truth: Array) -> list[list[float]]:
    """Sum relative errors of valid pixels between neighbouring ``DISTANCES`` (metres).

    Returns:
        ``[pixels, sum of relative errors]`` of each bin; pixels beyond the last distance are left out.
    """
    valid = valid_depth(truth)
    target = np.asarray(truth, dtype=np.float64)[valid]
    error = np.abs(np.maximum(np.asarray(predicted, dtype=np.float64)[valid], SMALLEST) - target) / target
    counts, _ = np.histogram(target, DISTANCES)
    sums, _ = np.histogram(target, DISTANCES, weights=error)
    return [[int(count), float(total)] for count, total in zip(counts, sums, strict=True)]


class DepthScorer:
    """Aggregates depth errors scene by scene; stores nine numbers."""

    def __init__(self, alignment: Alignment = "none") -> None:
        self.alignment = alignment
        self.views = 0
        self.scenes = 0
        self._sums: dict[str, float] = {}

    def add(self, predicted: Array, truth: Array) -> float | None:
        """Add the views (V, H, W) of one scene; raises what :func:`scene_errors` raises.

        Returns:
            The scene's own AbsRel; None where no pixel is valid.
        """
        return self.add_views(scene_errors(predicted, truth, self.alignment))

    def add_views(self, errors: Sequence[Mapping[str, float]]) -> float | None:
        """Add the :func:`scene_errors` of one scene and return its AbsRel; None where there is no view."""
        if not errors:
            return None
        for name in errors[0]:
            self._sums[name] = self._sums.get(name, 0.0) + sum(error[name] for error in errors)
        self.views += len(errors)
        self.scenes += 1
        return sum(error["abs_rel"] for error in errors) / len(errors)

    def result(self) -> dict[str, float | int | str] | None:
        """Average every error over views, with ``alignment``, ``n`` (views) and ``scenes``; None without views."""
        if not self.views:
            return None
        means: dict[str, float | int | str] = {name: total / self.views for name, total in self._sums.items()}
        return means | {"alignment": self.alignment, "n": self.views, "scenes": self.scenes}
