import numpy as np
import pytest

from dollhouse.evaluation.metrics.bootstrap import accuracy_interval
from dollhouse.evaluation.metrics.spatial import AnswerScorer, ChanceScorer, distance_in_metres, is_correct, normalise
from dollhouse.questions.generate import Question


def question(answer, family="size", choices=("yes", "no"), form=None, number=0):
    form = form or f"{family}.form"
    return Question(f"s#{form}#{number}", "s", family, form, "?", answer, tuple(choices), (), None)


@pytest.mark.parametrize(
    ("truth", "prediction", "right"),
    [
        ("the sofa", "Sofa.", True),
        ("the sofa", "the red sofa", False),
        ("2", "Two", True),
        ("two", "2.", True),
        ("2", "twenty", False),
        ("yes", "  YES!", True),
        ("yes", "", False),
        ("left", "to the left", False),
        ("in front", "In front", True),
        ("2.5 m", "2.5 m", True),
        ("2.5 m", "about 2.7 metres", True),
        ("2.5 m", "2 . 25 m", True),
        ("2.5 m", "3.0 m", False),
        ("2 m", "two metres", True),
        ("2.5 m", "2.5", False),
        ("2.5 m", "between 2 m and 3 m", False),
    ],
)
def test_judging(truth, prediction, right):
    assert is_correct(question(truth), prediction) is right


def test_descriptions_are_not_judged():
    assert is_correct(question("a room with a bed.", family="description"), "a bed") is None


def test_normalising_keeps_what_carries_meaning():
    assert normalise("The two chairs, and a LAMP!") == "2 chairs and lamp"
    assert normalise("2.5 m") == "2.5 m"
    assert distance_in_metres("1.5m away") == 1.5
    assert distance_in_metres("1 mile") is None


def test_accuracies_by_family_and_form():
    scorer = AnswerScorer()
    asked = [
        question("yes", "size", form="size.is_larger"),
        question("no", "size", form="size.is_taller"),
        question("left", "orientation", ("left", "right")),
        question("2", "counting", ("1", "2", "3")),
        question("2.0 m", "distance", ()),
        question("a room.", "description", ()),
    ]
    verdicts = scorer.add(asked, ["yes", "yes", "left", "two", "3.0 m", "a room"])
    assert verdicts == [True, False, True, True, False, None]
    scorer.add([question("1.0 m", "distance", ())], ["far"])
    result = scorer.result()
    assert result is not None
    assert result["families"]["size"] == {"accuracy": 0.5, "n": 2, "ci95": None}
    assert result["overall"]["accuracy"] == pytest.approx(2 / 3)
    assert result["macro"]["accuracy"] == pytest.approx(0.75)
    assert result["forms"]["size.is_larger"]["accuracy"] == 1.0
    assert set(result["others"]) == {"counting", "distance"}
    assert result["distance"] == {"mae": 1.0, "n": 2, "unread": 1}


def test_chance_is_over_choices_of_the_four_families():
    chance = ChanceScorer()
    chance.add([question("yes"), question("a", choices="abcd"), question("2", "counting", ("1", "2", "3"))])
    result = chance.result()
    assert result["overall"] == pytest.approx((0.5 + 0.25) / 2)
    assert result["others"] == {"counting": pytest.approx(1 / 3)}


def test_one_answer_a_question():
    with pytest.raises(ValueError, match="1 questions, but 2 predictions"):
        AnswerScorer().add([question("yes")], ["yes", "no"])


def test_intervals_are_reproducible_and_hold_the_truth():
    covered = 0
    for trial in range(60):
        generator = np.random.default_rng(trial)
        skill = np.clip(generator.normal(0.7, 0.15, 80), 0, 1)  # scenes differ, so questions of one hang together
        right = generator.binomial(20, skill)
        asked = np.full(80, 20)
        interval = accuracy_interval(right, asked, resamples=400, seed=1)
        assert interval == accuracy_interval(right, asked, resamples=400, seed=1)
        covered += interval[0] <= 0.7 <= interval[1]
    assert covered >= 51  # 95 % of 60 is 57


def test_scenes_are_resampled_not_questions():
    right, asked = np.repeat([0, 50], 10), np.full(20, 50)  # all or nothing: 20 facts, not 1000
    low, high = accuracy_interval(right, asked)
    assert high - low > 0.3
    assert accuracy_interval(np.array([5]), np.array([9])) is None
