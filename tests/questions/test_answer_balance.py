"""The answer balance, and the advantage of answering questions about rooms from their words alone."""

import gzip
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import QuestionError
from dollhouse.questions.answer_balance import AnswerBalance, rooms_balance
from dollhouse.questions.facts import Key
from dollhouse.questions.generate import FAMILIES, Question, generate_questions
from dollhouse.scenes.scene import Box, Scene, View
from dollhouse.scenes.synthetic.furniture import CATEGORIES
from dollhouse.scenes.synthetic.room_scene import room_scene


def one_view_scene(name: str, *objects: tuple[str, str | None]) -> Scene:
    """Create boxes of (label, colour) in a row, with equal parts of a single view."""
    boxes = tuple(
        Box(i + 1, label, np.array([2.0 * i, 0, 0.5]), np.ones(3), 0.0, colour=colour)
        for i, (label, colour) in enumerate(objects)
    )
    instances = np.repeat(np.arange(1, len(objects) + 1, dtype=np.int32), 5)[None].repeat(9, 0)
    view = View("only", lambda: np.zeros((9, 5, 3), np.uint8), open_instances=lambda: instances)
    return Scene(name, (view,), boxes)


def test_answers_are_accepted_in_inverse_proportion_to_their_count() -> None:
    key = ("contact.stands_on", "lamp")
    balance = AnswerBalance({key: {"the floor": 400, "the table": 100, "the bed": 50, "the piano": 2}}, least_count=10)
    assert balance.answers(key) == ("the bed", "the floor", "the table")
    assert balance.accept(key, "the bed") == 1.0
    assert balance.accept(key, "the table") == 0.5
    assert balance.accept(key, "the floor") == 0.125
    assert balance.accept(key, "the piano") == 0.0  # too rare to estimate


def test_keys_with_one_answer_or_no_counts_are_not_asked() -> None:
    key = ("size.larger", "lamp", "sofa")
    assert AnswerBalance({key: {"sofa": 900, "lamp": 3}}).accept(key, "sofa") == 0.0
    assert AnswerBalance({}).accept(key, "sofa") == 0.0
    assert AnswerBalance({}).accept(None, "chair*") == 1.0  # two objects of one category: nothing to balance


def test_measuring_counts_answers_and_absences() -> None:
    scenes = [
        one_view_scene("a", ("chair", "red"), ("chair", "blue")),
        one_view_scene("b", ("chair", "red")),
        one_view_scene("c", ("bed", None)),
    ]
    counts = AnswerBalance.measure(scenes, least_count=1, least_part=0.0).counts
    assert counts[("counting.label", "chair")] == {"2": 1, "1": 1}
    assert counts[("existence.label", "chair")] == {"yes": 2, "no": 1}
    assert counts[("existence.label", "bed")] == {"yes": 1, "no": 2}
    assert counts[("existence.colour", "chair", "blue")] == {"yes": 1, "no": 2}
    # The bed could have any colour, so no colour of bed is certain to be present.
    assert not [key for key in counts if key[:2] == ("existence.colour", "bed")]


