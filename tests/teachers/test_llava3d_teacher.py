"""The teacher: shared prefix and batches beside the plain path, what it tells, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dollhouse.errors import QuestionError, TeacherError
from dollhouse.geometry import level_from_world
from dollhouse.models.llava3d.generation import SharedPrefix
from dollhouse.models.llava3d.processing import ViewPreprocessing, image_pixels, prepare_views
from dollhouse.models.llava3d.prompt import conversation, encoder, prompt_ids
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.llava3d import LLaVA3DSettings, LLaVA3DTeacher
from dollhouse.teachers.protocol import Teacher
from tests.teachers.conftest import posed_scene, question

TEXTS = (
    "What is it?",
    "How far is the chair from the wall?",
    "Yes?",
    "Is there a lamp?",
    "Where?",
    "A b c d e f g?",
    "Why",
)


def plain_ids(teacher: LLaVA3DTeacher, scene: Scene, text: str, clicks: torch.Tensor | None = None) -> list[int]:
    """Greedy ids by the plain path: whole prompt, no shared prefix, transformers' own generation."""
    ids = prompt_ids(conversation([(text, None)]), encoder(teacher.tokenizer), teacher.tokenizer.bos_token_id)
    views = prepare_views(scene, ViewPreprocessing(teacher.model.config.image_size))
    return teacher.model.generate(torch.tensor([ids]), [views], clicks, teacher.settings.max_new_tokens)[0].tolist()


def ids_of(answers: list[TeacherAnswer]) -> list[list[int]]:
    return [answer.token_ids.tolist() for answer in answers]


def test_many_questions_together_get_the_answers_they_get_alone(teacher: LLaVA3DTeacher, scene: Scene) -> None:
    told = ids_of(teacher.answer(scene, [question(text) for text in TEXTS]))
    assert told == [plain_ids(teacher, scene, text) for text in TEXTS]
    assert len({tuple(ids) for ids in told}) > 3  # the answers do depend on the question
    other = posed_scene(3, 64, 80)
    assert ids_of(teacher.answer(other, [question(TEXTS[0])])) == [plain_ids(teacher, other, TEXTS[0])]


@pytest.mark.parametrize("together", [1, 2, 32])
def test_group_size_changes_nothing(teacher: LLaVA3DTeacher, scene: Scene, together: int) -> None:
    asked = [question(text) for text in TEXTS]
    grouped = LLaVA3DTeacher(teacher.model, teacher.tokenizer, replace(teacher.settings, questions_at_once=together))
    assert ids_of(grouped.answer(scene, asked)) == ids_of(teacher.answer(scene, asked))


def test_an_answer_that_ends_leaves_the_others_as_they_were(teacher: LLaVA3DTeacher) -> None:
    model = teacher.model.language_model
    generator = torch.Generator().manual_seed(3)
    prefix, *questions = (torch.randn(n, 48, generator=generator).double() for n in (30, 4, 9, 1, 6))
    shared = SharedPrefix(model, prefix)
    free = [answer.token_ids for answer in shared.generate(questions, 12, eos_token_id=-1, top_k=1)]
    assert all(len(ids) == 12 for ids in free)
    end = free[0][2]
    stopped = [answer.token_ids for answer in shared.generate(questions, 12, eos_token_id=end, top_k=1)]
    for ids, whole in zip(stopped, free, strict=True):
        length = whole.index(end) + 1 if end in whole else 12
        assert ids == whole[:length]
    assert len(stopped[0]) <= 3
    assert [answer.token_ids for answer in shared.generate(questions, 12, eos_token_id=-1, top_k=1)] == free


def test_log_probabilities_are_those_of_the_whole_sequence(teacher: LLaVA3DTeacher, scene: Scene) -> None:
    answer = teacher.answer(scene, [question(text) for text in TEXTS])[1]
    length = len(answer.token_ids)
    assert answer.top_ids.shape == answer.top_log_probs.shape == (length, 5)
    assert answer.top_ids.dtype == np.int32
    assert answer.top_log_probs.dtype == np.float32
    assert (answer.top_ids[:, 0] == answer.token_ids).all()
    ids = prompt_ids(conversation([(TEXTS[1], None)]), encoder(teacher.tokenizer), 1)
    views = prepare_views(scene, ViewPreprocessing(teacher.model.config.image_size))
    with torch.no_grad():
        whole = teacher.model.embed(torch.tensor([ids + answer.token_ids.tolist()]), [views])
        logits = teacher.model(whole).logits[0]
    expected = logits[-length - 1 : -1].log_softmax(-1).gather(1, torch.from_numpy(answer.top_ids).long())
    np.testing.assert_allclose(answer.top_log_probs, expected, atol=1e-6)
    assert (np.diff(answer.top_log_probs) <= 0).all()
    assert answer.text == teacher.tokenizer.decode(answer.token_ids, skip_special_tokens=True).strip()


