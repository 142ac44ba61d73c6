"""Other wordings of a question, to measure how much an answer depends on the wording."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache

from dollhouse.questions.referring import with_article
from dollhouse.scenes.labels import LabelMap, default_labels

SUFFIXES = (
    "\nAnswer the question using a single word or phrase.",
    " Answer with yes or no.",
    " Please answer in one word.",
    "\nShort answer:",
)
GREETINGS = ("Hi, please tell me: ", "Hello! ", "Could you please tell me, ", "Question: ")
AMERICAN = {"colour": "color", "grey": "gray", "metres": "meters"}
LEAST_LETTERS = 5  #: of a label with a typo


def suffixed(text: str, rng: random.Random) -> str:
    """Append the instruction of a benchmark; "yes or no" only to questions of that kind."""
    yes_no = text.split()[0] in ("is", "are", "does", "do")
    return text + rng.choice([suffix for suffix in SUFFIXES if yes_no or "yes" not in suffix])


def greeted(text: str, rng: random.Random) -> str:
    return rng.choice(GREETINGS) + text


def upper(text: str, rng: random.Random) -> str:
    return text.upper()


def american(text: str, rng: random.Random) -> str:
    return re.sub("|".join(AMERICAN), lambda match: AMERICAN[match[0]], text)


def photo_named(text: str, rng: random.Random) -> str:
    return re.sub(r"\bview (\d)", rf"{rng.choice(('photo', 'image', 'picture'))} \1", text)


def synonymous(text: str, rng: random.Random) -> str:
    """Replace one label by another word for it."""
    match = _label(text, rng, lambda label: bool(_aliases(label)))
    if match is None:
        return text
    word = rng.choice(_aliases(match[2]))
    return text[: match.start()] + (f"{with_article(word)}" if match[1] else word) + text[match.end() :]


def mistyped(text: str, rng: random.Random) -> str:
    """Leave out, double or exchange letters inside one label."""
    match = _label(text, rng, lambda label: len(label) >= LEAST_LETTERS and " " not in label)
    if match is None:
        return text
    word, place = match[2], rng.randrange(1, len(match[2]) - 1)
    edits = (
        word[:place] + word[place + 1 :],
        word[:place] + word[place] + word[place:],
        word[:place] + word[place + 1] + word[place] + word[place + 2 :],
    )
    return text[: match.start(2)] + rng.choice(edits) + text[match.end(2) :]


VARIANTS: dict[str, Callable[[str, random.Random], str]] = {
    "suffix": suffixed,
    "greeting": greeted,
    "case": upper,
    "spelling": american,
    "photo": photo_named,
    "synonym": synonymous,
    "typo": mistyped,
}


def _label(text: str, rng: random.Random, fits: Callable[[str], bool]) -> re.Match[str] | None:
    """Return a random singular label in a text, with its indefinite article; None where there is none that fits."""
    found = [match for match in _pattern().finditer(text) if fits(match[2])]
    return rng.choice(found) if found else None


@cache
def _pattern() -> re.Pattern[str]:
    labels = "|".join(sorted(map(re.escape, default_labels()), key=len, reverse=True))
    return re.compile(rf"\b(an? )?({labels})\b")


@cache
def _aliases(label: str) -> tuple[str, ...]:
    return LabelMap(default_labels()).aliases(label)
