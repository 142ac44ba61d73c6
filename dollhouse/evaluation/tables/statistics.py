"""Paired bootstrap over rooms, and seeds: rates, differences, ratios, mean average precision, text scores.

A statistic maps how often each room was drawn to a number, so one set of draws serves every measure, and two models
are compared on the same rooms. Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8, 13.

Axes: D draws, S rooms, R seeds, N predictions of one class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dollhouse.evaluation.metrics.bootstrap import interval_95, resampled_sums
from dollhouse.evaluation.metrics.text.bleu import ORDERS, BleuCounts
from dollhouse.evaluation.metrics.text.ptb import split_captions
from dollhouse.evaluation.metrics.text.score import import_extra
from dollhouse.geometry import Array

ROUGE = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL"}
Statistic = Callable[[Array], Array]  #: times each room was drawn (D, S) -> the figure over each draw (D,)


@dataclass(frozen=True)
class Figure:
    """A statistic over ``rooms`` rooms, resting on ``n`` questions, views or objects."""

    statistic: Statistic
    rooms: int
    n: int

    def estimate(self) -> Estimate | None:
        """Estimate the figure of one seed."""
        return estimate([self.statistic], self.rooms, self.n)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, None where there are too few rooms."""

    value: float
    ci95: tuple[float, float] | None
    n: int
    rooms: int
    seeds: int = 1

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Estimate:
        """Read what :meth:`rounded` returned."""
        interval = stored["ci95"]
        return cls(**{**stored, "ci95": None if interval is None else (interval[0], interval[1])})

    def rounded(self, digits: int) -> dict[str, Any]:
        """Return the fields as JSON values, numbers with so many significant digits."""
        number = [float(f"{value:.{digits}g}") for value in (self.value, *(self.ci95 or ()))]
        return {**vars(self), "value": number[0], "ci95": number[1:] or None}

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval of a difference excludes no change."""
        return self.ci95 is not None and (self.ci95[0] > 0 or self.ci95[1] < 0)


def rate(earned: Sequence[float] | Array, out_of: Sequence[float] | Array) -> Statistic:
    """Return the statistic ``sum(earned) / sum(out_of)``, both by room (S,)."""
    top, bottom = np.asarray(earned, dtype=np.float64), np.asarray(out_of, dtype=np.float64)
    return ratio(lambda times: times @ top, lambda times: times @ bottom)


def difference(a: Statistic, b: Statistic) -> Statistic:
    """Return ``a - b`` on the same draws."""
    return lambda times: a(times) - b(times)


def ratio(a: Statistic, b: Statistic) -> Statistic:
    """Return ``a / b`` on the same draws."""

    def statistic(times: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return a(times) / b(times)

    return statistic


def corrected(accuracy: Statistic, chance: Statistic, of: Statistic | None = None) -> Statistic:
    """Return the share of what lies above chance: ``(a - c) / (1 - c)``, or ``(a - c) / (b - c)`` with ``of`` as b."""
    return lambda times: ratio(
        difference(accuracy, chance), difference(of or (lambda drawn: np.ones(len(drawn))), chance)
    )(times)


def estimate(seeds: Sequence[Statistic], rooms: int, n: int) -> Estimate | None:
    """Estimate the mean of a statistic over ``seeds`` (one each, over the same rooms), with its interval.

    Rooms are drawn alike for all seeds. Of one seed the interval has the percentiles of the draws. Three seeds drawn
    with replacement would give intervals that are far too narrow, so of several it is Student's t times the root of two
    variances, that of the mean over draws and that of the seeds over their number, with the degrees of freedom of Welch
    and Satterthwaite. What varies with room and seed is in both, so that the interval is rather too wide. None where
    the figure does not exist, as for a family without questions.
    """
    by_seed = np.array([statistic(np.ones((1, rooms)))[0] for statistic in seeds])
    value = float(by_seed.mean())
    if not np.isfinite(value):
        return None
    interval = None
    if rooms > 1:
        times = resampled_sums(np.eye(rooms))
        drawn = np.mean([statistic(times) for statistic in seeds], axis=0)  # (D,)
        drawn = drawn[np.isfinite(drawn)]
        interval = interval_95(drawn)
        if len(seeds) > 1 and len(drawn):
            parts = np.array([drawn.var(), by_seed.var(ddof=1) / len(seeds)])
            interval = _student_interval(value, parts, np.array([rooms - 1, len(seeds) - 1]))
    return Estimate(value, interval, n, rooms, len(seeds))


def _student_interval(value: float, variances: Array, freedom: Array) -> tuple[float, float]:
    """Return the 95 % interval of a mean whose variance is the sum of ``variances``, each with ``freedom``."""
    total = float(variances.sum())
    if total == 0:
        return value, value
    degrees = total**2 / float((variances**2 / freedom).sum())
    half = float(import_extra("scipy.special", "scipy").stdtrit(degrees, 0.975)) * total**0.5
    return value - half, value + half


def mean_average_precision(rooms: Sequence[Mapping[str, Any]]) -> Statistic:
    """Return mAP as a statistic: the mean over the classes that occur in a draw.

    A room holds ``truths`` {label: count} and ``found`` [[label, score, whether it matched an object]].
    """
    labels = sorted({label for room in rooms for label in room["truths"]})
    truths = np.array([[room["truths"].get(label, 0) for label in labels] for room in rooms], dtype=np.float64)
    found = [(*entry, number) for number, room in enumerate(rooms) for entry in room["found"]]
    found.sort(key=lambda entry: -entry[1])
    ranked = []
    for label in labels:
        hits = np.array([hit for name, _, hit, _ in found if name == label], dtype=np.float64)
        ranked.append((hits, np.array([number for name, _, _, number in found if name == label], dtype=np.int64)))

    def statistic(times: Array) -> Array:
        wanted = times @ truths  # (D, L)
        areas = [_summed_precision(times[:, room], hits) for hits, room in ranked]
        with np.errstate(invalid="ignore", divide="ignore"):
            each = np.stack(areas, -1) / wanted if labels else np.full((len(times), 1), np.nan)
        counted = np.isfinite(each)
        return np.where(counted, each, 0.0).sum(-1) / np.maximum(counted.sum(-1), 1)

    return statistic


def _summed_precision(times: Array, hits: Array) -> Array:
    """Area under the monotone precision-recall curve times the number of objects, of ``times`` (D, N), ``hits`` (N,).

    A prediction drawn t times counts t times in a row, each with the precision at the last of them.
    """
    matched, made = np.cumsum(times * hits, axis=1), np.cumsum(times, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(made > 0, matched / made, 0.0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return (times * hits * envelope).sum(1)


def text_figures(predictions: Sequence[str], references: Sequence[str], scenes: Sequence[str]) -> dict[str, Figure]:
    """Return the scores of N texts against their references, over their S scenes.

    METEOR is none of them: it needs WordNet, which who verifies a table may not have.
    """
    names = list(dict.fromkeys(scenes))
    member = np.zeros((len(predictions), len(names)))  # (N, S)
    member[np.arange(len(predictions)), [names.index(scene) for scene in scenes]] = 1.0

    def figure(statistic: Statistic) -> Figure:
        return Figure(statistic, len(names), len(predictions))

    def mean(values: Sequence[float] | Array) -> Figure:
        return figure(rate(np.asarray(values) @ member, member.sum(0)))

    pairs = zip(split_captions(predictions), split_captions(references), strict=True)
    counts = [BleuCounts.of(words, [reference]) for words, reference in pairs]
    by_text = [[*count.matched, *count.predicted, count.length, count.closest] for count in counts]
    by_room = member.T @ np.array(by_text, dtype=np.float64)
    scores = {f"BLEU-{order + 1}": figure(partial(_bleu, by_room, order)) for order in range(ORDERS)}
    scorer = import_extra("rouge_score.rouge_scorer", "rouge-score").RougeScorer(list(ROUGE.values()))
    rouge = [scorer.score(reference, text) for text, reference in zip(predictions, references, strict=True)]
    for name, kind in ROUGE.items():
        for suffix, field in (("", "fmeasure"), (" precision", "precision"), (" recall", "recall")):
            scores[name + suffix] = mean([getattr(score[kind], field) for score in rouge])
    return scores


def shortened(predictions: Sequence[str], references: Sequence[str]) -> tuple[list[str], list[str]]:
    """Cut both texts of every pair to the words of the shorter one."""
    pairs = [(a.split(), b.split()) for a, b in zip(predictions, references, strict=True)]
    return [" ".join(a[: len(b)]) for a, b in pairs], [" ".join(b[: len(a)]) for a, b in pairs]


def _bleu(by_room: Array, order: int, times: Array) -> Array:
    """BLEU of drawn rooms, whose counts are in ``by_room``."""
    values = []
    for *numbers, length, closest in (times @ by_room).tolist():
        counts = BleuCounts()
        counts.matched, counts.predicted = numbers[:ORDERS], numbers[ORDERS:]
        counts.length, counts.closest = length, closest
        values.append(counts.scores()[order])
    return np.array(values)
