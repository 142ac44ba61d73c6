import numpy as np
import pytest

from dollhouse.evaluation.metrics.spatial import AnswerScorer, mean_relative_accuracy, number_in
from dollhouse.evaluation.metrics.versions import scorer_versions
from dollhouse.questions.generate import Question


def question(answer, family):
    return Question("s#f#0", "s", family, f"{family}.form", "?", answer, (), (), None)


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        (2.0, 2.0, 1.0),
        (2.2, 2.0, 0.9),  # 10 % off: all but the threshold 0.95
        (3.0, 2.0, 0.1),  # 50 % off: only the threshold 0.5
        (3.1, 2.0, 0.0),
        (0.0, 2.0, 0.0),
        (None, 2.0, 0.0),
        (-2.0, -2.0, 1.0),
    ],
)
def test_relative_accuracy(predicted, truth, expected):
    assert mean_relative_accuracy(predicted, truth) == pytest.approx(expected)


def test_relative_accuracy_against_its_definition():
    generator = np.random.default_rng(0)
    for predicted, truth in generator.uniform(0.1, 9, (300, 2)):
        expected = np.mean([abs(predicted - truth) / truth <= 1 - (50 + 5 * k) / 100 for k in range(10)])
        assert mean_relative_accuracy(predicted, truth) == pytest.approx(expected)
    with pytest.raises(ValueError, match="zero"):
        mean_relative_accuracy(1.0, 0.0)


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("2.5 m", 2.5),
        ("Three.", 3),
        ("about 4 chairs", 4),
        ("none", None),
        ("2 or 3", None),
        ("", None),
        ("a sofa", None),
    ],
)
def test_numbers_in_answers(answer, number):
    assert number_in(answer) == number


def test_counts_and_distances_are_scored_by_relative_accuracy():
    scorer = AnswerScorer()
    asked = [
        question("2.0 m", "distance"),
        question("4", "counting"),
        question("0", "counting"),
        question("yes", "size"),
    ]
    scorer.add(asked, ["2.2 m", "no idea", "0", "yes"])
    result = scorer.result()
    assert result is not None
    assert result["numeric"] == {"mra": pytest.approx((0.9 + 0.0) / 2), "n": 2}


def test_every_scorer_has_a_version():
    versions = scorer_versions()
    assert set(versions) == {"depth", "boxes", "spatial", "exact_match", "coco", "chrf"}
    assert all(version == f"{name}:{version.rpartition(':')[2]}" for name, version in versions.items())
