"""How sure a figure is, and a difference of two: bootstrap over rooms, and over seeds where there are several.

A statistic is a function from how often each room was drawn to a number, so one set of draws serves accuracies,
losses and mean average precision alike, and two models are compared on the very same rooms. Knows nothing of what is
measured. Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 13.

Axes: D draws, S rooms, R seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dollhouse.evaluation.metrics.bootstrap import interval_95, resampled_sums
from dollhouse.geometry import Array

Statistic = Callable[[Array], Array]  #: times each room was drawn (D, S) -> the figure over each draw (D,)


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval, None where there are too few rooms to tell."""

    value: float
    ci95: tuple[float, float] | None
    n: int  #: questions, views or objects that it rests on
    rooms: int
    seeds: int = 1

    @property
    def certain(self) -> bool:
        """Of a difference: whether its interval leaves no change out."""
        return self.ci95 is not None and (self.ci95[0] > 0 or self.ci95[1] < 0)

    def as_json(self) -> dict[str, object]:
        return {
            "value": self.value,
            "ci95": None if self.ci95 is None else list(self.ci95),
            "n": self.n,
            "rooms": self.rooms,
            "seeds": self.seeds,
        }


def rate(earned: Sequence[float] | Array, out_of: Sequence[float] | Array) -> Statistic:
    """The statistic ``sum(earned) / sum(out_of)``, both by room (S,)."""
    top, bottom = np.asarray(earned, dtype=np.float64), np.asarray(out_of, dtype=np.float64)

    def statistic(times: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (times @ top) / (times @ bottom)

    return statistic


def difference(a: Statistic, b: Statistic) -> Statistic:
    """``a - b`` on the same draws."""
    return lambda times: a(times) - b(times)


def ratio(a: Statistic, b: Statistic) -> Statistic:
    """``a / b`` on the same draws."""

    def statistic(times: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return a(times) / b(times)

    return statistic


def estimate(seeds: Sequence[Statistic], rooms: int, n: int) -> Estimate | None:
    """The mean of a statistic over ``seeds`` (one each, all over the same rooms), with its interval.

    Rooms are drawn alike for all seeds; of several seeds as many are drawn with replacement, so that what training
    itself varies is in the interval (three seeds tell that roughly, one tells nothing of it). None where the figure
    does not exist, as the accuracy of a family that was never asked.
    """
    value = float(np.mean([statistic(np.ones((1, rooms)))[0] for statistic in seeds]))
    if not np.isfinite(value):
        return None
    interval = None
    if rooms > 1:
        times = resampled_sums(np.eye(rooms))
        drawn = np.stack([statistic(times) for statistic in seeds])  # (R, D)
        chosen = np.random.default_rng(1).integers(0, len(seeds), drawn.T.shape)
        interval = interval_95(np.take_along_axis(drawn.T, chosen, axis=1).mean(1))
    return Estimate(value, interval, n, rooms, len(seeds))
