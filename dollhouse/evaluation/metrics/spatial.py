"""Which answers about a room are right, and the accuracy of many, with intervals and chance beside it.

Knows nothing of models or pictures. An answer is judged against what geometry says (the question carries it), by
comparing words after removing what carries no meaning; a distance may be half a step off. Descriptions of a room have
many right answers and are not judged here. Numbers are also scored by how far they are off, as VSI-Bench does (Yang et
al., "Thinking in space", CVPR 2025, section 3).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dollhouse.evaluation.metrics.bootstrap import accuracy_interval, interval_95, resampled_sums
from dollhouse.questions.generate import FAMILIES, Question

VERSION = "spatial:1"  #: rises when any number may change
RELATIVE_THRESHOLDS = np.linspace(0.5, 0.95, 10)  #: VSI-Bench's
UNJUDGED = ("description",)  #: families without a single right answer
DISTANCE_TOLERANCE = 0.25  #: metres; answers come in steps of half a metre

# fmt: off
_NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)
# fmt: on
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)}
_ARTICLES = {"the", "a", "an"}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(?:m|metre|metres|meter|meters)\b")


def _spaced(answer: str) -> str:
    """Lower case, with "2 . 5", as some tokenizers write it, joined to "2.5"."""
    return re.sub(r"(?<=\d)\s*\.\s*(?=\d)", ".", answer.lower())


def normalise(answer: str) -> str:
    """An answer without case, punctuation and articles, with numbers up to twenty as digits.

    Decimal points stay: "The two chairs." becomes "2 chairs", "2.5 m" stays "2.5 m".
    """
    words = re.findall(r"\d+(?:\.\d+)?|[^\W\d_]+", _spaced(answer))
    return " ".join(_DIGITS.get(word, word) for word in words if word not in _ARTICLES)


def distance_in_metres(answer: str) -> float | None:
    """The length that an answer such as "about 2.5 m" names; None if it names none or more than one."""
    spelled = " ".join(_DIGITS.get(word, word) for word in _spaced(answer).split())
    found = _LENGTH.findall(spelled)
    return float(found[0]) if len(found) == 1 else None


def number_in(answer: str) -> float | None:
    """The length or the count that an answer names; None if it names none, or several."""
    length = distance_in_metres(answer)
    if length is not None:
        return length
    numbers = [word for word in normalise(answer).split() if word[0].isdigit()]
    return float(numbers[0]) if len(numbers) == 1 else None


def mean_relative_accuracy(said: float | None, truth: float) -> float:
    """The share of VSI-Bench's ten thresholds t at which ``|said - truth| / truth <= 1 - t``; 0 where nothing was said.

    Raises ValueError where the truth is zero, since no error is relative to that.
    """
    if truth == 0:
        raise ValueError("relative accuracy needs a true number other than zero")
    if said is None:
        return 0.0
    return float(np.mean(abs(said - truth) / abs(truth) <= 1 - RELATIVE_THRESHOLDS))


def is_correct(question: Question, prediction: str) -> bool | None:
    """Whether ``prediction`` answers ``question``; None where the question's family is not judged.

    Where the true answer is a distance, one within :data:`DISTANCE_TOLERANCE` is right. Otherwise the normalised
    answers must be the same.
    """
    if question.family in UNJUDGED:
        return None
    truth = distance_in_metres(question.answer)
    if truth is not None:
        said = distance_in_metres(prediction)
        return said is not None and abs(said - truth) <= DISTANCE_TOLERANCE + 1e-9
    return normalise(prediction) == normalise(question.answer)


def chance_accuracy(question: Question) -> float | None:
    """How often a blind throw among the question's choices is right; None for a question without choices."""
    return 1.0 / len(question.choices) if question.choices else None


@dataclass
class _SceneTally:
    right: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    asked: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))


