"""Correctness of spatial answers, and accuracies with intervals and chance.

An answer is compared with the one that geometry gives, after normalisation; a distance may be half a step off.
Descriptions have many correct answers and are not scored. Numbers are also scored by relative error, as in VSI-Bench
(Yang et al., "Thinking in space", CVPR 2025, section 3).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from dollhouse.evaluation.metrics.bootstrap import accuracy_interval, interval_95, resampled_sums
from dollhouse.evaluation.metrics.text.exact_match import NUMBER_WORDS
from dollhouse.questions.generate import FAMILIES, Question
from dollhouse.scenes.labels import question_noun

VERSION = "spatial:1"  #: rises when any number may change
RELATIVE_THRESHOLDS = np.linspace(0.5, 0.95, 10)  #: VSI-Bench's
UNJUDGED = ("description",)  #: families without a single correct answer
DISTANCE_TOLERANCE = 0.25  #: metres; answers come in steps of half a metre

Group = tuple[str, str]  #: ("family", its name) or ("form", its name)

_DIGITS = {word: str(number) for number, word in enumerate(NUMBER_WORDS)}
_ARTICLES = {"the", "a", "an"}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(?:m|metre|metres|meter|meters)\b")


def _spaced(answer: str) -> str:
    """Return an answer in lower case, with "2 . 5", as some tokenizers write it, joined to "2.5"."""
    return re.sub(r"(?<=\d)\s*\.\s*(?=\d)", ".", answer.lower())


def normalise(answer: str) -> str:
    """Remove case, punctuation and articles, and write numbers up to twenty as digits.

    "The two chairs." becomes "2 chairs"; "2.5 m" stays "2.5 m".
    """
    words = re.findall(r"\d+(?:\.\d+)?|[^\W\d_]+", _spaced(answer))
    return " ".join(_DIGITS.get(word, word) for word in words if word not in _ARTICLES)


def distance_in_metres(answer: str) -> float | None:
    """Parse the length in an answer such as "about 2.5 m"; None where there is none, or several."""
    spelled = " ".join(_DIGITS.get(word, word) for word in _spaced(answer).split())
    lengths = _LENGTH.findall(spelled)
    return float(lengths[0]) if len(lengths) == 1 else None


def number_in(answer: str) -> float | None:
    """Parse the length or the count in an answer; None where there is none, or several."""
    length = distance_in_metres(answer)
    if length is not None:
        return length
    numbers = [word for word in normalise(answer).split() if word[0].isdigit()]
    return float(numbers[0]) if len(numbers) == 1 else None


def mean_relative_accuracy(predicted: float | None, truth: float) -> float:
    """Return the share of VSI-Bench's ten thresholds t at which the relative error is at most 1 - t; 0 for None.

    Raises ValueError where the truth is zero.
    """
    if truth == 0:
        raise ValueError("relative accuracy needs a true number other than zero")
    if predicted is None:
        return 0.0
    return float(np.mean(abs(predicted - truth) / abs(truth) <= 1 - RELATIVE_THRESHOLDS))


def is_correct(question: Question, prediction: str) -> bool | None:
    """Compare ``prediction`` with the true answer; None where the question's family is not scored.

    A distance may differ by :data:`DISTANCE_TOLERANCE`; other normalised answers must be the same. Where a question
    accepts several answers, one of them is right; of an open question, also several, but none that is not accepted.
    """
    if question.family in UNJUDGED:
        return None
    if question.accept or question.family == "open":
        accepted = {
            _canonical(item) for answer in (question.answer, *question.accept) for item in (answer, *_items(answer))
        }
        items = _items(prediction) if question.family == "open" else [prediction]
        return _canonical(prediction) in accepted or (bool(items) and {_canonical(i) for i in items} <= accepted)
    truth = distance_in_metres(question.answer)
    if truth is not None:
        predicted = distance_in_metres(prediction)
        return predicted is not None and abs(predicted - truth) <= DISTANCE_TOLERANCE + 1e-9
    return normalise(prediction) == normalise(question.answer)


def _items(answer: str) -> list[str]:
    """Split a list: "a cup, two bowls and a lamp"."""
    return [item for item in re.split(r",|\band\b", answer) if item.strip(" .")]


def _canonical(item: str) -> str:
    """Return an item without article, in singular, by its default label where it has one."""
    plain = normalise(item)
    return question_noun(plain) or plain


class AnswerScorer:
    """Aggregates answers scene by scene; stores two counts a scene for each family and form."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._correct: list[Counter[Group]] = []
        self._total: list[Counter[Group]] = []
        self._distance_errors: list[float] = []
        self._unparsed_distances = 0
        self._relative_accuracies: list[float] = []

    def add(self, questions: Sequence[Question], predictions: Sequence[str]) -> list[bool | None]:
        """Score the answers to one scene's questions.

        Returns:
            :func:`is_correct` of each.

        Raises:
            ValueError: there is not one prediction for each question.
        """
        if len(questions) != len(predictions):
            raise ValueError(f"{len(questions)} questions, but {len(predictions)} predictions")
        verdicts = [is_correct(*pair) for pair in zip(questions, predictions, strict=True)]
        correct, total = Counter[Group](), Counter[Group]()
        for question, prediction, verdict in zip(questions, predictions, verdicts, strict=True):
            if verdict is None:
                continue
            for group in (("family", question.family), ("form", question.form)):
                correct[group] += verdict
                total[group] += 1
            number = number_in(question.answer)
            if number:
                self._relative_accuracies.append(mean_relative_accuracy(number_in(prediction), number))
            truth = distance_in_metres(question.answer)
            if truth is not None:
                predicted = distance_in_metres(prediction)
                if predicted is None:
                    self._unparsed_distances += 1
                else:
                    self._distance_errors.append(abs(predicted - truth))
        self._correct.append(correct)
        self._total.append(total)
        return verdicts

    def result(self) -> dict[str, object] | None:
        """Compute accuracies; None where no answer was scored.

        Returns:
            Entries ``{accuracy, n, ci95}``: ``families`` holds the four spatial families, ``others`` the rest,
            ``forms`` both by form, ``overall`` the micro mean of the four families, ``macro`` their macro mean.
            ``distance`` holds ``mae`` in metres, ``n``, and ``unread``, the number of answers without a distance;
            ``numeric`` holds ``mra``, the mean relative accuracy of counts and distances above zero, and ``n``.
        """
        groups = sorted(set().union(*self._total))
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
                "n": len(self._distance_errors) + self._unparsed_distances,
                "unread": self._unparsed_distances,
            },
            "numeric": {
                "mra": float(np.mean(self._relative_accuracies)) if self._relative_accuracies else None,
                "n": len(self._relative_accuracies),
            },
        }

    def _counts(self, groups: Sequence[Group]) -> tuple[np.ndarray, np.ndarray]:
        """Return numbers of correct and of all answers, each (S, G)."""
        correct, total = (
            np.array([[counts[group] for group in groups] for counts in scenes], dtype=np.float64)
            for scenes in (self._correct, self._total)
        )
        return correct, total

    def _entry(self, groups: Sequence[Group]) -> dict[str, object]:
        correct, total = (counts.sum(1) for counts in self._counts(groups))
        return {
            "accuracy": float(correct.sum() / total.sum()),
            "n": int(total.sum()),
            "ci95": _listed(accuracy_interval(correct, total, seed=self.seed)),
        }

    def _macro(self, groups: Sequence[Group]) -> dict[str, object]:
        correct, total = self._counts(groups)
        interval = None
        if (total.sum(1) > 0).sum() >= 2:
            sums = resampled_sums(np.concatenate([correct, total], axis=1), seed=self.seed)
            with np.errstate(invalid="ignore"):
                accuracies = sums[:, : len(groups)] / sums[:, len(groups) :]
            interval = interval_95(accuracies.mean(1))
        return {
            "accuracy": float((correct.sum(0) / total.sum(0)).mean()),
            "n": int(total.sum()),
            "ci95": _listed(interval),
        }


class ChanceScorer:
    """Aggregates the accuracy of guessing among each question's choices."""

    def __init__(self) -> None:
        self._chances: dict[str, list[float]] = defaultdict(list)

    def add(self, questions: Sequence[Question]) -> None:
        for question in questions:
            if question.choices and question.family not in UNJUDGED:
                self._chances[question.family].append(1.0 / len(question.choices))

    def result(self) -> dict[str, object]:
        """Average ``overall`` (the four families; None without questions), and by ``families`` and ``others``."""
        means = {family: float(np.mean(chances)) for family, chances in sorted(self._chances.items())}
        spatial = [chance for family in FAMILIES for chance in self._chances.get(family, ())]
        return {
            "overall": float(np.mean(spatial)) if spatial else None,
            "families": {family: means[family] for family in FAMILIES if family in means},
            "others": {family: mean for family, mean in means.items() if family not in FAMILIES},
        }


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
