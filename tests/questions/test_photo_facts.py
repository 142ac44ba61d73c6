"""Facts about photos: exact geometry on one hand-made room, margins, and what is never asked."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from dollhouse.questions.answer_balance import AnswerBalance
from dollhouse.questions.facts import Fact
from dollhouse.questions.generate import Question, generate_questions
from dollhouse.questions.nouns import absent_nouns, nouns
from dollhouse.questions.photo_facts import PhotoFacts
from dollhouse.questions.photo_questions import OFF_TOPIC_ANSWER, off_topic_questions, photo_templates
from dollhouse.questions.wording import normalise_question
from dollhouse.scenes.scene import Box, Scene
from tests.questions.fixture_boxes import make_box, make_scene, random_scene

TABLE = make_box(1, "table", 0.0, 0.0, (1.2, 0.8, 0.75), colour="brown")
VASE = make_box(2, "vase", 0.3, 0.0, (0.2, 0.2, 0.3), bottom=0.75, colour="red")
CHAIR = make_box(3, "chair", 0.0, 0.9, (0.5, 0.5, 0.9), colour="blue")
SOFA = make_box(4, "sofa", -1.5, 0.0, (0.8, 1.8, 0.8), colour="grey")
PICTURE = make_box(5, "picture", -1.98, 0.0, (0.04, 0.8, 0.6), bottom=1.3)
LAMP = make_box(6, "lamp", 1.0, 1.0, (0.4, 0.4, 0.3), bottom=2.15)
OTHER_CHAIR = make_box(7, "chair", 1.6, -1.6, (0.5, 0.5, 0.9), colour="green")
ROOM = (TABLE, VASE, CHAIR, SOFA, PICTURE, LAMP, OTHER_CHAIR)
METADATA = {"floor": [[-2, -2], [2, -2], [2, 2], [-2, 2]], "height": 2.5, "split": "train"}


def scene_of(*boxes: Box, views: int = 2) -> Scene:
    """The boxes in a room; every view shows each of them as a strip, in their order."""
    ids = np.repeat([box.id for box in boxes], 126 // len(boxes)).astype(np.int32)
    scene = make_scene(boxes, views=views)
    shown = tuple(replace(view, open_instances=lambda: np.tile(ids, (126, 1))) for view in scene.views)
    return replace(scene, views=shown, metadata=METADATA)


def found(scene: Scene) -> dict[tuple[str, str], list[Fact]]:
    """Facts by kind and the name of their first object."""
    facts, by_name = PhotoFacts(scene), defaultdict(list)
    for fact in facts.facts():
        reference = facts.references[fact.objects[0]] if fact.objects else None
        by_name[fact.kind, dict(fact.words).get("a") or (reference.name if reference else "")].append(fact)
    return by_name


FACTS = found(scene_of(*ROOM))


@pytest.mark.parametrize(
    ("kind", "name", "answer", "accept"),
    [
        ("open.on", "the table", "a vase", ()),
        ("open.all_on", "the table", "a vase", ("a vase",)),
        ("open.next_to", "the table", "a chair", ("a sofa",)),
        ("open.above", "the sofa", "a picture", ()),
        ("open.under", "the picture", "a sofa", ()),
        ("open.under", "the vase", "a table", ()),
        ("open.where", "the vase", "on the table", ("next to the chair",)),
        ("open.where", "the picture", "on the wall", ()),
        ("open.where", "the lamp", "on the ceiling", ()),
        ("open.where", "the blue chair", "next to the table", ("next to the vase", "on the floor")),
        ("open.largest", "the sofa", "a sofa", ()),
        ("open.on_nothing", "the sofa", "nothing", ()),
        ("contact.stands_on", "the picture", "the wall", ()),
        ("contact.stands_on", "the lamp", "the ceiling", ()),
        ("contact.wall", "the picture", "yes", ()),
        ("contact.wall", "the vase", "no", ()),
        ("counting.on", "the table", "1", ()),
        ("existence.on", "the table", "yes", ()),
        ("existence.on", "the sofa", "no", ()),
        ("distance.height", "the chair next to the table", "", ()),
        ("attribute.colour_of_related", "the chair next to the table", "blue", ()),
        ("contact.stands_on_of_related", "the chair next to the table", "the floor", ()),
        ("distance.height", "the table", "0.8 m", ("0.6 m", "0.7 m", "0.9 m", "1.0 m")),
    ],
)
def test_geometry_is_exact(kind: str, name: str, answer: str, accept: tuple[str, ...]) -> None:
    facts = FACTS.get((kind, name), [])
    if not answer:
        assert facts == []
        return
    assert [(fact.answer, fact.accept) for fact in facts] == [(answer, accept)]


def test_what_is_between_lies_between() -> None:
    plant = make_box(8, "plant", -0.85, 0.0, (0.3, 0.3, 0.6))
    (fact,) = [fact for fact in found(scene_of(TABLE, SOFA, plant))["open.between", "the table"]]
    assert fact.answer == "a plant"
    aside = make_box(8, "plant", -0.85, 1.2, (0.3, 0.3, 0.6))
    assert found(scene_of(TABLE, SOFA, aside))["open.between", "the table"] == []


def test_narrow_relations_are_accepted_but_not_asked() -> None:
    for gap, asked in ((0.3, True), (0.6, False), (1.2, False)):
        chair = make_box(3, "chair", 0.0, 0.4 + gap + 0.25, (0.5, 0.5, 0.9))
        assert bool(found(scene_of(TABLE, chair))["open.next_to", "the table"]) is asked
    near, further = (make_box(i, "box", 0.0, s * y, (0.4, 0.4, 0.4)) for i, s, y in ((3, 1, 0.8), (4, -1, 1.2)))
    (fact,) = found(scene_of(TABLE, near, replace(further, label="bin")))["open.next_to", "the table"]
    assert (fact.answer, fact.accept) == ("a box", ("a bin",))


def test_sides_of_a_view_are_those_of_its_pixels() -> None:
    facts = PhotoFacts(scene_of(*ROOM))
    checked = 0
    for fact in facts.facts():
        if fact.kind in ("open.left_of", "open.right_of"):
            assert fact.view is not None
            best = facts.labels.index(fact.answer.split(" ", 1)[1])
            offset = facts.across[best, fact.view] - facts.across[fact.objects[0], fact.view]
            members = [i for i, label in enumerate(facts.labels) if label == facts.labels[best]]
            if len(members) == 1:
                assert offset >= 0.12 if fact.kind == "open.right_of" else offset <= -0.12
                checked += 1
    assert checked > 3


def test_a_more_general_label_is_ambiguous() -> None:
    office = make_box(8, "office chair", 1.2, 0.0, (0.5, 0.5, 0.9))
    kinds = {kind for kind, name in found(scene_of(TABLE, CHAIR, office)) if name == "the chair"}
    assert kinds == set()
    facts = PhotoFacts(scene_of(TABLE, office))
    assert "chair" in facts.labels_present  # so that its absence is not stated


def ask(scene: Scene, seed: int = 0, floor: float = 1.0) -> tuple[Question, ...]:
    return generate_questions(scene, balance=AnswerBalance({}, floor=floor), seed=seed, photos=True)


def test_questions_are_deterministic_and_in_the_normalised_wording() -> None:
    for number in range(4):
        scene = replace(random_scene(number), metadata=METADATA)
        asked = ask(scene)
        assert asked == ask(scene)
        for question in asked:
            if question.family != "refusal" and not question.form.endswith((".noun", ".absent")):
                assert normalise_question(question.text) == question.text, question


def test_every_kind_is_asked() -> None:
    forms = {
        question.form for number in range(30) for question in ask(replace(random_scene(number), metadata=METADATA))
    }
    forms |= {question.form for views in (1, 2, 3) for question in ask(scene_of(*ROOM, views=views))}
    asked = {template.form for templates in photo_templates().values() for template in templates}
    assert asked - forms <= {"open.on_of_related", "existence.noun"} | {"attribute.colours", "counting.label_on"}


def test_single_photos_are_asked_without_a_view() -> None:
    named = Counter(("view" in question.text) for question in ask(scene_of(*ROOM, views=1)))
    assert named[True] < 0.1 * named[False]
    several = [question for question in ask(scene_of(*ROOM)) if question.form == "orientation.left_right"]
    assert all("view" in question.text for question in several)


def test_absent_objects_are_refused() -> None:
    scene = scene_of(*ROOM)
    labels = {box.label for box in ROOM}
    for question in ask(scene):
        if question.form == "refusal.object":
            noun = question.answer.removeprefix("there is no ")
            assert noun in question.text
            assert noun not in labels
        elif question.form == "refusal.off_topic":
            assert question.answer == OFF_TOPIC_ANSWER
        elif question.form in ("existence.noun", "counting.absent"):
            assert question.answer in ("no", "0")


def test_held_out_nouns_are_never_trained_on() -> None:
    assert not set(absent_nouns()) & set(absent_nouns(held_out=True))
    assert 0.15 < len(absent_nouns(held_out=True)) / len(absent_nouns() + absent_nouns(held_out=True)) < 0.25
    assert "elephant" in nouns()
    assert not {"armchair", "drawer", "man"} & set(absent_nouns() + absent_nouns(held_out=True))
    assert not set(off_topic_questions()) & set(off_topic_questions(held_out=True))


def test_a_floor_asks_what_the_words_reveal() -> None:
    assert not [question for question in ask(scene_of(*ROOM), floor=0.0) if question.form.startswith("size.")]
    assert [question for question in ask(scene_of(*ROOM), floor=1.0) if question.form.startswith("size.")]
    assert np.isclose(AnswerBalance({}, floor=0.1).accept(("size.larger", "a", "b"), "a"), 0.1)
