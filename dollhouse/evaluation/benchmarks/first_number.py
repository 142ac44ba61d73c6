"""Parse the first number in an answer, in digits or words, as lmms-eval does for VSI-Bench since 0.7."""

from __future__ import annotations

import re

_BELOW_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_VALUES = {word: value for value, word in enumerate(_BELOW_TWENTY.split())}
_VALUES |= {word: 10 * value for value, word in enumerate(_TENS.split(), 2)}
_HUNDRED, _THOUSAND = "hundred", "thousand"
_DIGITS, _WORD = re.compile(r"-?\d+(?:\.\d+)?"), re.compile(r"[a-z]+")


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
