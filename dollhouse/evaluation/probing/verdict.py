"""A plain statement on whether the thinking tokens carry content, from the ablations' intervals alone.

Two questions are kept apart: do the answers need what was trained to stand at the thinking positions (zeros, noise,
...), and does its content have to come from this scene (shuffled).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from dollhouse.evaluation.probing.accuracy import BASELINE, OVERALL, AblationScore
from dollhouse.questions.sampling import FAMILIES

MARGIN = 0.02  #: a change whose interval lies within this counts as none
CONTENT = "shuffled"  #: the ablation that changes the content and nothing else

Effect = Literal["falls", "rises", "stays", "unclear"]


def effect(score: AblationScore) -> Effect:
    """Classify a change of accuracy: interval below 0, above 0, within the margin, or none of these."""
    if score.difference_ci95 is None:
        return "unclear"
    low, high = score.difference_ci95
    if low == high == 0:
        return "stays"
    if high < 0:
        return "falls"
    if low > 0:
        return "rises"
    return "stays" if max(-low, high) <= MARGIN else "unclear"


def verdict(scores: Mapping[str, Mapping[str, AblationScore]]) -> str:
    """State the result of :func:`~dollhouse.evaluation.probing.accuracy.score_ablations` in words."""
    ablations = {name: groups for name, groups in scores.items() if name != BASELINE}
    overall = {name: groups[OVERALL] for name, groups in ablations.items() if OVERALL in groups}
    if not overall or all(score.difference_ci95 is None for score in overall.values()):
        return "Too few scenes to decide whether the thinking tokens carry content: probe more of them."
    rises = [name for name, score in overall.items() if effect(score) == "rises"]
    parts = [_content(overall), f"Accuracy rises with {_listed(rises, overall)}." if rises else "", _others(ablations)]
    return " ".join(part for part in parts if part)


def _content(overall: Mapping[str, AblationScore]) -> str:
    effects = {name: effect(score) for name, score in overall.items()}
    falls = [name for name, change in effects.items() if change == "falls"]
    if CONTENT in falls:
        return (
            "The thinking tokens carry content about the scene that the answers use: with those of another scene, "
            f"accuracy falls ({_points(overall[CONTENT])})."
        )
    if falls:
        return (
            "The answers need what was trained to stand at the thinking positions: accuracy falls with "
            f"{_listed(falls, overall)}. {_other_scene(overall, effects)}"
        )
    largest = max(max(map(abs, score.difference_ci95 or (0.0, 0.0))) for score in overall.values())
    if "unclear" not in effects.values():
        return (
            "The thinking tokens carry no content that the answers use: no ablation changes accuracy by more than "
            f"{100 * largest:.1f} points."
        )
    first = next(iter(overall.values()))
    return (
        f"No evidence that the thinking tokens carry content: no ablation lowers accuracy measurably on {first.n:,} "
        f"questions about {first.scenes} scenes; changes of up to {100 * largest:.1f} points cannot be ruled out."
    )


def _other_scene(overall: Mapping[str, AblationScore], effects: Mapping[str, Effect]) -> str:
    if CONTENT not in overall:
        return "Whether it must come from this scene was not tested."
    if effects[CONTENT] in ("stays", "rises"):
        return f"It need not come from this scene: another scene's does as well ({_points(overall[CONTENT])})."
    return (
        "That it must come from this scene is not shown: with another scene's, the interval of the change includes 0 "
        f"({_points(overall[CONTENT])})."
    )


def _others(ablations: Mapping[str, Mapping[str, AblationScore]]) -> str:
    """The families outside the four in which an ablation lowers accuracy."""
    changes = []
    for family in dict.fromkeys(group for groups in ablations.values() for group in groups):
        if family == OVERALL or family in FAMILIES:
            continue
        falls = [name for name, groups in ablations.items() if family in groups and effect(groups[family]) == "falls"]
        if falls:
            changes.append(f"{family} falls with {', '.join(falls)}")
    return f"Outside the four families, {'; '.join(changes)}." if changes else ""


def _listed(names: Sequence[str], overall: Mapping[str, AblationScore]) -> str:
    return ", ".join(f"{name} ({_points(overall[name])})" for name in names)


def _points(score: AblationScore) -> str:
    if score.difference_ci95 is None:
        return f"{100 * score.difference:+.1f} points"
    low, high = score.difference_ci95
    return f"{100 * score.difference:+.1f} points, 95 %: {100 * low:+.1f} to {100 * high:+.1f}"
