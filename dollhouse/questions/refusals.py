"""What users are shown where a student's refusal names no object of the question, or its description describes nothing.

A student generates an absent object's name from parts of words: "there is no clockphant" about an elephant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import cache

from dollhouse.questions.nouns import nouns
from dollhouse.questions.referring import plural
from dollhouse.questions.wording import LONGEST_NAME, TEMPLATE_WORDS, normalise_question
from dollhouse.scenes.labels import default_labels, singular

OFF_TOPIC_ANSWER = "i can only answer questions about what the photos show"
NO_DESCRIPTION = "i cannot describe it: ask about objects that the photos show"
_ABSENT = re.compile(r"there is no\b *(.*?)[ .]*")
_DESCRIPTION = ("a room with ", "an empty room")  #: how the templates' descriptions begin
_ARTICLE = r"\b(?:the|an?|any|some|of|many|no)\b"


def mended_refusal(question: str, answer: str, present: Callable[[], Collection[str]]) -> str | None:
    """Return the refusal to show instead of a student's answer; None where the answer can be shown.

    Args:
        present: returns the labels of the objects that the student predicts, which no refusal calls absent.
    """
    text = normalise_question(question)
    if text.startswith("describe ") and not answer.startswith(_DESCRIPTION):
        return NO_DESCRIPTION
    match = _ABSENT.fullmatch(answer)
    if match is None or _names(text, match[1]):
        return None
    named = named_nouns(text)
    return f"there is no {named[0]}" if len(named) == 1 and named[0] not in present() else OFF_TOPIC_ANSWER


def named_nouns(text: str) -> list[str]:
    """Return the known nouns of objects in a normalised question, in singular, each once."""
    words, place, found = re.findall(r"[a-z]+", text), 0, []
    while place < len(words):
        for length in range(min(LONGEST_NAME, len(words) - place), 0, -1):
            noun = singular(" ".join(words[place : place + length]))
            if noun in _objects():
                found.append(noun)
                break
        place += length
    return list(dict.fromkeys(found))


def _names(text: str, noun: str) -> bool:
    """Whether a question names a noun: one of the list, or any after an article."""
    known = "" if noun in _objects() else rf"{_ARTICLE}.*"
    return bool(noun) and bool(re.search(rf"{known}\b(?:{re.escape(noun)}|{re.escape(plural(noun))})\b", text))


@cache
def _objects() -> frozenset[str]:
    """Return labels, and the nouns that are no words of the templates, such as "camera" and "room"."""
    return nouns() - frozenset(TEMPLATE_WORDS.read_text("utf-8").split()) | frozenset(default_labels())
