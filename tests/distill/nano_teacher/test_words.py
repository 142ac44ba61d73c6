"""The tokenizer: LLaMA's layout, labels in one piece, and words that come back as they were."""

from __future__ import annotations

import pytest

from dollhouse.distill.nano_teacher.words import Phrasebook
from dollhouse.teachers.llava3d.prompt import encoder, named_view
from dollhouse.teachers.llava3d.vocabulary import FIRST
from tests.distill.nano_teacher.made import Pieces


def test_labels_and_colours_are_one_piece(made: Pieces) -> None:
    assert all(len(ids) == 1 for ids in (*made.named.label_ids, *made.named.colour_ids))
    assert len({ids[0] for ids in made.named.label_ids}) == len(made.named.labels)
    ids = encoder(made.tokenizer)(f"\nis the {made.named.labels[0]}, in view 2, red?")
    assert made.named.label_ids[0][0] in ids


@pytest.mark.parametrize(
    "text", ["yes", "0.5 m", "the red sofa", "a room with two beds, a ball and a vase.", "crème 漢"]
)
def test_words_come_back(made: Pieces, text: str) -> None:
    assert made.tokenizer.decode(encoder(made.tokenizer)(text), skip_special_tokens=True).strip() == text


def test_bytes_stand_where_a_word_is_unknown(made: Pieces) -> None:
    ids = encoder(made.tokenizer)("漢")
    assert [FIRST[one] for one in ids if 2 < one < len(FIRST)] == ["<0xE6>", "<0xBC>", "<0xA2>"]


def test_a_question_follows_the_scene_as_the_teacher_is_asked(made: Pieces) -> None:
    asked = Phrasebook(made.tokenizer, made.named).asked([("is there a bed?", "yes")], None, 0)[0]
    told = made.tokenizer.decode(asked.ids[: asked.start])
    assert told.strip() == "is there a bed? ASSISTANT:"
    assert made.tokenizer.decode(asked.ids[asked.start :]).strip() == "yes</s>"
    assert made.tokenizer.decode(made.learner.head).endswith("USER: ")


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("in view 2, is it left?", 1),
        ("View 12: where?", 11),
        ("what a view", None),
        ("view 0", None),
        ("review 3", None),
    ],
)
def test_the_view_that_a_question_names(text: str, view: int | None) -> None:
    assert named_view(text) == view