def test_boxes_in_questions_are_told_by_their_centres(teacher: LLaVA3DTeacher, scene: Scene) -> None:
    text = "What is at <boxes> or near <boxes>?"
    told = teacher.answer(scene, [question(TEXTS[0]), question(text, objects=(7, 7))])
    centres = torch.tensor([[0.123, -0.5, 0.4]] * 2)
    assert told[1].token_ids.tolist() == plain_ids(teacher, scene, text, centres)
    with pytest.raises(QuestionError, match="has no box 8"):
        teacher.answer(scene, [question(text, objects=(7, 8))])
    with pytest.raises(QuestionError, match="2 <boxes> but 1"):
        teacher.answer(scene, [question(text, objects=(7,))])


def test_questions_and_scenes_that_cannot_be_answered(teacher: LLaVA3DTeacher, scene: Scene) -> None:
    assert teacher.answer(scene, []) == []
    with pytest.raises(QuestionError, match="is empty"):
        teacher.answer(scene, [question("  ")])
    with pytest.raises(QuestionError, match="more than 4096 tokens"):
        teacher.answer(scene, [question("word " * 900)])
    flat = replace(scene, views=tuple(replace(view, open_depth=None) for view in scene.views))
    with pytest.raises(TeacherError, match="poses and depth"):
        teacher.answer(flat, [question("What?")])
    with pytest.raises(TeacherError, match="poses and depth"):
        teacher.features(flat)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(TeacherError, match="questions_at_once is 0"):
        LLaVA3DSettings(questions_at_once=0)


def test_features_stand_where_depth_was_measured(teacher: LLaVA3DTeacher, scene: Scene) -> None:
    told = teacher.features(scene)
    seen = teacher.model.get_scene_features(prepare_views(scene, ViewPreprocessing(56)))
    assert told.features.shape == (len(told.points), 32)
    assert told.features.dtype == np.float32
    assert len(told.points) < len(seen.points)  # the patches without depth, at the cameras' centres, are left out
    centres = np.array([view.world_from_camera[:3, 3] for view in scene.views])
    distance = np.linalg.norm(told.points[:, None] - centres, axis=-1)
    assert distance.min() > 0.9
    assert int(seen.measured.sum()) == int(
        (prepare_views(scene, ViewPreprocessing(56)).depths[:, ::14, ::14] > 0).sum()
    )


def test_a_hole_in_one_view_does_not_move_the_others_points(teacher: LLaVA3DTeacher) -> None:
    scene = posed_scene(1, 56, 56)
    whole = teacher.model.get_scene_features(prepare_views(scene, ViewPreprocessing(56)))
    pose = prepare_views(scene, ViewPreprocessing(56)).world_from_camera[0, :3, 3]
    lost = whole.measured == 0
    assert lost.sum() == 1  # all patches without depth fall into one voxel
    assert torch.equal(whole.points[lost], torch.zeros(1, 3))
    assert (whole.points[~lost] - pose).norm(dim=1).min() > 1


def test_too_many_voxels_are_thinned_the_same_way_each_time(teacher: LLaVA3DTeacher, scene: Scene) -> None:
    seen = teacher.model.get_scene_features(prepare_views(scene, ViewPreprocessing(56)))
    config, model = teacher.model.config, teacher.model
    every = model.get_scene_tokens(seen)
    try:
        model.config = replace(config, max_scene_tokens=10)
        once, again = model.get_scene_tokens(seen), model.get_scene_tokens(seen)
        model.config = replace(config, max_scene_tokens=10, subset_seed=1)
        other = model.get_scene_tokens(seen)
        model.config = replace(config, max_scene_tokens=10, unseeded_subset=True)
        torch.manual_seed(0)
        official = model.get_scene_tokens(seen)
    finally:
        model.config = config
    assert torch.equal(once, again)
    assert not torch.equal(once, other)

    def places(tokens: torch.Tensor) -> list[int]:
        return [int((every - token).abs().sum(1).argmin()) for token in tokens]

    assert places(once) == sorted(set(places(once)))
    assert len(places(once)) == 10
    torch.manual_seed(0)
    assert places(official) == torch.randperm(len(every))[:10].tolist()


