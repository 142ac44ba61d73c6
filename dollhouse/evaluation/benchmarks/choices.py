"""Parse the lettered choice that an answer names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dollhouse.evaluation.metrics.spatial import normalise

_ALONE = re.compile(r"\W*([A-Z])\W*", re.ASCII)
_LEADING = re.compile(r"\W*([A-Z])[.):,]", re.ASCII)
_NAMED = re.compile(r"\b(?:answer|option|choice)\b(?:\s+is)?\s*:?\s*\(?([A-Z])\b(?!')", re.IGNORECASE | re.ASCII)
_BRACKETED = re.compile(r"\(([A-Z])\)", re.ASCII)


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
