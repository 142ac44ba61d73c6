"""Refusals name an object of the question, or none."""

import pytest

from dollhouse.questions.refusals import NO_DESCRIPTION, OFF_TOPIC_ANSWER, mended_refusal


@pytest.mark.parametrize(
    ("question", "answer", "shown"),
    [
        ("What colour is the elephant?", "there is no clockphant", "there is no elephant"),
        ("Where is the elephant in the room?", "there is no", "there is no elephant"),
        ("How tall are the elephants?", "there is no elephant", None),
        ("What is the zorblax on?", "there is no zorblax", None),
        ("What material is the sofa?", "there is no armchair", OFF_TOPIC_ANSWER),  # it is predicted
        ("Is the elephant near the giraffe?", "there is no clock", OFF_TOPIC_ANSWER),
        ("Wo ist das Sofa?", "there is no wo", OFF_TOPIC_ANSWER),
        ("?", "there is no", OFF_TOPIC_ANSWER),
        ("Describe the room", "no descriis", NO_DESCRIPTION),
        ("Describe the room", "a room with a bed.", None),
        ("Is there an elephant?", "no", None),
    ],
)
def test_refusals_are_mended(question: str, answer: str, shown: str | None) -> None:
    assert mended_refusal(question, answer, lambda: {"sofa"}) == shown
