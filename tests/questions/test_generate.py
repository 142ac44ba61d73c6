"""Generated questions: every answer against brute force over the boxes, and every margin."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import QuestionError
from dollhouse.geometry import (
    camera_rays,
    inside_box,
    transform_points,
)
from dollhouse.questions.answer_balance import AnswerBalance
from dollhouse.questions.facts import Fact, SceneFacts
from dollhouse.questions.generate import AUXILIARY, FAMILIES, generate_questions
from dollhouse.questions.referring import plural, referring_expressions, with_article
from dollhouse.questions.sources import QuestionFile
from dollhouse.questions.templates import TEMPLATES
from dollhouse.scenes.box_relations import FLOOR, BoxRelations
from dollhouse.scenes.scene import Box, Scene
from dollhouse.scenes.visibility import compute_visibility
from tests.questions.brute_force_answers import BruteForceAnswers
from tests.questions.fixture_boxes import SIZE, make_box, make_scene, random_scene

SCENES = [random_scene(seed) for seed in range(60)]
BALANCE = AnswerBalance.measure(SCENES, least_count=1, least_part=0.0)


def test_every_answer_agrees_with_brute_force() -> None:
    forms: dict[str, int] = {}
    for scene in SCENES:
        brute_force = BruteForceAnswers(scene)
        for question in generate_questions(scene, balance=BALANCE):
            expected = brute_force.answer(question)
            if expected is not None:
                assert question.answer == expected, question
                forms[question.form] = forms.get(question.form, 0) + 1
    asked = {template.form for templates in TEMPLATES.values() for template in templates} - {"description.room"}
    assert {form for form in asked if forms.get(form, 0) < 5} == set()


def test_questions_are_well_formed() -> None:
    for scene in SCENES[:20]:
        questions = generate_questions(scene, balance=BALANCE)
        assert len({question.id for question in questions}) == len(questions)
        for question in questions:
            assert question.id.startswith(f"{scene.name}#{question.form}#")
            assert question.family == question.form.split(".")[0]
            assert question.family in (*FAMILIES, *AUXILIARY)
            assert question.text == question.text.lower()
            assert not re.search(r"[{}]|none|  ", question.text)
            assert len(question.text.split()) <= 20
            if question.family == "description":
                assert question.choices == ()
            else:
                assert question.answer in question.choices
                assert len(set(question.choices)) == len(question.choices) >= 2
            assert (f"view {question.view + 1}" in question.text) if question.view is not None else True


def test_the_same_scene_and_seed_give_the_same_questions() -> None:
    first, again = (generate_questions(random_scene(3), balance=BALANCE, limit=30, seed=5) for _ in range(2))
    assert first == again
    assert generate_questions(random_scene(3), balance=BALANCE, limit=30, seed=6) != first


def test_a_limit_is_spread_over_the_families() -> None:
    questions = generate_questions(SCENES[0], balance=BALANCE, limit=40)
    assert len(questions) == 40
    counts = {family: sum(question.family == family for question in questions) for family in FAMILIES}
    assert sum(counts.values()) >= 20
    assert min(counts.values()) >= 4
    assert len(generate_questions(SCENES[0], balance=BALANCE, limit=3)) == 3
    assert generate_questions(SCENES[0], balance=BALANCE, limit=0) == ()


def facts_of_kind(scene: Scene, kind: str) -> list[Fact]:
    return [fact for fact in SceneFacts(scene).facts() if fact.kind == kind]


@pytest.mark.parametrize(
    ("gap", "answers"), [(0.6, ["yes"]), (0.8, []), (1.4, []), (1.6, ["no"])], ids=["near", "so", "so", "far"]
)
def test_near_has_a_margin(gap: float, answers: list[str]) -> None:
    chair, table = make_box(1, "chair", 0, 0, (0.5, 0.5, 1)), make_box(2, "table", 1 + gap, 0, (1.5, 1, 0.7))
    assert [fact.answer for fact in facts_of_kind(make_scene((chair, table)), "proximity.near")] == answers


@pytest.mark.parametrize(("height", "asked"), [(1.15, 0), (1.25, 1), (0.85, 0), (0.7, 1)])
def test_nearly_equal_heights_are_not_compared(height: float, asked: int) -> None:
    boxes = (make_box(1, "chair", 0, 0, (0.5, 0.5, 1)), make_box(2, "cabinet", 1.5, 0, (0.5, 0.5, height)))
    assert len(facts_of_kind(make_scene(boxes), "size.taller")) == asked


def test_touching_needs_contact_and_an_overlapping_chair_is_not_asked_about() -> None:
    table = make_box(1, "table", 0, 0, (1.5, 1, 0.7))
    beside = make_box(2, "chair", 1.01, 0, (0.5, 0.5, 1))
    under = make_box(2, "chair", 0.8, 0, (0.5, 0.5, 1))
    off = make_box(2, "chair", 1.1, 0, (0.5, 0.5, 1))
    on = make_box(2, "lamp", 0, 0, (0.4, 0.4, 0.5), bottom=0.7)
    answers = [
        [f.answer for f in facts_of_kind(make_scene((table, other)), "contact.touching")]
        for other in (beside, under, off, on)
    ]
    assert answers == [["yes"], [], [], ["yes"]]


@pytest.mark.parametrize(("degrees", "answers"), [(0, ["yes"]), (25, ["yes"]), (50, []), (80, ["no"]), (180, ["no"])])
def test_facing_has_a_margin(degrees: float, answers: list[str]) -> None:
    chair = make_box(1, "chair", 0, 0, (0.5, 0.5, 1), yaw=np.deg2rad(degrees), has_front=True)
    table = make_box(2, "table", 2, 0, (1, 1, 0.7))
    assert [fact.answer for fact in facts_of_kind(make_scene((chair, table)), "orientation.facing")] == answers


def test_invisible_objects_are_neither_asked_about_nor_counted() -> None:
    hidden = make_box(2, "chair", 90, -90, (0.5, 0.5, 1), colour="blue")
    scene = make_scene((make_box(1, "chair", 0, 0, (0.5, 0.5, 1), colour="red"), hidden))
    found = list(SceneFacts(scene).facts())
    assert compute_visibility(scene).shares[1].tolist() == [0, 0]
    assert all(1 not in fact.objects for fact in found if not fact.kind.startswith("existence"))
    assert not [fact for fact in found if fact.kind == "counting.label"]
    # It is present all the same, so its absence must not be a fact.
    assert ("chair", "blue") not in {
        fact.key[1:] for fact in SceneFacts(scene).absent([], [("chair", "blue")]) if fact.key
    }


def test_referring_expressions_use_label_colour_and_support() -> None:
    def named(*boxes: Box) -> list[str | None]:
        layout = BoxRelations.from_boxes(boxes)
        return [reference.name if reference else None for reference in referring_expressions(boxes, layout.supports)]

    table = make_box(1, "table", 0, 0, (1.5, 1, 0.7))
    red = make_box(2, "box", 3, 0, (0.5, 0.5, 0.5), colour="red")
    blue = make_box(3, "box", 5, 0, (0.5, 0.5, 0.5), colour="blue")
    red_on_table = make_box(4, "box", 0, 0, (0.5, 0.5, 0.5), bottom=0.7, colour="red")
    assert named(table, red) == ["the table", "the box"]
    assert named(table, red, blue) == ["the table", "the red box", "the blue box"]
    assert named(table, red, red_on_table) == ["the table", "the box on the floor", "the box on the table"]
    assert named(red, replace(red, id=9)) == [None, None]
    assert named(red, replace(blue, colour=None)) == [None, None]


def test_contact_questions_never_name_by_support() -> None:
    for scene in SCENES:
        for question in generate_questions(scene, balance=BALANCE):
            if question.family == "contact":
                assert not re.search(
                    r"(box|chair|lamp|bed|table|cabinet) on the \w+ (stand|touch|on|in)", question.text
                )


def test_visibility_from_depth_agrees_with_instances() -> None:
    boxes = (make_box(1, "table", 0, 0, (1, 1, 1)), make_box(2, "chair", 1.5, 1.5, (0.5, 0.5, 1.5)))
    scene = make_scene(boxes)
    # The depth of the boxes' own surfaces, by marching along each pixel's ray.
    views, masks = [], []
    for view in scene.views:
        rays = camera_rays(view.intrinsics, SIZE, SIZE)
        depth, ids = np.zeros((SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), np.int32)
        for z in np.arange(8.0, 0.5, -0.02):
            points = transform_points(view.world_from_camera, rays * z)
            for box in boxes:
                inside = inside_box(points, box.center, box.size, box.yaw)
                depth[inside], ids[inside] = z, box.id
        views.append(replace(view, open_instances=None, open_depth=lambda depth=depth: depth))
        masks.append([(ids == box.id).sum() for box in boxes])
    pixels = compute_visibility(replace(scene, views=tuple(views))).shares * SIZE**2
    assert np.abs(pixels.T - masks).max() <= 5


def test_descriptions_list_the_visible_objects() -> None:
    boxes = (
        make_box(1, "chair", 0, 0, (0.5, 0.5, 1), colour="red"),
        make_box(2, "chair", 1.5, 0, (0.5, 0.5, 1), colour="blue"),
        make_box(3, "armchair", 0, 1.5, (0.8, 0.8, 1)),
    )
    found = [question for question in generate_questions(make_scene(boxes), balance=BALANCE) if not question.choices]
    assert [question.answer for question in found] == ["a room with two chairs and an armchair."]
    assert plural("bookshelf") == "bookshelves"
    assert plural("box") == "boxes"
    assert with_article("orange box") == "an orange box"


def test_unusable_scenes_are_refused() -> None:
    scene = make_scene((make_box(1, "chair", 0, 0, (0.5, 0.5, 1)),))
    with pytest.raises(QuestionError, match="give balance"):
        generate_questions(scene)
    with pytest.raises(QuestionError, match="not annotated"):
        generate_questions(replace(scene, boxes=None), balance=BALANCE)
    with pytest.raises(QuestionError, match="not in metres"):
        generate_questions(replace(scene, metric=False), balance=BALANCE)
    blind = replace(scene, views=(replace(scene.views[0], open_instances=None),))
    with pytest.raises(QuestionError, match="neither instance ids nor depth"):
        generate_questions(blind, balance=BALANCE)


def test_an_empty_room_and_a_floor_annotated_as_a_box() -> None:
    empty = make_scene(())
    assert {question.answer for question in generate_questions(empty, balance=BALANCE)} <= {"no", "an empty room."}
    floor = make_box(7, "floor", 0, 0, (8, 8, 0.1), bottom=-0.1)
    facts = SceneFacts(make_scene((make_box(1, "chair", 0, 0, (0.5, 0.5, 1)), floor)))
    assert facts.supports == [FLOOR]
    assert facts.labels_present == {"chair"}


def test_lines_of_questions_end_at_line_feeds_only(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_bytes('\ufeff{"question": "Is it\u2028red\x85or blue?"}\r\n{"question": "b?"}\n'.encode())
    assert [question.text for question in QuestionFile(path)(Scene("s", ()))] == ["Is it\u2028red\x85or blue?", "b?"]


def test_names_of_data_sets_become_clean_nouns() -> None:
    """ScanNet's and NYU40's odd labels: numbers, "remove" and plurals give no question about "a 40" or "a windows"."""
    labels = [
        "5",
        "40",
        "remove",
        "otherfurniture",
        "Object",
        "clothes",
        "wall",
        "windows",
        "refridgerator",
        "end table",
    ]
    boxes = tuple(make_box(i + 1, label, 0.6 * i - 3, 0.0, (0.5, 0.5, 0.9)) for i, label in enumerate(labels))
    scene = make_scene((*boxes, make_box(11, "desks", 2.0, 1.5, (1.0, 0.6, 0.7)), make_box(12, "5", 0, 2, (1, 1, 1))))
    facts = SceneFacts(scene)
    assert facts.labels_present == {"window", "fridge", "table", "desk"}
    balance = AnswerBalance.measure([scene], least_count=1, least_part=0.0, by_kind=True)
    asked = [q for q in generate_questions(scene, balance=balance) if q.family != "distance"]
    words = set(re.findall(r"[a-z0-9]+", " ".join(f"{q.text} {q.answer}" for q in asked)))
    assert len(asked) > 5
    assert {"window", "fridge"} <= words
    assert not words & {"5", "40", "remove", "removes", "object", "otherfurniture", "clothes", "wall", "refridgerator"}
    (description,) = (question.answer for question in asked if question.family == "description")
    assert not re.search(r"\d|a \w+s\b", description)
