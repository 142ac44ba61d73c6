"""The LLaVA-3D teacher: batches over a shared prefix against plain generation, results, and refusals."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dollhouse.errors import QuestionError, TeacherError
from dollhouse.models.llava3d.generation import SharedPrefix
from dollhouse.models.llava3d.processing import ViewPreprocessing, image_pixels, prepare_views
from dollhouse.models.llava3d.prompt import conversation, encoder, prompt_ids
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.llava3d import LLaVA3DSettings, LLaVA3DTeacher
from dollhouse.teachers.protocol import Teacher
from tests.models.llava3d.tiny_llava3d import posed_scene
from tests.teachers.conftest import question

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
    """Generate greedy ids from the whole prompt by transformers' own generation."""
    ids = prompt_ids(conversation([(text, None)]), encoder(teacher.tokenizer), teacher.tokenizer.bos_token_id)
    views = prepare_views(scene, ViewPreprocessing(teacher.model.config.image_size))
    return teacher.model.generate(torch.tensor([ids]), [views], clicks, teacher.settings.max_new_tokens)[0].tolist()


def ids_of(answers: list[TeacherAnswer]) -> list[list[int]]:
    return [answer.token_ids.tolist() for answer in answers]


def test_batched_answers_equal_single_ones(teacher: LLaVA3DTeacher, scene: Scene) -> None:
    answers = ids_of(teacher.answer(scene, [question(text) for text in TEXTS]))
    assert answers == [plain_ids(teacher, scene, text) for text in TEXTS]
    assert len({tuple(ids) for ids in answers}) > 3  # the answers do depend on the question
    other = posed_scene(3, 64, 80)
    assert ids_of(teacher.answer(other, [question(TEXTS[0])])) == [plain_ids(teacher, other, TEXTS[0])]


@pytest.mark.parametrize("together", [1, 2, 32])
def test_group_size_has_no_effect(teacher: LLaVA3DTeacher, scene: Scene, together: int) -> None:
    asked = [question(text) for text in TEXTS]
    grouped = LLaVA3DTeacher(teacher.model, teacher.tokenizer, replace(teacher.settings, questions_at_once=together))
    assert ids_of(grouped.answer(scene, asked)) == ids_of(teacher.answer(scene, asked))


def test_a_finished_answer_does_not_change_the_others(teacher: LLaVA3DTeacher) -> None:
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


def test_log_probabilities_equal_those_of_the_whole_sequence(teacher: LLaVA3DTeacher, scene: Scene) -> None:
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


def test_boxes_in_questions_become_their_centres(teacher: LLaVA3DTeacher, scene: Scene) -> None:
    text = "What is at <boxes> or near <boxes>?"
    answers = teacher.answer(scene, [question(TEXTS[0]), question(text, objects=(7, 7))])
    centres = torch.tensor([[0.123, -0.5, 0.4]] * 2)
    assert answers[1].token_ids.tolist() == plain_ids(teacher, scene, text, centres)
    with pytest.raises(QuestionError, match="has no box 8"):
        teacher.answer(scene, [question(text, objects=(7, 8))])
    with pytest.raises(QuestionError, match="2 <boxes> but 1"):
        teacher.answer(scene, [question(text, objects=(7,))])


def test_invalid_questions_and_scenes_are_refused(teacher: LLaVA3DTeacher, scene: Scene) -> None:
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


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(TeacherError, match="questions_at_once is 0"):
        LLaVA3DSettings(questions_at_once=0)


def test_features_have_measured_depth(teacher: LLaVA3DTeacher, scene: Scene) -> None:
    features = teacher.features(scene)
    encoded = teacher.model.get_scene_features(prepare_views(scene, ViewPreprocessing(56)))
    assert features.features.shape == (len(features.points), 32)
    assert features.features.dtype == np.float32
    assert len(features.points) < len(
        encoded.points
    )  # the patches without depth, at the cameras' centres, are left out
    centres = np.array([view.world_from_camera[:3, 3] for view in scene.views])
    distance = np.linalg.norm(features.points[:, None] - centres, axis=-1)
    assert distance.min() > 0.9
    assert int(encoded.measured.sum()) == int(
        (prepare_views(scene, ViewPreprocessing(56)).depths[:, ::14, ::14] > 0).sum()
    )


