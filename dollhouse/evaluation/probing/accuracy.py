"""Accuracy under every control, judged by geometry, and the paired difference to the untouched student.

Knows answers and scenes by name, nothing of models. The same questions are asked under every control, so differences
are taken question by question; intervals resample whole scenes (:mod:`dollhouse.evaluation.metrics.bootstrap`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dollhouse.evaluation.metrics.bootstrap import accuracy_interval
from dollhouse.geometry import Array
from dollhouse.questions.sampling import FAMILIES

OVERALL = "overall"  #: all questions of the four families
BASE = "untouched"


@dataclass(frozen=True)
class Row:
    """One question, and what was said to it under each control."""

    scene: str
    id: str
    family: str
    question: str
    answer: str
    said: Mapping[str, str]
    right: Mapping[str, bool]


@dataclass(frozen=True)
class Figure:
    """Accuracy of one control on one group of questions; intervals are None with fewer than two scenes."""

    accuracy: float
    n: int
    scenes: int
    ci95: tuple[float, float] | None
    difference: float  #: accuracy minus the untouched student's
    difference_ci95: tuple[float, float] | None
    changed: float  #: share of the questions that are answered in other words

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def figures(rows: Sequence[Row], controls: Sequence[str], seed: int = 0) -> dict[str, dict[str, Figure]]:
    """Control -> group -> figure. Groups: the four families, ``overall`` over them, then the other families."""
    families = {row.family for row in rows}
    groups = {family: {family} for family in FAMILIES if family in families}
    if groups:
        groups[OVERALL] = set(groups)
    groups |= {family: {family} for family in sorted(families - set(FAMILIES))}
    return {
        control: {
            name: _figure([row for row in rows if row.family in members], control, seed)
            for name, members in groups.items()
        }
        for control in controls
    }


def _figure(rows: Sequence[Row], control: str, seed: int) -> Figure:
    scenes = [row.scene for row in rows]
    right = np.array([row.right[control] for row in rows], dtype=np.float64)
    gained = right - np.array([row.right[BASE] for row in rows], dtype=np.float64)
    asked = by_scene(scenes, np.ones(len(rows)))
    return Figure(
        accuracy=float(right.mean()),
        n=len(rows),
        scenes=len(asked),
        ci95=accuracy_interval(by_scene(scenes, right), asked, seed=seed),
        difference=float(gained.mean()),
        difference_ci95=accuracy_interval(by_scene(scenes, gained), asked, seed=seed),
        changed=float(np.mean([row.said[control] != row.said[BASE] for row in rows])),
    )


def by_scene(scenes: Sequence[str], values: Array) -> Array:
    """Sums (S,) of ``values`` (n,) over each scene, in the order in which ``scenes`` (n) first names them."""
    place = {scene: number for number, scene in enumerate(dict.fromkeys(scenes))}
    sums = np.zeros(len(place))
    np.add.at(sums, [place[scene] for scene in scenes], values)
    return sums
