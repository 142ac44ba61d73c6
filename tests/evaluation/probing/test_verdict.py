"""Figures are paired and resample scenes; the verdict follows from their intervals alone."""

from __future__ import annotations

import numpy as np
import pytest

from dollhouse.evaluation.metrics.bootstrap import accuracy_interval
from dollhouse.evaluation.probing.accuracy import (
    OVERALL,
    AblatedQuestion,
    AblationScore,
    effect,
    score_ablations,
    sum_by_scene,
    verdict,
)


def made(difference: float, interval: tuple[float, float] | None, accuracy: float = 0.8) -> AblationScore:
    return AblationScore(accuracy, 1000, 50, None, difference, interval, 0.1)


NOTHING = made(0.0, (0.0, 0.0))
FALLS = made(-0.08, (-0.11, -0.05))
RISES = made(0.05, (0.02, 0.08))
NARROW = made(0.001, (-0.01, 0.012))
WIDE = made(-0.01, (-0.05, 0.03))


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        (NOTHING, "stays"),
        (FALLS, "falls"),
        (RISES, "rises"),
        (NARROW, "stays"),
        (WIDE, "unclear"),
        (made(-0.5, None), "unclear"),
        (made(-0.01, (-0.015, -0.005)), "falls"),
        (made(0.0, (-0.02, 0.021)), "unclear"),
    ],
)
def test_effects(figure: AblationScore, expected: str) -> None:
    assert effect(figure) == expected


def statement(**ablations: AblationScore) -> str:
    scores = {name.replace("_", " "): {OVERALL: figure} for name, figure in ablations.items()}
    return verdict({"unmodified": {OVERALL: NOTHING}, **scores})


def test_content_is_claimed_only_where_another_scene_s_thoughts_cost_accuracy() -> None:
    assert statement(zeros=FALLS, shuffled=FALLS).startswith("The thinking tokens carry content about the scene")
    assert statement(zeros=NARROW, shuffled=FALLS).startswith("The thinking tokens carry content about the scene")
    assert "-8.0 points, 95 %: -11.0 to -5.0" in statement(zeros=NARROW, shuffled=FALLS)
    for other in (NOTHING, NARROW, WIDE, RISES):
        for form in (NOTHING, FALLS, WIDE):
            assert "carry content about the scene" not in statement(zeros=form, shuffled=other)


def test_form_without_content() -> None:
    text = statement(zeros=FALLS, first_repeated=NARROW, shuffled=NARROW)
    assert text.startswith("The answers need what was trained to stand at the thinking positions")
    assert "accuracy falls with zeros (" in text
    assert "first repeated" not in text
    assert "another scene's does as well" in text
    assert "is not shown" in statement(zeros=FALLS, shuffled=WIDE)
    assert "was not tested" in statement(zeros=FALLS)


def test_no_content() -> None:
    text = statement(zeros=NARROW, noise=NOTHING, shuffled=NOTHING)
    assert text.startswith("The thinking tokens carry no content that the answers use")
    assert "by more than 1.2 points" in text


def test_doubt_is_said() -> None:
    text = statement(zeros=WIDE, shuffled=NOTHING)
    assert text.startswith("No evidence that the thinking tokens carry content")
    assert "1,000 questions about 50 scenes" in text
    assert "up to 5.0 points" in text
    assert "Too few scenes" in statement(zeros=made(-0.5, None), shuffled=made(-0.9, None))
    assert "Too few scenes" in verdict({"unmodified": {}, "zeros": {}})


def test_doing_better_without_is_said() -> None:
    assert "Accuracy rises with zeros (+5.0 points" in statement(zeros=RISES, shuffled=NARROW)


def test_families_outside_the_four_are_told_apart() -> None:
    groups = {OVERALL: NARROW, "size": FALLS, "counting": FALLS, "existence": WIDE}
    text = verdict({"unmodified": dict.fromkeys(groups, NOTHING), "zeros": groups, "noise": groups})
    assert text.endswith("Outside the four families, counting falls with zeros, noise.")


def rows_of(right: dict[str, list[list[int]]], family: str = "size") -> list[AblatedQuestion]:
    """``right``: control -> scene -> question."""
    return [
        AblatedQuestion(
            scene=f"s{scene}",
            id=f"s{scene}#{number}",
            family=family,
            question="?",
            answer="yes",
            predictions={name: "yes" if by_scene[scene][number] else "no" for name, by_scene in right.items()},
            correct={name: bool(by_scene[scene][number]) for name, by_scene in right.items()},
        )
        for scene in range(len(right["unmodified"]))
        for number in range(len(right["unmodified"][scene]))
    ]


def test_differences_are_paired_and_intervals_resample_scenes() -> None:
    draw = np.random.default_rng(0)
    base = [draw.integers(0, 2, 5 + scene % 3).tolist() for scene in range(30)]
    worse = [[value * int(draw.random() > 0.2) for value in scene] for scene in base]
    found = score_ablations(
        rows_of({"unmodified": base, "zeros": worse, "same": base}), ["unmodified", "zeros", "same"]
    )
    lost = [sum(b - w for b, w in zip(before, after, strict=True)) for before, after in zip(base, worse, strict=True)]
    asked = [len(scene) for scene in base]
    figure = found["zeros"][OVERALL]
    assert figure.n == sum(asked)
    assert figure.scenes == 30
    assert figure.difference == pytest.approx(-sum(lost) / sum(asked))
    assert figure.changed == pytest.approx(sum(lost) / sum(asked))
    assert figure.difference_ci95 == accuracy_interval(-np.array(lost), np.array(asked))
    assert figure.accuracy == pytest.approx(sum(map(sum, worse)) / sum(asked))
    assert found["zeros"]["size"] == figure
    same = found["same"][OVERALL]
    assert (same.difference, same.difference_ci95, same.changed) == (0.0, (0.0, 0.0), 0.0)


def test_overall_is_over_the_four_families_only() -> None:
    four = rows_of({"unmodified": [[1, 1], [1, 1]]})
    rest = rows_of({"unmodified": [[0, 0], [0, 0]]}, family="counting")
    found = score_ablations([*four, *rest], ["unmodified"])["unmodified"]
    assert list(found) == ["size", OVERALL, "counting"]
    assert (found[OVERALL].accuracy, found["counting"].accuracy) == (1.0, 0.0)
    assert score_ablations(rest, ["unmodified"])["unmodified"].keys() == {"counting"}


def test_one_scene_has_no_interval() -> None:
    figure = score_ablations(rows_of({"unmodified": [[1, 0, 1]]}), ["unmodified"])["unmodified"][OVERALL]
    assert (figure.ci95, figure.difference_ci95) == (None, None)


def test_sums_by_scene() -> None:
    assert sum_by_scene(["b", "a", "b"], np.array([1.0, 2.0, 3.0])).tolist() == [4.0, 2.0]
