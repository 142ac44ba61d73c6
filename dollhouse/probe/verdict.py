"""One plain sentence on whether the thinking tokens carry content, drawn from the controls' intervals and nothing else.

Knows figures, nothing of models. Two questions are kept apart: does anything have to stand at the thinking positions
that was trained to stand there (zeros, noise, ...), and does it have to be about this scene (shuffled).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from dollhouse.probe.accuracy import BASE, OVERALL, Figure

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
    """The sentence, from :func:`dollhouse.probe.accuracy.figures` over the four families."""
    overall = {name: groups[OVERALL] for name, groups in found.items() if name != BASE and OVERALL in groups}
    if not overall or all(one.difference_ci95 is None for one in overall.values()):
        return "Whether the thinking tokens carry content cannot be told from so few scenes: probe at least two."
    effects = {name: effect(one) for name, one in overall.items()}
    falls = [name for name in overall if effects[name] == "falls"]
    rises = [name for name in overall if effects[name] == "rises"]
    forms = [name for name in falls if name != CONTENT]
    better = f" Accuracy rises with {_named(rises, overall)}: the student does better so." if rises else ""
    if effects.get(CONTENT) == "falls":
        return (
            "The thinking tokens carry content about the scene that the answers use: with those of another scene "
            f"accuracy falls by {_points(overall[CONTENT])}.{better}"
        )
    of_content = _about_content(overall, effects)
    if forms:
        return (
            f"The answers need what was trained to stand at the thinking positions (accuracy falls with "
            f"{_named(forms, overall)}), but {of_content}{better}"
        )
    largest = max((max(map(abs, one.difference_ci95 or (0.0, 0.0))) for one in overall.values()), default=0.0)
    if all(one in ("stays", "rises") for one in effects.values()):
        return (
            "The thinking tokens carry no content that the answers use: no control costs accuracy, to within "
            f"{100 * largest:.1f} points.{better}"
        )
    return (
        "No control costs accuracy that these scenes could show, so nothing says that the thinking tokens carry "
        f"content; changes of up to {100 * largest:.1f} points cannot be ruled out with {_scenes(overall)}.{better}"
    )


def _about_content(overall: Mapping[str, Figure], effects: Mapping[str, Effect]) -> str:
    if CONTENT not in overall:
        return "whether it is about the scene was not tried."
    if effects[CONTENT] in ("stays", "rises"):
        return f"it need not be about this scene: those of another scene do as well ({_points(overall[CONTENT])})."
    return (
        "that it is about this scene is not shown: with those of another scene the change is "
        f"{_points(overall[CONTENT])}, which includes none."
    )


def _named(names: list[str], overall: Mapping[str, Figure]) -> str:
    return ", ".join(f"{name} {_points(overall[name])}" for name in names)


def _points(figure: Figure) -> str:
    if figure.difference_ci95 is None:
        return f"{100 * figure.difference:+.1f} points"
    low, high = figure.difference_ci95
    return f"{100 * figure.difference:+.1f} points, 95 %: {100 * low:+.1f} to {100 * high:+.1f}"


def _scenes(overall: Mapping[str, Figure]) -> str:
    first = next(iter(overall.values()))
    return f"{first.n:,} questions about {first.scenes} scenes"
