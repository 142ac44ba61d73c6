"""Accuracy under every ablation, its paired difference to the unmodified student, and what follows in words.

Differences are taken question by question; intervals resample scenes (:mod:`dollhouse.evaluation.metrics.bootstrap`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dollhouse.evaluation.metrics.bootstrap import accuracy_interval
from dollhouse.geometry import Array
from dollhouse.questions.sampling import FAMILIES

OVERALL = "overall"  #: all questions of the four families
BASELINE = "unmodified"  #: the ablation that others are compared with
MARGIN = 0.02  #: a change whose interval lies within this counts as none
CONTENT = "shuffled"  #: the ablation that changes the content and nothing else
Effect = Literal["falls", "rises", "stays", "unclear"]


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
    scenes, ones = [row.scene for row in rows], np.ones(len(rows))
    correct = np.array([row.correct[ablation] for row in rows], dtype=np.float64)
    gained = correct - np.array([row.correct[BASELINE] for row in rows], dtype=np.float64)
    return AblationScore(
        accuracy=float(correct.mean()),
        n=len(rows),
        scenes=len(set(scenes)),
        ci95=scene_interval(scenes, correct, ones, seed),
        difference=float(gained.mean()),
        difference_ci95=scene_interval(scenes, gained, ones, seed),
        changed=float(np.mean([row.predictions[ablation] != row.predictions[BASELINE] for row in rows])),
    )


def scene_interval(scenes: Sequence[str], earned: Array, weight: Array, seed: int) -> tuple[float, float] | None:
    """Return the 95 % interval of ``sum(earned) / sum(weight)``, all (n,), resampling whole scenes."""
    return accuracy_interval(sum_by_scene(scenes, earned), sum_by_scene(scenes, weight), seed=seed)


def sum_by_scene(scenes: Sequence[str], values: Array) -> Array:
    """Sum ``values`` (n,) over each scene, in the order in which ``scenes`` (n) first names them."""
    place = {scene: number for number, scene in enumerate(dict.fromkeys(scenes))}
    return np.bincount([place[scene] for scene in scenes], weights=values).astype(np.float64)


def effect(score: AblationScore) -> Effect:
    """Classify a change of accuracy: interval below 0, above 0, within the margin, or none of these."""
    if score.difference_ci95 is None:
        return "unclear"
    low, high = score.difference_ci95
    if high < 0 or low > 0:
        return "falls" if high < 0 else "rises"
    return "stays" if max(-low, high) <= MARGIN else "unclear"


def verdict(scores: Mapping[str, Mapping[str, AblationScore]]) -> str:
    """State in words whether the thinking tokens carry content, from the intervals of :func:`score_ablations` alone.

    Two questions are kept apart: do the answers need what was trained to stand at the thinking positions (zeros, noise,
    ...), and does its content have to come from this scene (shuffled).
    """
    ablations = {name: groups for name, groups in scores.items() if name != BASELINE}
    overall = {name: groups[OVERALL] for name, groups in ablations.items() if OVERALL in groups}
    if all(score.difference_ci95 is None for score in overall.values()):
        return "Too few scenes to decide whether the thinking tokens carry content: probe more of them."
    rises = _listed(overall, "rises")
    statement = _content(overall) + (f" Accuracy rises with {rises}." if rises else "")
    others = []
    for family in dict.fromkeys(group for groups in ablations.values() for group in groups):
        falls = [name for name, groups in ablations.items() if family in groups and effect(groups[family]) == "falls"]
        if falls and family not in (OVERALL, *FAMILIES):
            others.append(f"{family} falls with {', '.join(falls)}")
    return statement + (f" Outside the four families, {'; '.join(others)}." if others else "")


def _content(overall: Mapping[str, AblationScore]) -> str:
    effects = {name: effect(score) for name, score in overall.items()}
    shuffled = _points(overall[CONTENT]) if CONTENT in overall else ""
    if effects.get(CONTENT) == "falls":
        return (
            "The thinking tokens carry content about the scene that the answers use: with those of another scene, "
            f"accuracy falls ({shuffled})."
        )
    if "falls" in effects.values():
        other_scene = {
            None: "Whether it must come from this scene was not tested.",
            "unclear": "That it must come from this scene is not shown: with another scene's, the interval of the "
            f"change includes 0 ({shuffled}).",
        }.get(effects.get(CONTENT), f"It need not come from this scene: another scene's does as well ({shuffled}).")
        return (
            "The answers need what was trained to stand at the thinking positions: accuracy falls with "
            f"{_listed(overall, 'falls')}. {other_scene}"
        )
    largest = 100 * max(max(map(abs, score.difference_ci95 or (0.0, 0.0))) for score in overall.values())
    if "unclear" not in effects.values():
        return (
            "The thinking tokens carry no content that the answers use: no ablation changes accuracy by more than "
            f"{largest:.1f} points."
        )
    first = next(iter(overall.values()))
    return (
        f"No evidence that the thinking tokens carry content: no ablation lowers accuracy measurably on {first.n:,} "
        f"questions about {first.scenes} scenes; changes of up to {largest:.1f} points cannot be ruled out."
    )


def _listed(overall: Mapping[str, AblationScore], wanted: Effect) -> str:
    return ", ".join(f"{name} ({_points(score)})" for name, score in overall.items() if effect(score) == wanted)


def _points(score: AblationScore) -> str:
    low, high = score.difference_ci95 or (0.0, 0.0)
    return f"{100 * score.difference:+.1f} points, 95 %: {100 * low:+.1f} to {100 * high:+.1f}"
