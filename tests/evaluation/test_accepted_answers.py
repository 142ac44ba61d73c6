"""Scores of questions with several correct answers, and of other wordings."""

from types import SimpleNamespace

import pytest

from benchmarks.wordings import RobustnessScorer
from dollhouse.evaluation.benchmarks.rooms import question_of, row_of_question, sample_of_question
from dollhouse.evaluation.metrics.spatial import is_correct
from dollhouse.questions.generate import Question


def question(answer: str, accept: tuple[str, ...] = (), family: str = "open", text: str = "?") -> Question:
    return Question("s#1", "s", family, f"{family}.form", text, answer, (), (), None, accept)


@pytest.mark.parametrize(
    ("prediction", "right"),
    [
        ("a vase", True),
        ("vase", True),
        ("two vases and a bowl", False),
        ("a bowl and a vase", True),
        ("the couch", True),
        ("a vase and a lamp", False),
        ("lamp", False),
        ("", False),
    ],
)
def test_every_item_must_be_accepted(prediction: str, right: bool) -> None:
    assert is_correct(question("a vase", ("a bowl", "a sofa")), prediction) is right


def test_lengths_within_the_accepted_steps() -> None:
    tall = question("0.8 m", ("0.7 m", "0.9 m"), "distance")
    assert [is_correct(tall, text) for text in ("0.8 m", "0.9 m", "1.0 m")] == [True, True, False]


def test_accepted_answers_are_stored() -> None:
    row = row_of_question(question("a vase", ("a bowl",)), "a bowl", True)
    assert question_of(row).accept == ("a bowl",)
    assert sample_of_question(question_of(row)).facts["accept"] == ["a bowl"]
    assert "accept" not in row_of_question(question("yes", (), "contact"), "yes", True)


def test_drops_and_refusals_are_counted() -> None:
    right = {"is there a television?": "yes", "where is the zebra?": "there is no zebra"}
    session = SimpleNamespace(answer=lambda texts: [SimpleNamespace(text=right.get(text, "no")) for text in texts])
    scorer = RobustnessScorer()
    scorer.add(
        session,  # type: ignore[arg-type]
        [
            question("yes", (), "existence", "is there a television?"),
            question("there is no zebra", (), "refusal", "where is the zebra?"),
        ],
    )
    result = scorer.result()
    assert result["wordings"]["case"] == {"n": 2, "accuracy": 0.0, "drop": 1.0}
    assert result["refusals"] == {"right": {"n": 1, "share": 1.0}, "wrong": {"n": 1, "share": 0.0}}
