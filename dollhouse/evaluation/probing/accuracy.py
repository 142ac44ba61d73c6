"""Accuracy under every ablation, judged by geometry, and its paired difference to the unmodified student.

The same questions are answered under every ablation, so differences are taken question by question; intervals resample
whole scenes (:mod:`dollhouse.evaluation.metrics.bootstrap`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dollhouse.evaluation.metrics.bootstrap import accuracy_interval
from dollhouse.geometry import Array
from dollhouse.questions.sampling import FAMILIES

OVERALL = "overall"  #: all questions of the four families
BASELINE = "unmodified"  #: the ablation that others are compared with


@dataclass(frozen=True)
class AblatedQuestion:
    """One question with its predictions under each ablation."""

    scene: str
    id: str
    family: str
    question: str
    answer: str
    predictions: Mapping[str, str]
    correct: Mapping[str, bool]


@dataclass(frozen=True)
class AblationScore:
    """Accuracy of one ablation on one group of questions; intervals are None with fewer than two scenes."""

    accuracy: float
    n: int
    scenes: int
    ci95: tuple[float, float] | None
    difference: float  #: accuracy minus the unmodified student's
    difference_ci95: tuple[float, float] | None
    changed: float  #: share of the questions whose answer has other words


def score_ablations(
    rows: Sequence[AblatedQuestion], ablations: Sequence[str], seed: int = 0
) -> dict[str, dict[str, AblationScore]]:
    """Score ablations by name, then by group: the four families, ``overall`` over them, then the other families."""
    families = {row.family for row in rows}
    groups = {family: {family} for family in FAMILIES if family in families}
    if groups:
        groups[OVERALL] = set(groups)
    groups |= {family: {family} for family in sorted(families - set(FAMILIES))}
    return {
        ablation: {
            name: _score([row for row in rows if row.family in members], ablation, seed)
            for name, members in groups.items()
        }
        for ablation in ablations
    }


def _score(rows: Sequence[AblatedQuestion], ablation: str, seed: int) -> AblationScore:
    scenes = [row.scene for row in rows]
    correct = np.array([row.correct[ablation] for row in rows], dtype=np.float64)
    gained = correct - np.array([row.correct[BASELINE] for row in rows], dtype=np.float64)
    count = sum_by_scene(scenes, np.ones(len(rows)))
    return AblationScore(
        accuracy=float(correct.mean()),
        n=len(rows),
        scenes=len(count),
        ci95=accuracy_interval(sum_by_scene(scenes, correct), count, seed=seed),
        difference=float(gained.mean()),
        difference_ci95=accuracy_interval(sum_by_scene(scenes, gained), count, seed=seed),
        changed=float(np.mean([row.predictions[ablation] != row.predictions[BASELINE] for row in rows])),
    )


def sum_by_scene(scenes: Sequence[str], values: Array) -> Array:
    """Sum ``values`` (n,) over each scene, in the order in which ``scenes`` (n) first names them."""
    place = {scene: number for number, scene in enumerate(dict.fromkeys(scenes))}
    sums = np.zeros(len(place))
    np.add.at(sums, [place[scene] for scene in scenes], values)
    return sums