def test_looking_at_one_photo_only(teacher: LLaVA3DTeacher, scene: Scene) -> None:
    flat = LLaVA3DTeacher(teacher.model, teacher.tokenizer, replace(teacher.settings, visual_input="photo"))
    views = tuple(replace(view, open_depth=None, world_from_camera=None) for view in scene.views)
    told = flat.answer(replace(scene, views=views), [question(text) for text in TEXTS[:2]])
    image = image_pixels(scene.views[0].image, 56).double()
    for text, answer in zip(TEXTS, told, strict=False):
        ids = prompt_ids(conversation([(text, None)]), encoder(teacher.tokenizer), 1)
        assert answer.token_ids.tolist() == teacher.model.generate(torch.tensor([ids]), [image], None, 12)[0].tolist()
    assert flat.features(scene) is None


def test_instruction_is_part_of_the_question(teacher: LLaVA3DTeacher, scene: Scene) -> None:
    brief = LLaVA3DTeacher(teacher.model, teacher.tokenizer, replace(teacher.settings, instruction="Say one word."))
    told = ids_of(brief.answer(scene, [question("Where?")]))
    assert told == [plain_ids(teacher, scene, "Where? Say one word.")]


def test_provenance_names_weights_settings_and_licence(teacher: LLaVA3DTeacher, checkpoint, scene: Scene) -> None:
    def keeps_the_protocol(one: Teacher) -> dict[str, object]:
        return one.provenance()

    told = keeps_the_protocol(teacher)
    assert told["teacher"] == "LLaVA-3D"
    assert "CC BY-NC-SA 4.0" in told["licence"]
    assert told["settings"]["dtype"] == "float64"
    assert told["settings"]["geometry_dtype"] == "float32"
    assert len(told["weights"]) == 12
    official = LLaVA3DTeacher.from_official(
        checkpoint, official_faults=True, settings=LLaVA3DSettings(max_new_tokens=3)
    )
    faults = official.provenance()["settings"]
    assert official.provenance()["weights"] != told["weights"]
    assert (faults["geometry_dtype"], faults["frame_sampling"], faults["portrait_fault"]) == (
        "bfloat16",
        "official",
        True,
    )
    assert faults["subset"] == "unseeded"
    assert len(official.answer(scene, [question("What?")])[0].token_ids) == 3
    assert official.geometry(scene) is None


def test_a_view_that_is_named_gives_the_axes(teacher: LLaVA3DTeacher, scene: Scene) -> None:
    """With such axes the answers are those about the same scene moved into the level frame of that view."""
    model = teacher.model
    asked = [question("In view 3, where is it?"), question("Where?"), question("in view 3 is it at <boxes>?", (7,))]
    plain = ids_of(teacher.answer(scene, asked))
    features = teacher.features(scene)
    try:
        model.config = replace(model.config, axes="named_view")
        turned = LLaVA3DTeacher(model, teacher.tokenizer, teacher.settings)
        told, seen = ids_of(turned.answer(scene, asked)), turned.features(scene)
    finally:
        model.config = replace(model.config, axes="scene")
    third, first = (level_from_world(scene.views[number].world_from_camera) for number in (2, 0))
    assert told != plain
    assert [told[0], told[2]] == ids_of(teacher.answer(moved(scene, third), [asked[0], asked[2]]))
    assert [told[1]] == ids_of(teacher.answer(moved(scene, first), [asked[1]]))
    assert features is not None
    assert seen is not None
    assert abs(len(seen.points) - len(features.points)) < 10  # other voxels, but in the scene's own world
    apart = np.linalg.norm(seen.points[:, None] - features.points, axis=-1).min(1)
    assert apart.max() < 0.3


def moved(scene: Scene, transform: np.ndarray) -> Scene:
    """The same scene in another world."""
    views = tuple(replace(view, world_from_camera=transform @ view.world_from_camera) for view in scene.views)
    return replace(scene, views=views, boxes=tuple(box.transformed(transform) for box in scene.boxes or ()))
