"""Exact match as the official evaluations of ScanQA and SQA3D compute it, and a strict variant.

Both evaluations first clean answers in the same way (``docs/specs/llava3d.md``, section 9). Their refined match accepts
an answer that contains a reference or is contained in one, all spaces removed, so an empty answer always matches;
:func:`strict_match` rejects those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from dollhouse.evaluation.metrics.text.score import TextScore

# fmt: off
NUMBER_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)
# fmt: on
_SPELLED = {str(number): word for number, word in enumerate(NUMBER_WORDS)} | {"none": "zero", "23": "twenty-three"}
_FIXED = {
    "letf": "left", "let": "left", "tehre": "there", "rigth": "right", "rght": "right", "behine": "behind", "tv": "TV",
    "chai": "chair", "wasing": "washing", "waslked": "walked", "oclock": "o'clock",
}  # fmt: skip


def _words(table: Mapping[str, str]) -> re.Pattern[str]:
    return re.compile(r"\b(" + "|".join(table) + r")\b")


_FIXED_WORDS, _SPELLED_WORDS = _words(_FIXED), _words(_SPELLED)
#: applied one after the other; the order is the evaluations' own and matters
_RULES = (
    (re.compile(r"^ +| +$"), ""),
    (re.compile(r" {2,}"), " "),
    (re.compile(r"\. {2,}"), ". "),
    (re.compile(r"[^a-zA-Z0-9,'\s\-:]+"), ""),
    (_FIXED_WORDS, lambda match: _FIXED[match[0]]),
    (re.compile(r"\bo' +clock\b"), "o'clock"),
    (_SPELLED_WORDS, lambda match: _SPELLED[match[0]]),
    (re.compile(r"\b([a-zA-Z]+)[0-9]\b"), r"\1"),
    (re.compile(r"\ba\b ([a-zA-Z]+)"), r"\1"),
    (re.compile(r"\ban\b ([a-zA-Z]+)"), r"\1"),
    (re.compile(r"\bthe\b ([a-zA-Z]+)"), r"\1"),
    (re.compile(r"\bbackwards\b"), "backward"),
)


@lru_cache(maxsize=1 << 16)
def clean_answer(answer: str) -> str:
    """Clean an answer as ScanQA's and SQA3D's evaluations do: "2 on the  Left." becomes "two on left"."""
    answer = answer.lower()
    for pattern, replacement in _RULES:
        answer = pattern.sub(replacement, answer)
    return answer


def _plain(answer: str) -> str:
    return answer.strip().lower().rstrip(".")


def exact_match(prediction: str, references: Sequence[str]) -> bool:
    """Test whether a cleaned prediction is one of the cleaned references (EM)."""
    return prediction in references


def refined_match(prediction: str, references: Sequence[str]) -> bool:
    """Test whether, without spaces, a prediction contains a reference or is contained in one (EM-R).

    An empty prediction matches, as in the official code.
    """
    joined = "".join(prediction.split())
    return exact_match(prediction, references) or any(
        joined in other or other in joined for other in ("".join(reference.split()) for reference in references)
    )


def strict_match(prediction: str, references: Sequence[str]) -> bool:
    """:func:`refined_match`, except that an empty prediction, or an empty reference, matches nothing."""
    return bool(prediction.strip()) and refined_match(prediction, [other for other in references if other.strip()])


def score_exact_match(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, TextScore]:
    """Compute ``em``, ``em_refined``, ``em_refined_strict`` of cleaned answers, and ``em_plain``; in [0, 1].

    ``em_plain`` ignores case, white space at the ends and final full stops only.
    """
    cleaned = [clean_answer(prediction) for prediction in predictions]
    answers = [[clean_answer(reference) for reference in row] for row in references]
    return {
        "em_plain": TextScore.mean_of(
            exact_match(_plain(prediction), [_plain(reference) for reference in row])
            for prediction, row in zip(predictions, references, strict=True)
        ),
        "em": TextScore.mean_of(map(exact_match, cleaned, answers)),
        "em_refined": TextScore.mean_of(map(refined_match, cleaned, answers)),
        "em_refined_strict": TextScore.mean_of(map(strict_match, cleaned, answers)),
    }


def official_means(score: TextScore, kinds: Sequence[int]) -> tuple[float, ...]:
    """Average a score over each kind of question, bit for bit as SQA3D's code prints it.

    Args:
        kinds: (N,), from 0: what, is, how, can, which, other. That code begins to count at 1e-10.
    """
    counts, sums = [1e-10] * 6, [0.0] * 6
    for kind, row in zip(kinds, score.rows, strict=True):
        counts[kind] += 1
        sums[kind] += float(row)
    return tuple(total / count for total, count in zip(sums, counts, strict=True))