def test_a_table_survives_saving(tmp_path: Path) -> None:
    key: Key = ("proximity.near", "bed", "lamp")
    balance = AnswerBalance({key: {"yes": 50, "no": 120}, ("size.larger", "a", "b"): {"a": 500, "b": 1}})
    balance.save(tmp_path / "one.json.gz")
    balance.save(tmp_path / "two.json.gz")
    assert AnswerBalance.load(tmp_path / "one.json.gz").counts == {key: {"yes": 50, "no": 120}}
    assert (tmp_path / "one.json.gz").read_bytes() == (tmp_path / "two.json.gz").read_bytes()


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", *(gzip.compress(text.encode(), mtime=0) for text in ("{", "[1]", '{"a": {"b": 1}}'))],
)
def test_a_broken_table_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.json.gz"
    path.write_bytes(content)
    with pytest.raises(QuestionError, match=r"broken\.json\.gz: is not a table"):
        AnswerBalance.load(path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(QuestionError, match=r"absent\.json\.gz"):
        AnswerBalance.load(tmp_path / "absent.json.gz")


def test_the_shipped_table_fits_the_catalogue() -> None:
    counts = rooms_balance().counts
    assert {key[1] for key in counts if key[0] == "existence.label"} <= set(CATEGORIES)
    assert {family for family in FAMILIES if any(key[0].startswith(family) for key in counts)} == set(FAMILIES)


class Unbalanced(AnswerBalance):
    """Accepts everything as often as it occurs, and comparisons that the table lacks."""

    def accept(self, key: Key | None, answer: str) -> float:
        return float(
            super().accept(key, answer) > 0 or (key is not None and key[0].startswith(("size", "proximity.nearer")))
        )


class MajorityBaseline:
    """Answers with the majority answer of the form and the categories in the order named; else of the form."""

    def __init__(self, questions: Iterable[Question]) -> None:
        self.exact: dict[tuple, Counter] = defaultdict(Counter)
        self.form: dict[str, Counter] = defaultdict(Counter)
        for question in questions:
            self.exact[self.words(question)][self.normalised_answer(question)] += 1
            self.form[question.form][self.normalised_answer(question)] += 1

    @staticmethod
    def words(question: Question) -> tuple:
        return (question.form, *re.findall("|".join(sorted(CATEGORIES, key=len, reverse=True)), question.text))

    @staticmethod
    def normalised_answer(question: Question) -> str:
        """Return the answer; one of two objects named in the question becomes its position there."""
        if len(question.choices) == 2 and all(choice in question.text for choice in question.choices):
            return "first" if question.answer == min(question.choices, key=question.text.index) else "second"
        return question.answer

    def advantage(self, questions: Iterable[Question]) -> float:
        """Accuracy minus chance."""
        gains = []
        for question in questions:
            answers = self.exact.get(self.words(question)) or self.form.get(question.form) or Counter([""])
            gains.append((answers.most_common(1)[0][0] == self.normalised_answer(question)) - 1 / len(question.choices))
        return float(np.mean(gains))


@pytest.fixture(scope="module")
def rooms() -> tuple[list[Scene], list[Scene]]:
    """Rooms to fit the baseline on and held-out rooms; small images suffice for visibility."""
    train = [room_scene("train", number, image_size=42) for number in range(500_000, 500_250)]
    return train, [room_scene("validation", number, image_size=42) for number in range(150)]


@pytest.mark.parametrize("balanced", [True, False])
def test_words_alone_do_not_give_the_answer(rooms: tuple[list[Scene], list[Scene]], balanced: bool) -> None:
    table = rooms_balance() if balanced else Unbalanced(rooms_balance().counts, least_count=0, least_part=0.0)
    train, held_out = (
        [
            question
            for scene in scenes
            for question in generate_questions(scene, balance=table, limit=48)
            if question.family in FAMILIES
        ]
        for scenes in rooms
    )
    advantage = MajorityBaseline(train).advantage(held_out)
    if balanced:
        assert advantage < 0.03
    else:
        assert advantage > 0.06


def test_neither_position_nor_yes_is_favoured(rooms: tuple[list[Scene], list[Scene]]) -> None:
    answers: dict[str, Counter] = defaultdict(Counter)
    for scene in rooms[0]:
        for question in generate_questions(scene, limit=48):
            if question.family in FAMILIES and len(question.choices) == 2:
                answers[question.family][MajorityBaseline.normalised_answer(question)] += 1
    for counts in answers.values():
        for first, second in (("yes", "no"), ("first", "second"), ("left", "right"), ("in front", "behind")):
            total = counts[first] + counts[second]
            # Five standard deviations of a fair coin.
            assert abs(counts[first] - counts[second]) <= 5 * np.sqrt(total)
