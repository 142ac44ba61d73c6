"""Calibration of yes/no answers, and error rates by distance and number of objects, with intervals.

Points hold about equally many answers each; evenly spaced ones would hold too few where it matters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dollhouse.evaluation.metrics.bootstrap import accuracy_interval
from dollhouse.questions.generate import FAMILIES

POINTS = 8  #: a curve, at most
LEAST = 20  #: answers a point, so that short runs get few points
YES_NO = {"yes", "no"}

Row = Mapping[str, Any]  #: of predictions.jsonl


def answer_curves(rows: Sequence[Row], seed: int = 0) -> dict[str, Any]:
    """Compute the curves of scored answers.

    Returns:
        ``calibration`` of yes/no answers: ``points``, ``n`` and ``ece``, the mean distance of confidence and accuracy
        weighted by answers (Guo et al., ICML 2017, with bins of equal size); ``by_distance`` and ``by_objects``: wrong
        answers of the four families. Each is None where nothing is known. A point is ``{from, to, middle, value, n,
        ci95}``, ``value`` the share of correct answers for calibration, of wrong ones else.
    """
    judged = [row for row in rows if row["correct"] is not None]
    spatial = [row for row in judged if row["family"] in FAMILIES]
    yes_no = [row for row in judged if row["confidence"] is not None and set(row["choices"]) == YES_NO]
    return {
        "calibration": confidence_curve(yes_no, seed),
        "by_distance": _curve(spatial, "distance", False, seed),
        "by_objects": _curve(spatial, "objects", False, seed),
    }


def confidence_curve(rows: Sequence[Row], seed: int = 0) -> dict[str, Any] | None:
    """Compute ``{n, ece, points}``, as of :func:`answer_curves`, of rows with ``confidence``; None without rows."""
    points = _curve(rows, "confidence", True, seed)
    if points is None:
        return None
    error = math.fsum(point["n"] * abs(point["value"] - point["middle"]) for point in points) / len(rows)
    return {"n": len(rows), "ece": error, "points": points}


def _curve(rows: Sequence[Row], field: str, correct: bool, seed: int) -> list[dict[str, Any]] | None:
    """Return the share of answers whose ``correct`` is as given, along a field of the rows."""
    known = sorted((row for row in rows if row[field] is not None), key=lambda row: row[field])
    if not known:
        return None
    points = []
    for start, end in _cuts([row[field] for row in known]):
        group = known[start:end]
        hits = [float(row["correct"] == correct) for row in group]
        scenes = {scene: place for place, scene in enumerate(dict.fromkeys(row["scene"] for row in group))}
        places = [scenes[row["scene"]] for row in group]
        totals = np.bincount(places).astype(np.float64)
        interval = accuracy_interval(np.bincount(places, hits).astype(np.float64), totals, seed=seed)
        points.append(
            {
                "from": group[0][field],
                "to": group[-1][field],
                "middle": math.fsum(row[field] for row in group) / len(group),
                "value": math.fsum(hits) / len(group),
                "n": len(group),
                "ci95": None if interval is None else list(interval),
            }
        )
    return points


def _cuts(values: Sequence[float]) -> list[tuple[int, int]]:
    """Cut sorted values into at most POINTS runs of at least LEAST, equal values together."""
    least = max(LEAST, math.ceil(len(values) / POINTS))
    cuts, start = [], 0
    for end in range(1, len(values) + 1):
        if end == len(values) or (end - start >= least and values[end] != values[end - 1]):
            cuts.append((start, end))
            start = end
    if len(cuts) > 1 and cuts[-1][1] - cuts[-1][0] < LEAST:  # a short last run joins its neighbour
        cuts[-2:] = [(cuts[-2][0], cuts[-1][1])]
    return cuts
