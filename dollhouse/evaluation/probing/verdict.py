"""A plain word on whether the thinking tokens carry content, drawn from the controls' intervals and nothing else.

Knows figures, nothing of models. Two questions are kept apart: does anything have to stand at the thinking positions
that was trained to stand there (zeros, noise, ...), and does it have to be about this scene (shuffled).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from dollhouse.evaluation.probing.accuracy import BASE, OVERALL, Figure
from dollhouse.questions.sampling import FAMILIES

MARGIN = 0.02  #: a change that is surely smaller than this counts as none
CONTENT = "shuffled"  #: the control that changes the content and nothing else

Effect = Literal["falls", "rises", "stays", "unclear"]


def effect(figure: Figure) -> Effect:
    """What a control does to accuracy: its whole interval below 0, above 0, within the margin, or none of these."""
    if figure.difference_ci95 is None:
        return "unclear"
    low, high = figure.difference_ci95
    if low == high == 0:
        return "stays"
    if high < 0:
        return "falls"
    if low > 0:
        return "rises"
    return "stays" if max(-low, high) <= MARGIN else "unclear"


def verdict(found: Mapping[str, Mapping[str, Figure]]) -> str:
    """What is to be said, from :func:`dollhouse.evaluation.probing.accuracy.figures`: of the four families, then of the others."""
    controls = {name: groups for name, groups in found.items() if name != BASE}
    overall = {name: groups[OVERALL] for name, groups in controls.items() if OVERALL in groups}
    if not overall or all(one.difference_ci95 is None for one in overall.values()):
        return "Whether the thinking tokens carry content cannot be told from so few scenes: probe more of them."
    return " ".join(part for part in (_of_content(overall), _of_rises(overall), _of_others(controls)) if part)


def _of_content(overall: Mapping[str, Figure]) -> str:
    effects = {name: effect(one) for name, one in overall.items()}
    falls = [name for name, seen in effects.items() if seen == "falls"]
    if CONTENT in falls:
        return (
            "The thinking tokens carry content about the scene that the answers use: given those of another scene, "
            f"accuracy falls ({_points(overall[CONTENT])})."
        )
    if falls:
        return (
            "The answers need what was trained to stand at the thinking positions: accuracy falls with "
            f"{_named(falls, overall)}. {_of_another_scene(overall, effects)}"
        )
    largest = max(max(map(abs, one.difference_ci95 or (0.0, 0.0))) for one in overall.values())
    if "unclear" not in effects.values():
        return (
            "The thinking tokens carry no content that the answers use: no control costs accuracy, to within "
            f"{100 * largest:.1f} points."
        )
    first = next(iter(overall.values()))
    return (
        "Nothing says that the thinking tokens carry content: no control costs accuracy as far as "
        f"{first.n:,} questions about {first.scenes} scenes can show; changes of up to {100 * largest:.1f} points "
        "cannot be ruled out."
    )


def _of_another_scene(overall: Mapping[str, Figure], effects: Mapping[str, Effect]) -> str:
    if CONTENT not in overall:
        return "Whether it is about the scene was not tried."
    if effects[CONTENT] in ("stays", "rises"):
        return f"It need not be about this scene: what another scene gave does as well ({_points(overall[CONTENT])})."
    return (
        "That it is about this scene is not shown: given those of another scene, the change includes none "
        f"({_points(overall[CONTENT])})."
    )


def _of_rises(overall: Mapping[str, Figure]) -> str:
    rises = [name for name, one in overall.items() if effect(one) == "rises"]
    return f"Accuracy rises with {_named(rises, overall)}: the student does better so." if rises else ""


def _of_others(controls: Mapping[str, Mapping[str, Figure]]) -> str:
    """The families outside the four in which some control costs accuracy."""
    told = []
    for family in dict.fromkeys(group for groups in controls.values() for group in groups):
        if family == OVERALL or family in FAMILIES:
            continue
        falls = [name for name, groups in controls.items() if family in groups and effect(groups[family]) == "falls"]
        if falls:
            told.append(f"{family} falls with {', '.join(falls)}")
    return f"Beside the four families, {'; '.join(told)}." if told else ""


def _named(names: Sequence[str], overall: Mapping[str, Figure]) -> str:
    return ", ".join(f"{name} ({_points(overall[name])})" for name in names)


def _points(figure: Figure) -> str:
    if figure.difference_ci95 is None:
        return f"{100 * figure.difference:+.1f} points"
    low, high = figure.difference_ci95
    return f"{100 * figure.difference:+.1f} points, 95 %: {100 * low:+.1f} to {100 * high:+.1f}"
