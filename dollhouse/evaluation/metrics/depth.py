"""How far predicted depth lies from true depth: the usual errors, gathered over many scenes.

Knows nothing of models or scenes: it compares stacks of depth maps of one size. The errors are those of
Eigen et al., "Depth map prediction from a single image using a multi-scale deep network" (2014). Each is averaged
over the valid pixels of a view first and over views second, so a view with little valid depth counts as much as
any other. ``abs_rel``, ``sq_rel``, ``rmse``, ``mae`` are in the depth's own unit or relative; ``si_log`` is not times
100, as KITTI prints it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import ModelError
from dollhouse.geometry import Array

Alignment = Literal["none", "median", "least-squares"]

VERSION = "depth:1"  #: rises when any number may change
DISTANCES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 12.0)  #: metres, edges of bins
SMALLEST = 1e-3  #: predictions are raised to this many metres, so that ratios and logarithms exist


def valid_depth(depth: Array) -> NDArray[np.bool_]:
    """Where a true depth map (..., H, W) says something: finite and above zero."""
    return np.isfinite(depth) & (depth > 0)


def align_depth(predicted: Array, truth: Array, alignment: Alignment) -> Array:
    """The predictions (V, H, W) brought to the scale of the truth (V, H, W), with one alignment for all views.

    ``none`` changes nothing; ``median`` multiplies by the ratio of the medians over valid pixels;
    ``least-squares`` fits a scale and a shift. Where no pixel is valid, nothing changes.
    """
    if alignment not in ("none", "median", "least-squares"):
        raise ValueError(f"unknown depth alignment {alignment!r}: none, median or least-squares")
    predicted = np.asarray(predicted, dtype=np.float64)
    valid = valid_depth(truth)
    if alignment == "none" or not valid.any():
        return predicted
    guess, target = predicted[valid], np.asarray(truth, dtype=np.float64)[valid]
    if alignment == "median":
        return predicted * (np.median(target) / max(float(np.median(guess)), SMALLEST))
    scale, shift = np.linalg.lstsq(np.column_stack([guess, np.ones_like(guess)]), target, rcond=None)[0]
    return predicted * scale + shift


def view_errors(predicted: Array, truth: Array) -> dict[str, float]:
    """The errors of one view over its valid pixels; both maps (H, W), in the same unit, at least one pixel valid.

    abs_rel, sq_rel, rmse, mae, rmse_log, si_log (the standard deviation of the log ratio) and delta_1, 2, 3: the share
    of pixels whose ratio to the truth, the larger over the smaller, is below 1.25, 1.25² and 1.25³.
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
    """:func:`view_errors` of the views (V, H, W) of one scene, aligned together; views without depth are left out.

    Raises ValueError where the shapes differ, and :class:`~dollhouse.errors.ModelError` where a prediction is not
    finite.
    """
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    if predicted.shape != truth.shape or predicted.ndim != 3:
        raise ValueError(f"predicted depth has shape {predicted.shape}, true depth {truth.shape}; both (V, H, W)")
    if not np.isfinite(predicted).all():
        raise ModelError("the model predicted depth that is not a finite number; its weights may be damaged")
    aligned = align_depth(predicted, truth, alignment)
    return [view_errors(one, other) for one, other in zip(aligned, truth, strict=True) if valid_depth(other).any()]


def errors_by_distance(predicted: Array, truth: Array, edges: Sequence[float] = DISTANCES) -> list[list[float]]:
    """``[pixels, sum of relative errors]`` of the valid pixels between each two neighbouring ``edges`` (metres).

    Both maps are of one shape; what lies beyond the last edge is left out. AbsRel by distance is the ratio of the sums,
    so that those of many scenes can be added.
    """
    valid = valid_depth(truth)
    target = np.asarray(truth, dtype=np.float64)[valid]
    error = np.abs(np.maximum(np.asarray(predicted, dtype=np.float64)[valid], SMALLEST) - target) / target
    counts, _ = np.histogram(target, edges)
    sums, _ = np.histogram(target, edges, weights=error)
    return [[int(count), float(total)] for count, total in zip(counts, sums, strict=True)]


class DepthScorer:
    """Gathers depth errors scene by scene; keeps nine numbers however many scenes it is shown."""

    def __init__(self, alignment: Alignment = "none") -> None:
        self.alignment = alignment
        self.views = 0
        self.scenes = 0
        self._sums: dict[str, float] = {}

    def add(self, predicted: Array, truth: Array) -> float | None:
        """Compare the views (V, H, W) of one scene; returns the scene's own AbsRel, None where nothing was valid.

        Raises what :func:`scene_errors` raises.
        """
        return self.add_views(scene_errors(predicted, truth, self.alignment))

    def add_views(self, errors: Sequence[Mapping[str, float]]) -> float | None:
        """Count what :func:`scene_errors` found in one scene; returns its AbsRel, None where there is no view."""
        if not errors:
            return None
        for name in errors[0]:
            self._sums[name] = self._sums.get(name, 0.0) + sum(error[name] for error in errors)
        self.views += len(errors)
        self.scenes += 1
        return sum(error["abs_rel"] for error in errors) / len(errors)

    def result(self) -> dict[str, float | int | str] | None:
        """Every error averaged over views, with ``alignment``, ``n`` (views) and ``scenes``; None if none was added."""
        if not self.views:
            return None
        means: dict[str, float | int | str] = {name: total / self.views for name, total in self._sums.items()}
        return means | {"alignment": self.alignment, "n": self.views, "scenes": self.scenes}


def score_depth(
    scenes: Iterable[tuple[Array, Array]], alignment: Alignment = "none"
) -> dict[str, float | int | str] | None:
    """:meth:`DepthScorer.result` over predicted and true depth, (V, H, W) each, of one scene after the other."""
    scorer = DepthScorer(alignment)
    for predicted, truth in scenes:
        scorer.add(predicted, truth)
    return scorer.result()