class AnswerScorer:
    """Gathers judged answers scene by scene; keeps two small counts a scene for each family and form."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._scenes: list[_SceneTally] = []
        self._distance_errors: list[float] = []
        self._distances_unread = 0
        self._relative_accuracies: list[float] = []

    def add(self, questions: Sequence[Question], predictions: Sequence[str]) -> list[bool | None]:
        """Judge the answers to one scene's questions; returns the verdicts of :func:`is_correct`.

        Raises ValueError where there is not one prediction for each question.
        """
        if len(questions) != len(predictions):
            raise ValueError(f"{len(questions)} questions were asked, {len(predictions)} answers came back")
        verdicts = [
            is_correct(question, prediction) for question, prediction in zip(questions, predictions, strict=True)
        ]
        tally = _SceneTally()
        for question, prediction, verdict in zip(questions, predictions, verdicts, strict=True):
            if verdict is None:
                continue
            for group in (("family", question.family), ("form", question.form)):
                tally.right[group] += verdict
                tally.asked[group] += 1
            number = number_in(question.answer)
            if number:
                self._relative_accuracies.append(mean_relative_accuracy(number_in(prediction), number))
            truth = distance_in_metres(question.answer)
            if truth is not None:
                said = distance_in_metres(prediction)
                if said is None:
                    self._distances_unread += 1
                else:
                    self._distance_errors.append(abs(said - truth))
        self._scenes.append(tally)
        return verdicts

    def result(self) -> dict[str, object] | None:
        """Accuracies; None if nothing was judged. Each entry is ``{accuracy, n, ci95}``, ci95 None if unknown.

        ``families`` holds the four spatial families, ``others`` the rest (counting and so on), ``forms`` both cut by
        form. ``overall`` is over all questions of the four families (micro), ``macro`` the mean of the four.
        ``distance`` holds ``mae`` in metres over the answers that name a distance, ``n``, and ``unread``, the answers
        to a distance question that name none. ``numeric`` holds ``mra``, the mean relative accuracy over all answers
        that are counts or distances above zero, and ``n``.
        """
        groups = sorted({group for tally in self._scenes for group in tally.asked})
        if not groups:
            return None
        spatial = [("family", name) for name in FAMILIES if ("family", name) in groups]
        families = [name for kind, name in groups if kind == "family"]
        return {
            "overall": self._entry(spatial) if spatial else None,
            "macro": self._macro(spatial) if spatial else None,
            "families": {name: self._entry([("family", name)]) for name in FAMILIES if name in families},
            "others": {name: self._entry([("family", name)]) for name in families if name not in FAMILIES},
            "forms": {name: self._entry([("form", name)]) for kind, name in groups if kind == "form"},
            "distance": {
                "mae": float(np.mean(self._distance_errors)) if self._distance_errors else None,
                "n": len(self._distance_errors) + self._distances_unread,
                "unread": self._distances_unread,
            },
            "numeric": {
                "mra": float(np.mean(self._relative_accuracies)) if self._relative_accuracies else None,
                "n": len(self._relative_accuracies),
            },
        }

    def _counts(self, groups: Sequence[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
        """Right and asked, each (S, G)."""
        right = [[tally.right.get(group, 0) for group in groups] for tally in self._scenes]
        asked = [[tally.asked.get(group, 0) for group in groups] for tally in self._scenes]
        return np.array(right, dtype=np.float64), np.array(asked, dtype=np.float64)

    def _entry(self, groups: Sequence[tuple[str, str]]) -> dict[str, object]:
        right, asked = (counts.sum(1) for counts in self._counts(groups))
        return {
            "accuracy": float(right.sum() / asked.sum()),
            "n": int(asked.sum()),
            "ci95": _listed(accuracy_interval(right, asked, seed=self.seed)),
        }

    def _macro(self, groups: Sequence[tuple[str, str]]) -> dict[str, object]:
        right, asked = self._counts(groups)
        interval = None
        if (asked.sum(1) > 0).sum() >= 2:
            sums = resampled_sums(np.concatenate([right, asked], axis=1), seed=self.seed)
            with np.errstate(invalid="ignore"):
                accuracies = sums[:, : len(groups)] / sums[:, len(groups) :]
            interval = interval_95(accuracies.mean(1))
        return {
            "accuracy": float((right.sum(0) / asked.sum(0)).mean()),
            "n": int(asked.sum()),
            "ci95": _listed(interval),
        }


class ChanceScorer:
    """Gathers how often guessing among each question's choices would be right."""

    def __init__(self) -> None:
        self._chances: dict[str, list[float]] = defaultdict(list)

    def add(self, questions: Sequence[Question]) -> None:
        for question in questions:
            chance = chance_accuracy(question)
            if chance is not None and question.family not in UNJUDGED:
                self._chances[question.family].append(chance)

    def result(self) -> dict[str, object]:
        """``overall`` over the four families' questions (None if there were none), ``families`` and ``others``."""
        means = {family: float(np.mean(chances)) for family, chances in sorted(self._chances.items())}
        spatial = [chance for family in FAMILIES for chance in self._chances.get(family, ())]
        return {
            "overall": float(np.mean(spatial)) if spatial else None,
            "families": {family: means[family] for family in FAMILIES if family in means},
            "others": {family: mean for family, mean in means.items() if family not in FAMILIES},
        }


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
