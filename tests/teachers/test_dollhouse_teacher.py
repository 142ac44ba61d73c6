"""A Dollhouse model as a teacher returns the model's own predictions, in the scene's frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dollhouse.errors import TeacherError
from dollhouse.geometry import Array, level_from_world, transform_points
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.session import MIN_BOX_SCORE
from dollhouse.inference.torch_session import TorchSession
from dollhouse.models.dollhouse.serialization import SHIPPED
from dollhouse.questions.generate import generate_questions
from dollhouse.scenes.scene import Scene, View
from dollhouse.scenes.synthetic.room_scene import room_scene
from dollhouse.scenes.view_preprocessing import preprocess_view
from dollhouse.teachers.dollhouse import DollhouseTeacher, DollhouseTeacherSettings

pytestmark = pytest.mark.skipif(not SHIPPED.is_dir(), reason="the shipped model is not in this tree")


@pytest.fixture(scope="module")
def teacher() -> DollhouseTeacher:
    return DollhouseTeacher.from_pretrained(None, DollhouseTeacherSettings(top_k=4))


@pytest.fixture(scope="module")
def scene() -> Scene:
    return room_scene("test", 3)


@pytest.fixture(scope="module")
def session(scene: Scene) -> TorchSession:
    pipeline = DollhousePipeline.from_pretrained()
    pipeline.model.config.answer_temperature = 1.0  # a teacher's probabilities are not calibrated
    return pipeline.encode_scene(scene)


def test_answers_are_the_models_own(teacher: DollhouseTeacher, scene: Scene, session: TorchSession) -> None:
    questions = generate_questions(scene, limit=12)
    answers = teacher.answer(scene, questions)
    own = session.answer([question.text for question in questions])
    assert [answer.text for answer in answers] == [answer.text for answer in own]
    for answer, own_answer in zip(answers, own, strict=True):
        assert answer.token_ids is not None
        assert answer.top_ids is not None
        assert answer.top_log_probs is not None
        assert answer.top_ids.shape == answer.top_log_probs.shape == (len(answer.token_ids), 4)
        np.testing.assert_array_equal(answer.top_ids[:, 0], answer.token_ids)
        assert np.exp(answer.top_log_probs[:, 0].mean()) == pytest.approx(own_answer.confidence, rel=1e-4)


def test_geometry_is_in_the_scenes_world(teacher: DollhouseTeacher, scene: Scene, session: TorchSession) -> None:
    geometry = teacher.geometry(scene)
    assert geometry is not None
    assert geometry.depth is not None
    np.testing.assert_allclose(np.stack(geometry.depth), session.depth, atol=1e-4)
    level = level_from_world(np.asarray(scene.views[0].world_from_camera))
    confident = [box for box in session.boxes if (box.score or 0) >= MIN_BOX_SCORE]
    assert geometry.boxes
    assert len(geometry.boxes) == len(confident)
    for box, own in zip(geometry.boxes, confident, strict=True):
        np.testing.assert_allclose(box.transformed(level).center, own.center, atol=1e-3)
    unposed = replace(scene, views=tuple(replace(view, world_from_camera=None) for view in scene.views))
    plain = teacher.geometry(unposed)
    assert plain is not None
    assert plain.boxes is not None
    np.testing.assert_allclose(plain.boxes[0].center, confident[0].center, atol=1e-3)


def test_feature_points_are_near_the_patches(teacher: DollhouseTeacher, scene: Scene, session: TorchSession) -> None:
    features = teacher.features(scene)
    assert features is not None
    patches = (teacher.pipeline.image_size // 14) ** 2
    assert features.features.shape == (4 * patches, teacher.pipeline.model.config.trunk_width)
    perception = session.perception
    assert perception is not None
    assert features.label_probs is not None
    np.testing.assert_allclose(features.label_probs, perception.votes.label_logits[0].softmax(-1).numpy(), atol=1e-5)
    assert features.labels == tuple(teacher.pipeline.model.config.labels)
    measured = middle_points(scene, teacher.pipeline.image_size)
    known = np.asarray(np.isfinite(measured).all(-1))
    for axis in range(3):
        assert np.corrcoef(features.points[known, axis], measured[known, axis])[0, 1] > 0.75
    off = np.linalg.norm(features.points - measured, axis=-1)[:patches]
    assert np.median(off[known[:patches]]) < 0.7  # of the first view, whose frame is that of the prediction


def middle_points(scene: Scene, size: int) -> Array:
    """Return the world position of each patch's middle pixel by the true depth, in photos of a size."""
    from dollhouse.geometry import back_project

    positions = []
    for own in scene.views:
        view = preprocess_view(own, size)
        depth = view.depth
        assert depth is not None
        assert view.intrinsics is not None
        points = transform_points(np.asarray(own.world_from_camera), back_project(depth, view.intrinsics))
        points[depth <= 0] = np.nan
        positions.append(points[7::14, 7::14].reshape(-1, 3))
    return np.concatenate(positions)


def test_blind_student_returns_text_only(scene: Scene) -> None:
    blind = DollhouseTeacher.from_pretrained(SHIPPED / "blind")
    assert blind.geometry(scene) is None
    assert blind.features(scene) is None
    assert blind.answer(scene, generate_questions(scene, limit=1))[0].text


def test_setting_names_in_record_ids_are_pinned(teacher: DollhouseTeacher) -> None:
    settings = teacher.provenance()["settings"]
    assert settings == {"max_new_tokens": 48, "top_k": 4, "sure": MIN_BOX_SCORE, "decoding": "greedy"}


def test_records_carry_the_number_of_threads(teacher: DollhouseTeacher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another number gives other last digits under one id."""
    for threads in (1, 3):
        monkeypatch.setattr("torch.get_num_threads", lambda threads=threads: threads)
        assert teacher.provenance()["software"]["threads"] == threads


def test_more_photos_than_fit_are_one_line() -> None:
    """No photo is read: thousands of them would take the memory that this is about."""
    views = tuple(View(str(number), lambda: pytest.fail("read")) for number in range(65))
    with pytest.raises(TeacherError, match="65 photos are too many to encode at once; give --views 64"):
        DollhouseTeacher(None)._encode(Scene("many", views))  # type: ignore[arg-type]
