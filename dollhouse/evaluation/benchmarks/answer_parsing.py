"""Parse the choice or the first number that an answer names, as the official evaluations and lmms-eval do."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dollhouse.evaluation.metrics.spatial import normalise

_ALONE = re.compile(r"\W*([A-Z])\W*", re.ASCII)
_LEADING = re.compile(r"\W*([A-Z])[.):,]", re.ASCII)
_NAMED = re.compile(r"\b(?:answer|option|choice)\b(?:\s+is)?\s*:?\s*\(?([A-Z])\b(?!')", re.IGNORECASE | re.ASCII)
_BRACKETED = re.compile(r"\(([A-Z])\)", re.ASCII)

_BELOW_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_VALUES = {word: value for value, word in enumerate(_BELOW_TWENTY.split())}
_VALUES |= {word: 10 * value for value, word in enumerate(_TENS.split(), 2)}
_HUNDRED, _THOUSAND = "hundred", "thousand"
_DIGITS, _WORD = re.compile(r"-?\d+(?:\.\d+)?"), re.compile(r"[a-z]+")


def first_word(answer: str) -> str:
    """Return the first word without trailing full stops, as lmms-eval's VSI-Bench does."""
    return answer.split(" ")[0].rstrip(".").strip()


def letter_of(answer: str, choices: Mapping[str, str]) -> str | None:
    """Return the letter among ``choices`` (letter -> text) that an answer names; None for none, or several.

    Tried in this order: a letter alone; one that begins the answer, followed by one of ``. ) : ,``; one that "answer",
    "option" or "choice" introduces; one in brackets; the text of a choice, spelled out.
    """
    for pattern in (_ALONE, _LEADING):
        match = pattern.fullmatch(answer.strip().upper()) if pattern is _ALONE else pattern.match(answer)
        if match:
            return match[1] if match[1] in choices else None
    for pattern in (_NAMED, _BRACKETED):
        named = {letter.upper() for letter in pattern.findall(answer)} & set(choices)
        if named:
            return named.pop() if len(named) == 1 else None
    text = normalise(answer)
    same = [letter for letter, choice in choices.items() if normalise(choice) == text]
    return same[0] if len(same) == 1 else None


def first_number(answer: str) -> float | None:
    """Return the first number: "about 2.5 m" is 2.5, "three hundred and twenty-one" 321; None where there is none.

    A run of number words is a number; "and" does not end it, any other word does.
    """
    text = answer.lower()
    digits = _DIGITS.search(text)
    run: list[str] = []
    for match in _WORD.finditer(text):
        word = match[0]
        if word in _VALUES or word in (_HUNDRED, _THOUSAND):
            if not run and digits and digits.start() < match.start():
                break
            run.append(word)
        elif run and word != "and":
            break
    return _spelled(run) if run else float(digits[0]) if digits else None


def _spelled(words: list[str]) -> float:
    total = part = 0
    for word in words:
        if word == _HUNDRED:
            part = max(part, 1) * 100
        elif word == _THOUSAND:
            total, part = total + max(part, 1) * 1000, 0
        else:
            part += _VALUES[word]
    return float(total + part)
