"""Normalisation of wording: a table of pairs, fixed points, unknown nouns, and other wordings of one question."""

import random
import re
from pathlib import Path

import pytest
import yaml

from dollhouse.questions import wording
from dollhouse.questions.nouns import absent_nouns
from dollhouse.questions.photo_questions import TEMPLATES_FILE, photo_templates
from dollhouse.questions.referring import with_article
from dollhouse.questions.templates import TEMPLATES
from dollhouse.questions.variants import GREETINGS, VARIANTS
from dollhouse.questions.wording import TEMPLATE_WORDS, normalise_question, views_named
from dollhouse.scenes.synthetic.furniture import COLOURS

PAIRS = [line.split(" => ") for line in Path(__file__).with_name("wordings.txt").read_text("utf-8").splitlines()]
QUESTIONS = (
    "is there a television?",
    "what colour is the grey armchair?",
    "in view 2, is the table to the left or right of the wardrobe?",
    "which is closer to the camera, the bookshelf or the television?",
    "how many chairs are there?",
    "what is on the nightstand?",
    "is the printer on the cabinet?",
)


@pytest.mark.parametrize(("given", "expected"), PAIRS)
def test_wordings(given: str, expected: str) -> None:
    assert normalise_question(given.replace("\\n", "\n")) == expected


def test_no_word_is_far_longer_than_its_corrections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wording, "_edits", lambda word: pytest.fail(f"{len(word)} letters"))
    assert normalise_question("chairr" * 500) == "chairr" * 500


def test_there_are_enough_pairs() -> None:
    assert len(PAIRS) >= 60


@pytest.mark.parametrize("expected", sorted({expected for _, expected in PAIRS}))
def test_normalised_questions_stay(expected: str) -> None:
    assert normalise_question(expected) == expected


def test_templates_are_in_the_normalised_wording() -> None:
    words = {"a": "the chair", "b": "the sofa", "c": "the bed", "v": "2", "n": "3", "label": "a lamp"}
    words |= {"labels": "chairs", "noun": "zebra", "place": "the table", "colour": "red", "text": "who are you?"}
    words |= {"first": "the floor", "second": "the table"}
    for templates in photo_templates().values():
        for template in templates:
            text = template.text.format(**words)
            assert normalise_question(text) == text


def test_the_list_of_words_is_that_of_the_templates() -> None:
    table = yaml.safe_load(TEMPLATES_FILE.read_text("utf-8"))
    texts = [text for texts in (table | table.pop("view")).values() for text in texts]
    texts += [template.text for templates in TEMPLATES.values() for template in templates]
    words = {word for text in texts for word in re.findall(r"[a-z]+", re.sub(r"{[a-z]+}", " ", text))}
    assert TEMPLATE_WORDS.read_text("utf-8").split() == sorted(words | set(COLOURS))


@pytest.mark.parametrize("held_out", [False, True])
def test_nouns_of_absent_objects_stay(held_out: bool) -> None:
    nouns = random.Random(0).sample(absent_nouns(held_out), 300)
    questions = [f"is there {with_article(noun)}?" for noun in nouns if not noun.endswith("s")]
    changed = [question for question in questions if normalise_question(question) != question]
    assert len(changed) <= 0.02 * len(questions), changed


@pytest.mark.parametrize("kind", VARIANTS)
def test_other_wordings_of_a_question_become_the_question(kind: str) -> None:
    rng = random.Random(1)
    pairs = [(VARIANTS[kind](text, rng), text) for text in QUESTIONS for _ in range(20)]
    changed = [(variant, text) for variant, text in pairs if variant != text]
    wrong = {pair for pair in changed if normalise_question(pair[0]) != pair[1]}
    assert len(changed) > 10
    assert len(wrong) <= 0.05 * len(changed), wrong


@pytest.mark.parametrize("greeting", GREETINGS)
def test_no_greeting_is_left(greeting: str) -> None:
    assert normalise_question(f"{greeting}is there a chair?") == "is there a chair?"


def test_views_named() -> None:
    assert views_named(normalise_question("In photo 12, is there a chair?")) == (12,)
    assert views_named("is there a chair?") == ()
