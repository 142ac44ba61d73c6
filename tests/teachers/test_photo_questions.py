"""Questions that the committee asks of its own findings: certain ones only, answered as its rules would."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")

from examples.committee_answers import Found, answer
from examples.photo_questions import ABSENT, CERTAIN, absent, likely, pairs, present

SOFA = Found("sofa", 0.9, 1, (0.0, 0.5, 0.4, 0.9), 0.12, 2.0, "red")
LAMPS = [Found("lamp", score, 1, (x, 0.1, x + 0.1, 0.4), 0.02, 4.0, "white") for score, x in ((0.8, 0.5), (0.3, 0.8))]
BOOK = Found("book", 0.2, 1, (0.6, 0.6, 0.7, 0.7), 0.01, 1.0, "blue")
FOUND = [SOFA, *LAMPS, BOOK]


def test_doubtful_labels_are_neither_there_nor_absent() -> None:
    assert set(likely(FOUND, CERTAIN)) == {"sofa", "lamp"}
    asked = {question for _, question, _ in [*present(FOUND), *absent(FOUND, Counter(), np.random.default_rng(0))]}
    assert "is there a sofa?" in asked
    assert "is there a book?" not in asked


def test_a_likely_object_is_there_but_not_counted() -> None:
    assert list(present([replace(SOFA, score=0.35)])) == [("existence", "is there a sofa?", "yes")]


def test_a_label_with_doubtful_objects_is_not_counted() -> None:
    counted = [(question, reply) for family, question, reply in present(FOUND) if family == "counting"]
    assert counted == [("how many sofas are there?", "1")]


def test_absent_labels_are_drawn_by_how_often_others_have_them() -> None:
    often = Counter({"chair": 10**9})
    drawn = list(absent(FOUND, often, np.random.default_rng(0)))
    assert len(drawn) == ABSENT
    assert ("existence", "is there a chair?", "no") in drawn


def test_answers_are_those_of_the_rules() -> None:
    lamp = LAMPS[0]
    asked = list(pairs([SOFA, lamp], np.random.default_rng(0)))
    assert {family for family, _, _ in asked} == {"orientation", "proximity"}  # their surfaces are too alike
    for _, question, reply in asked:
        assert answer(question, [SOFA, lamp]).removeprefix("the ") == reply
