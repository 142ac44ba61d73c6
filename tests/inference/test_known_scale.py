"""A known focal length, camera height or length changes predicted lengths by exact factors."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from dollhouse.errors import ModelError, SceneError
from dollhouse.inference import known_scale
from dollhouse.inference.known_scale import camera_height
from dollhouse.inference.session import Answer, SceneSession
from dollhouse.models.dollhouse.serialization import SHIPPED
from dollhouse.runtime.perception import FOCAL_EXPONENT
from dollhouse.scenes.scale import ESTIMATED, ESTIMATED_WITH_FOCAL, KnownScale, Scale
from tests.models.conftest import tiny_pipeline
from tests.models.test_model import QUESTIONS, scene_of

needs_model = pytest.mark.skipif(not SHIPPED.is_dir(), reason="the shipped model is not in this tree")
MEASURED = Scale("metric", "camera height")


def test_all_lengths_are_multiplied(photos: list[np.ndarray]) -> None:
    session = tiny_pipeline().encode_scene(scene_of(photos))
    _ = session.depth  # must not be taken over
    larger = session.rescaled(1.25, Scale("relative", "test")).rescaled(2.0, MEASURED)
    assert (session.scale, larger.scale, larger.scale_factor) == (ESTIMATED, MEASURED, 2.5)
    np.testing.assert_allclose(larger.depth, 2.5 * session.depth, rtol=1e-5)
    np.testing.assert_allclose(larger.points, 2.5 * session.points, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(larger.level_from_camera[:, :3, :3], session.level_from_camera[:, :3, :3])
    np.testing.assert_array_equal(larger.focal, session.focal)
    assert session.boxes
    for box, scaled in zip(session.boxes, larger.boxes, strict=True):
        np.testing.assert_allclose(scaled.center, 2.5 * box.center, rtol=1e-5)
        np.testing.assert_allclose(scaled.size, 2.5 * box.size, rtol=1e-5)
        assert (scaled.label, scaled.yaw, scaled.score) == (box.label, box.yaw, box.score)
    assert larger.ask(QUESTIONS) == session.ask(QUESTIONS)


def test_lengths_in_answers_are_multiplied_and_have_a_scale(photos: list[np.ndarray]) -> None:
    session = tiny_pipeline().encode_scene(scene_of(photos))
    larger = session.rescaled(1.25, MEASURED)
    expected = {
        "1.5 m": "1.9 m",
        "1.5 m or 10 m away": "1.9 m or 12.5 m away",
        "3": "3",
        "2 men": "2 men",
        "yes": "yes",
    }
    for text, scaled in expected.items():
        answer = larger._answer_in_scale(Answer("?", text, 0.5))
        assert answer == Answer("?", scaled, 0.5, MEASURED if " m" in text and text != "2 men" else None)
        assert session._answer_in_scale(Answer("?", text, 0.5)).text == text


def test_a_known_focal_length_replaces_the_predicted_one_and_changes_depth(photos: list[np.ndarray]) -> None:
    pipeline = tiny_pipeline()
    session = pipeline.encode_scene(scene_of(photos))
    zoomed = pipeline.encode_scene(scene_of(photos), known=KnownScale(focal=1.4))
    np.testing.assert_allclose(zoomed.focal, 1.4, rtol=1e-6)
    assert zoomed.scale == ESTIMATED_WITH_FOCAL
    factor = (1.4 / session.focal) ** FOCAL_EXPONENT
    np.testing.assert_allclose(zoomed.depth, factor[:, None, None] * session.depth, rtol=1e-5)
    votes, zoomed_votes = (s.perception.votes.log_depth for s in (session, zoomed))
    expected = np.repeat(np.log(factor), votes.shape[1] // 2)
    np.testing.assert_allclose((zoomed_votes - votes)[0].numpy(), expected, rtol=1e-4)
    sizes = [box.size for box in pipeline.encode_scene(scene_of(photos), known=KnownScale(focal=1.4)).boxes]
    assert np.isfinite(sizes).all()
    same = pipeline.encode_scene(scene_of(photos), known=KnownScale(focal=float(session.focal[0])))
    np.testing.assert_allclose(same.depth[0], session.depth[0], rtol=1e-5)


def test_the_predicted_camera_height_becomes_the_known_one(
    photos: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = tiny_pipeline()
    monkeypatch.setattr(known_scale, "MIN_HEIGHT", 0.0)
    monkeypatch.setattr("dollhouse.inference.session.MIN_BOX_SCORE", 0.0)
    plain = pipeline.encode_scene(scene_of(photos))
    known = KnownScale(camera_height=1.5)
    session = pipeline.encode_scene(scene_of(photos), known=known)
    assert session.scale == MEASURED
    assert camera_height(session) == pytest.approx(1.5, rel=1e-5)
    assert session.scale_factor == pytest.approx(1.5 / camera_height(plain))

    box = session.boxes[0]
    length = max(box.size[:2])
    both = KnownScale(camera_height=1.5, length=f"{box.label}={1.05 * length:.6f}")
    with caplog.at_level(logging.WARNING):
        assert pipeline.encode_scene(scene_of(photos), known=both).scale == Scale("metric", "known length")
    assert not caplog.messages
    both = KnownScale(camera_height=1.5, length=f"{box.label}={2 * length:.6f}")
    with caplog.at_level(logging.WARNING):
        larger = pipeline.encode_scene(scene_of(photos), known=both)
    assert max(larger.boxes[0].size[:2]) == pytest.approx(2 * length, rel=1e-5)
    assert caplog.messages == [
        "the camera height gives lengths 0.50 times those that the known length gives; the latter is used"
    ]


def test_what_fixes_no_scale_is_refused(photos: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = tiny_pipeline()
    monkeypatch.setattr(SceneSession, "points", np.ones((2, 28, 28, 3)))
    with pytest.raises(SceneError, match="no floor is predicted below the first camera"):
        pipeline.encode_scene(scene_of(photos), known=KnownScale(camera_height=1.5))
    with pytest.raises(SceneError, match="no bathtub is predicted"):
        pipeline.encode_scene(scene_of(photos), known=KnownScale(length="bathtub=1.8"))
    with pytest.raises(ModelError, match="blind student: leave out"):
        tiny_pipeline(blind=True).encode_scene(scene_of(photos), known=KnownScale(focal=0.7))


@needs_model
def test_a_room_of_twice_the_size_has_answers_of_twice_the_length() -> None:
    """Photos do not show the size of a room; its camera height does."""
    from dollhouse.inference.pipeline import DollhousePipeline
    from dollhouse.scenes.open import open_scene

    pipeline, scene = DollhousePipeline.from_pretrained(), open_scene("rooms:test/3")
    pose, floor = scene.views[0].world_from_camera, min(box.bottom for box in scene.boxes or ())
    assert pose is not None
    height = float(pose[2, 3]) - floor
    question = "How far apart are the table and the sofa?"
    answers = {
        size: pipeline.encode_scene(scene, known=KnownScale(camera_height=size * height)).answer([question])[0]
        for size in (1, 2)
    }
    lengths = {size: float(answer.text.removesuffix(" m")) for size, answer in answers.items()}
    truth = {label: next(b.center for b in scene.boxes or () if b.label == label) for label in ("table", "sofa")}
    distance = float(np.linalg.norm(truth["table"] - truth["sofa"]))
    assert lengths[2] == pytest.approx(2 * lengths[1], abs=0.11)
    assert lengths[1] == pytest.approx(distance, rel=0.25)
    assert answers[2].scale == MEASURED
