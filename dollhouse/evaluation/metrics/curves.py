"""How answers go wrong as things get harder, and whether a model knows when it is wrong: points with intervals.

Knows the rows of ``predictions.jsonl`` that an evaluation on scenes writes, and nothing of how curves are drawn. Points
hold about equally many answers each, since evenly spaced ones would hold a handful where it matters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dollhouse.evaluation.metrics.bootstrap import accuracy_interval
from dollhouse.questions.generate import FAMILIES

POINTS = 8  #: a curve, at most
LEAST = 20  #: answers a point, so that short runs get few points instead of wild ones
YES_NO = {"yes", "no"}

Row = Mapping[str, Any]


def answer_curves(rows: Sequence[Row], seed: int = 0) -> dict[str, Any]:
    """``calibration`` of yes/no answers, wrong answers ``by_distance`` and ``by_objects``; None where nothing is known.

    Only judged answers count; by distance and number of objects, only those of the four families. Each curve is a list
    of ``{from, to, middle, value, n, ci95}`` with rising ``middle``, the mean of what goes along the curve; ``value``
    is the share of right answers for calibration, of wrong ones else. Calibration has ``points``, ``n`` and ``ece``,
    the mean distance of confidence and accuracy over points, weighted by their answers (Guo et al., ICML 2017, with
    bins of equal size instead of equal width).
    """
    judged = [row for row in rows if row["correct"] is not None]
    spatial = [row for row in judged if row["family"] in FAMILIES]
    sure = [row for row in judged if row["confidence"] is not None and set(row["choices"]) == YES_NO]
    calibration = _curve(sure, "confidence", True, seed)
    return {
        "calibration": calibration
        and {
            "n": len(sure),
            "ece": math.fsum(point["n"] * abs(point["value"] - point["middle"]) for point in calibration) / len(sure),
            "points": calibration,
        },
        "by_distance": _curve(spatial, "distance", False, seed),
        "by_objects": _curve(spatial, "objects", False, seed),
    }


def _curve(rows: Sequence[Row], along: str, right: bool, seed: int) -> list[dict[str, Any]] | None:
    """The share of answers that are ``right`` (or not) along a field of the rows."""
    known = sorted((row for row in rows if row[along] is not None), key=lambda row: row[along])
    if not known:
        return None
    points = []
    for start, end in _cuts([row[along] for row in known]):
        group = known[start:end]
        hit = [float(row["correct"] == right) for row in group]
        scenes = {scene: place for place, scene in enumerate(dict.fromkeys(row["scene"] for row in group))}
        places = [scenes[row["scene"]] for row in group]
        asked = np.bincount(places).astype(np.float64)
        interval = accuracy_interval(np.bincount(places, hit).astype(np.float64), asked, seed=seed)
        points.append(
            {
                "from": group[0][along],
                "to": group[-1][along],
                "middle": math.fsum(row[along] for row in group) / len(group),
                "value": math.fsum(hit) / len(group),
                "n": len(group),
                "ci95": None if interval is None else list(interval),
            }
        )
    return points


def _cuts(values: Sequence[float]) -> list[tuple[int, int]]:
    """Where to cut sorted values into at most POINTS runs of at least LEAST, equal values together."""
    least = max(LEAST, math.ceil(len(values) / POINTS))
    cuts, start = [], 0
    for end in range(1, len(values) + 1):
        if end == len(values) or (end - start >= least and values[end] != values[end - 1]):
            cuts.append((start, end))
            start = end
    if len(cuts) > 1 and cuts[-1][1] - cuts[-1][0] < LEAST:  # what is left over joins its neighbour
        cuts[-2:] = [(cuts[-2][0], cuts[-1][1])]
    return cuts