def test_a_hole_in_the_depth_does_not_move_other_points(teacher: LLaVA3DTeacher) -> None:
    scene = posed_scene(1, 56, 56)
    whole = teacher.model.get_scene_features(prepare_views(scene, ViewPreprocessing(56)))
    pose = prepare_views(scene, ViewPreprocessing(56)).world_from_camera[0, :3, 3]
    lost = whole.measured == 0
    assert lost.sum() == 1  # all patches without depth fall into one voxel
    assert torch.equal(whole.points[lost], torch.zeros(1, 3))
    assert (whole.points[~lost] - pose).norm(dim=1).min() > 1


def test_surplus_voxels_are_dropped_reproducibly(teacher: LLaVA3DTeacher, scene: Scene) -> None:
    encoded = teacher.model.get_scene_features(prepare_views(scene, ViewPreprocessing(56)))
    config, model = teacher.model.config, teacher.model
    tokens_of_all = model.get_scene_tokens(encoded)
    try:
        model.config = replace(config, max_scene_tokens=10)
        first, second = model.get_scene_tokens(encoded), model.get_scene_tokens(encoded)
        model.config = replace(config, max_scene_tokens=10, subset_seed=1)
        other = model.get_scene_tokens(encoded)
        model.config = replace(config, max_scene_tokens=10, unseeded_subset=True)
        torch.manual_seed(0)
        official = model.get_scene_tokens(encoded)
    finally:
        model.config = config
    assert torch.equal(first, second)
    assert not torch.equal(first, other)

    def indices(tokens: torch.Tensor) -> list[int]:
        return [int((tokens_of_all - token).abs().sum(1).argmin()) for token in tokens]

    assert indices(first) == sorted(set(indices(first)))
    assert len(indices(first)) == 10
    torch.manual_seed(0)
    assert indices(official) == torch.randperm(len(tokens_of_all))[:10].tolist()


def test_one_photo_as_input(teacher: LLaVA3DTeacher, scene: Scene) -> None:
    flat = LLaVA3DTeacher(teacher.model, teacher.tokenizer, replace(teacher.settings, visual_input="photo"))
    views = tuple(replace(view, open_depth=None, world_from_camera=None) for view in scene.views)
    answers = flat.answer(replace(scene, views=views), [question(text) for text in TEXTS[:2]])
    image = image_pixels(scene.views[0].image, 56).double()
    for text, answer in zip(TEXTS, answers, strict=False):
        ids = prompt_ids(conversation([(text, None)]), encoder(teacher.tokenizer), 1)
        assert answer.token_ids.tolist() == teacher.model.generate(torch.tensor([ids]), [image], None, 12)[0].tolist()
    assert flat.features(scene) is None


def test_instruction_is_part_of_the_question(teacher: LLaVA3DTeacher, scene: Scene) -> None:
    brief = LLaVA3DTeacher(teacher.model, teacher.tokenizer, replace(teacher.settings, instruction="Say one word."))
    answers = ids_of(brief.answer(scene, [question("Where?")]))
    assert answers == [plain_ids(teacher, scene, "Where? Say one word.")]


def test_provenance_has_weights_settings_and_licence(teacher: LLaVA3DTeacher, checkpoint: Path, scene: Scene) -> None:
    protocol: Teacher = teacher  # for the type checker
    provenance = protocol.provenance()
    assert provenance["teacher"] == "LLaVA-3D"
    assert "CC BY-NC-SA 4.0" in provenance["licence"]
    assert provenance["settings"]["dtype"] == "float64"
    assert provenance["settings"]["geometry_dtype"] == "float32"
    assert len(provenance["weights"]) == 12
    official = LLaVA3DTeacher.from_official(checkpoint, LLaVA3DSettings(max_new_tokens=3, official_faults=True))
    faults = official.provenance()["settings"]
    assert official.provenance()["weights"] != provenance["weights"]
    assert (faults["geometry_dtype"], faults["frame_sampling"], faults["portrait_fault"]) == (
        "bfloat16",
        "official",
        True,
    )
    assert faults["subset"] == "unseeded"
    assert len(official.answer(scene, [question("What?")])[0].token_ids) == 3
    assert official.geometry(scene) is None
