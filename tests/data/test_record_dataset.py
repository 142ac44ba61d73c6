"""Targets from records: those of the scene itself, and those of the teacher."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dollhouse.data.config import DataConfig, SamplingConfig
from dollhouse.data.dataset import StepDataset
from dollhouse.data.record_dataset import (
    RecordTargetSource,
    open_target_source,
    recorded_scene,
)
from dollhouse.data.target_source import SceneTargetSource
from dollhouse.data.targets import frame_scene, instances_by_depth, scene_targets
from dollhouse.data.teacher_patches import nearest_features, patch_points, student_label_probs
from dollhouse.errors import RecipeError, SceneError, StorageError
from dollhouse.models.dollhouse.serialization import SHIPPED, load_student
from dollhouse.questions.sources import open_question_source
from dollhouse.records.store import RecordStore
from dollhouse.records.types import SpatialFeatures
from dollhouse.scenes.open import open_scenes
from dollhouse.scenes.synthetic.room_scene import room_scene
from dollhouse.teachers.annotate import annotate_scenes
from dollhouse.teachers.annotations import AnnotationsTeacher
from dollhouse.teachers.dollhouse import DollhouseTeacher, DollhouseTeacherSettings
from dollhouse.teachers.geometry import TeacherGeometry
from tests.fixtures.records import ROOMS, annotate_rooms


@pytest.fixture(scope="module")
def annotation_records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return annotate_rooms(AnnotationsTeacher(), tmp_path_factory.mktemp("records") / "annotations")


@pytest.fixture(scope="module")
def student_records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    teacher = DollhouseTeacher.from_pretrained(None)
    return annotate_rooms(teacher, tmp_path_factory.mktemp("records") / "checkpoint", limit=8)


@pytest.fixture(scope="module")
def shipped() -> tuple[object, object]:
    model, processor, _ = load_student(None)
    return model.config, processor.tokenizer


def test_records_with_scene_geometry_give_the_scene_targets(annotation_records: Path, shipped) -> None:
    config, _ = shipped
    plain = SceneTargetSource(DataConfig(scenes=ROOMS), config)
    recorded = open_target_source(DataConfig(records=annotation_records), config)
    assert len(recorded) == len(plain) == 4
    names = [plain.targets(number).name for number in range(4)]
    for number in range(4):
        targets = recorded.targets(number)
        number_of = names.index(targets.name)
        true = plain.targets(number_of)
        assert (targets.images == true.images).all()
        assert (targets.depth == true.depth).all()
        assert (targets.instances == true.instances).all()
        for name, value in vars(true.objects).items():
            assert np.array_equal(getattr(targets.objects, name), value, equal_nan=True), name
        true_answers = {text: answer for text, answer, _ in plain.questions(number_of)}
        answers = {text: answer for text, answer, _ in recorded.questions(number)}
        assert true_answers.items() & answers.items(), "some questions are in both"
        assert all(true_answers[text] == answer for text, answer in answers.items() if text in true_answers)


def test_scenes_select_records(annotation_records: Path, shipped) -> None:
    config, _ = shipped
    assert len(open_target_source(DataConfig(records=annotation_records, scenes="rooms:train/4-5"), config)) == 2
    with pytest.raises(RecipeError, match=r"holds no records of rooms:train/90-91.*dollhouse annotate"):
        open_target_source(DataConfig(records=annotation_records, scenes="rooms:train/90-91"), config)
    with pytest.raises(StorageError, match="no records are there"):
        open_target_source(DataConfig(records=annotation_records / "nothing"), config)


def test_top_tokens_need_the_vocabulary_of_the_teacher(student_records: Path, shipped) -> None:
    config, tokenizer = shipped
    source = open_target_source(DataConfig(records=student_records, questions_per_scene=8), config)
    stage = SamplingConfig(steps=1, batch_size=2, questions_per_scene=8)
    assert source.token_forms(tokenizer) == "4 records: one vocabulary"
    batch = StepDataset(source, stage, 0, tokenizer, config)[0]
    assert all(top is not None for top in batch.top_tokens)
    for labels, top in zip(batch.question_labels, batch.top_tokens, strict=True):
        answers = labels[labels != -100]
        assert top.ids.shape[0] == len(answers)
        assert (top.ids[:, 0] == answers).all(), "the teacher answers greedily"
        assert (top.log_probs.exp().sum(1) <= 1.0001).all()
    others = type(tokenizer).from_pretrained(SHIPPED)
    others.add_tokens(["another"])  # an added token is no other vocabulary
    assert source.token_forms(others) == "4 records: one vocabulary"


def test_patches_have_the_nearest_features(student_records: Path, shipped) -> None:
    config, _ = shipped
    source = open_target_source(DataConfig(records=student_records), config)
    assert isinstance(source, RecordTargetSource)
    targets = source.targets(0)
    size, window = config.vision_config.image_size, source.view_window(0)
    places = patch_points(scene_targets(window, size, config.labels, config.colours), window)
    record = RecordStore(student_records).read(source.rows[0].id)
    assert places.shape == (4, (size // 14) ** 2, 3)
    for view, patch in ((0, 5), (2, 40), (3, 80), (1, 200)):
        distance = np.linalg.norm(record.features.points - places[view, patch], axis=1)
        assert targets.teacher.known[view, patch] == (distance.min() <= 0.25)
        if targets.teacher.known[view, patch]:
            expected = record.features.features[distance.argmin()]
            np.testing.assert_allclose(targets.teacher.features[view, patch], expected, rtol=1e-2, atol=1e-2)
    assert 0.2 < targets.teacher.known.mean() <= 1.0
    known, teacher = targets.teacher.known, targets.teacher
    np.testing.assert_allclose(teacher.labels.sum(-1), known, atol=1e-2)
    assert (teacher.labels.argmax(-1)[known] == true_labels(targets, config)[known]).mean() > 0.5
    assert np.abs(teacher.depth - targets.objects.patch_depth)[known].mean() < 0.6
    assert (teacher.depth[~known] == 0).all()
    assert teacher.relations is None, "the boxes of these records are the scene's own"


def true_labels(targets, config) -> np.ndarray:
    shown = targets.objects.patch_object
    return np.where(shown >= 0, targets.objects.label[shown.clip(0)], len(config.labels))


def test_teacher_relations_come_with_its_own_boxes(tmp_path: Path, shipped) -> None:
    config, _ = shipped
    teacher = DollhouseTeacher.from_pretrained(None, DollhouseTeacherSettings(min_box_score=0.1))
    scenes = open_scenes("rooms:train/3-3")
    questions = open_question_source("generated", scenes, 4)
    annotate_scenes(
        teacher, scenes, tmp_path, questions=questions, geometry=[TeacherGeometry(teacher)], sources=["rooms:train/3"]
    )
    targets = open_target_source(DataConfig(records=tmp_path), config).targets(0)
    assert len(targets.objects.label) > 1
    np.testing.assert_array_equal(targets.teacher.relations, targets.objects.relations)


def test_patches_far_from_all_points_have_no_features() -> None:
    points = np.array([[0.0, 0, 0], [1, 0, 0]])
    features = SpatialFeatures(np.array([[1.0, 2], [3, 4]], dtype=np.float32), points)
    places = np.array([[[0.9, 0, 0], [0, 0.1, 0], [5, 0, 0], [np.nan] * 3]])
    teacher = nearest_features(features, places)
    assert teacher.known.tolist() == [[True, True, False, False]]
    assert teacher.features[0, :2].tolist() == [[3, 4], [1, 2]]
    assert teacher.labels is None
    assert teacher.depth is None


def test_teacher_depth_and_labels_are_those_of_the_student() -> None:
    points = np.array([[0.0, 0, 2.1], [1, 0, 3]])
    probabilities = np.array([[0.6, 0.3, 0.1, 0.0], [0.0, 0.2, 0.2, 0.6]], dtype=np.float32)
    features = SpatialFeatures(np.ones((2, 1), dtype=np.float32), points, probabilities, ("bed", "vase", "chair"))
    camera = np.eye(4)
    camera[2, 3] = 0.5
    places = np.array([[[0.0, 0, 2], [1, 0.1, 3], [1, 0, -2]]])
    teacher = nearest_features(features, places, camera[None], ["chair", "bed"])
    np.testing.assert_allclose(teacher.depth, [[1.6, 2.5, 0.0]], atol=1e-6)
    np.testing.assert_allclose(teacher.labels, [[[0.1, 0.6, 0.0], [0.2, 0.0, 0.6], [0, 0, 0]]], atol=1e-6)
    assert nearest_features(features, places, camera[None], ["chair", "sofa"]).labels is None, "no label sofa"


def test_teacher_labels_map_to_the_student_and_foreign_ones_are_no_background() -> None:
    names = ("couch", "office chair", "chair", "whiteboard", "wall")
    rows = [[0.5, 0.1, 0.1, 0.2, 0.1, 0.0], [0.1, 0.0, 0.0, 0.6, 0.1, 0.2], [0.0, 0.0, 0.2, 0.0, 0.5, 0.3]]
    features = SpatialFeatures(np.ones((3, 1), np.float32), np.zeros((3, 3)), np.array(rows, np.float32), names)
    expected = [[0.2, 0.5, 0.1], [0.0, 0.0, 0.0], [0.2, 0.0, 0.8]]
    np.testing.assert_allclose(
        student_label_probs(features.label_probs, features.labels, ["chair", "sofa"]), expected, atol=1e-6
    )


def test_instances_by_depth_match_rendered_instances() -> None:
    scene = room_scene("train", 4)
    frames = frame_scene(scene, 126)
    agree = shown = 0
    for frame, view in zip(frames, scene.views, strict=True):
        found = instances_by_depth(frame, view.world_from_camera, scene.boxes)
        shown += (frame.instances > 0).sum()
        agree += ((found == frame.instances) & (frame.instances > 0)).sum()
    assert agree / shown > 0.9
    bare = replace(scene, views=tuple(replace(view, open_instances=None) for view in scene.views))
    objects = scene_targets(bare, 126, [box.label for box in scene.boxes], []).objects
    assert objects is not None
    assert len(objects.label) >= 0.7 * len(scene_targets(scene, 126, [b.label for b in scene.boxes], []).objects.label)


def test_record_without_geometry_gives_no_targets(annotation_records: Path) -> None:
    record = next(iter(RecordStore(annotation_records)))
    scene = open_scenes(record.source)[0]
    bare = recorded_scene(replace(record, geometry=None), scene)
    targets = scene_targets(bare, 126, ["chair"], [])
    assert targets.depth is None
    assert targets.objects is None
    assert targets.teacher is None


def test_changed_scenes_are_refused(annotation_records: Path, shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    config, _ = shipped
    source = open_target_source(DataConfig(records=annotation_records), config)
    record = RecordStore(annotation_records).read(source.rows[0].id)
    monkeypatch.setattr(source, "_read", lambda id: replace(record, scene_hash="0" * 64))
    with pytest.raises(SceneError, match="has changed since record"):
        source.targets(0)
    camera = replace(record.cameras[0], name="elsewhere")
    monkeypatch.setattr(source, "_read", lambda id: replace(record, cameras=(camera, *record.cameras[1:])))
    with pytest.raises(SceneError, match="no longer has view elsewhere"):
        source.targets(0)
