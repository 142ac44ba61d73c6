"""Learning from records: they give the very lessons that the scene gives, and what only a teacher knows."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dollhouse.data.config import DataConfig, SamplingConfig
from dollhouse.data.dataset import StepDataset
from dollhouse.data.record_dataset import (
    RecordTargetSource,
    open_target_source,
    recorded_scene,
)
from dollhouse.data.target_source import SceneTargetSource
from dollhouse.data.targets import frame_scene, instances_by_depth, scene_targets
from dollhouse.data.teacher_patches import nearest_features, patch_points
from dollhouse.errors import RecipeError, SceneError, StorageError
from dollhouse.models.dollhouse.checkpoint import SHIPPED, load_student
from dollhouse.questions.sources import open_question_source
from dollhouse.records.scene_source import scene_sources
from dollhouse.records.store import RecordStore
from dollhouse.records.types import SpatialFeatures
from dollhouse.scenes.open import open_scenes
from dollhouse.scenes.synthetic.room_scene import room_scene
from dollhouse.teachers.annotate import annotate_scenes
from dollhouse.teachers.annotations import AnnotationsTeacher
from dollhouse.teachers.dollhouse import DollhouseTeacher
from dollhouse.teachers.geometry import SensorGeometry, TeacherGeometry
from dollhouse.teachers.protocol import Teacher
from dollhouse.training.config import check_recipe
from dollhouse.training.train import distill

ROOMS = "rooms:train/3-6"
KILLS = int(os.environ.get("DOLLHOUSE_KILLS", "2"))


def labelled(teacher: Teacher, out: Path, rooms: str = ROOMS) -> Path:
    scenes = open_scenes(rooms)
    asking = open_question_source("generated", scenes)
    annotate_scenes(
        teacher, scenes, out, questions=asking, geometry=[SensorGeometry()], sources=scene_sources(scenes, rooms)
    )
    return out


@pytest.fixture(scope="module")
def by_annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled(AnnotationsTeacher(), tmp_path_factory.mktemp("records") / "annotations")


@pytest.fixture(scope="module")
def by_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled(DollhouseTeacher.from_pretrained(None), tmp_path_factory.mktemp("records") / "checkpoint")


@pytest.fixture(scope="module")
def shipped() -> tuple[object, object]:
    model, processor, _ = load_student(None)
    return model.config, processor.tokenizer


def test_records_of_a_scenes_own_geometry_give_the_scenes_own_lessons(by_annotations: Path, shipped) -> None:
    config, _ = shipped
    plain = SceneTargetSource(DataConfig(scenes=ROOMS), config)
    recorded = open_target_source(DataConfig(records=by_annotations), config)
    assert len(recorded) == len(plain) == 4
    names = [plain.targets(number).name for number in range(4)]
    for number in range(4):
        told = recorded.targets(number)
        number_of = names.index(told.name)
        true = plain.targets(number_of)
        assert (told.images == true.images).all()
        assert (told.depth == true.depth).all()
        assert (told.instances == true.instances).all()
        for name, value in vars(true.objects).items():
            assert np.array_equal(getattr(told.objects, name), value, equal_nan=True), name
        asked = {one[0]: one[1] for one in plain.questions(number_of)}
        answers = {one[0]: one[1] for one in recorded.questions(number)}
        assert asked.items() & answers.items(), "some questions are asked of both"
        assert all(asked[text] == answer for text, answer in answers.items() if text in asked)


def test_scenes_choose_among_records(by_annotations: Path, shipped) -> None:
    config, _ = shipped
    assert len(open_target_source(DataConfig(records=by_annotations, scenes="rooms:train/4-5"), config)) == 2
    with pytest.raises(RecipeError, match=r"holds no records of rooms:train/90-91.*dollhouse annotate"):
        open_target_source(DataConfig(records=by_annotations, scenes="rooms:train/90-91"), config)
    with pytest.raises(StorageError, match="no records are there"):
        open_target_source(DataConfig(records=by_annotations / "nothing"), config)


def test_tokens_come_along_where_the_vocabulary_is_the_teachers(by_checkpoint: Path, shipped) -> None:
    config, tokenizer = shipped
    lessons = open_target_source(DataConfig(records=by_checkpoint, questions_per_scene=8), config)
    stage = SamplingConfig(steps=1, batch_size=2, questions_per_scene=8)
    assert lessons.shares_vocabulary(tokenizer)
    batch = StepDataset(lessons, stage, 0, tokenizer, config)[0]
    assert all(top is not None for top in batch.top_tokens)
    for labels, top in zip(batch.question_labels, batch.top_tokens, strict=True):
        said = labels[labels != -100]
        assert top.ids.shape[0] == len(said)
        assert (top.ids[:, 0] == said).all(), "the teacher answers greedily"
        assert (top.log_probs.exp().sum(1) <= 1.0001).all()
    others = type(tokenizer).from_pretrained(SHIPPED)
    others.add_tokens(["another"])
    assert not lessons.shares_vocabulary(others)
    assert all(top is None for top in StepDataset(lessons, stage, 0, others, config)[0].top_tokens)


def test_features_are_those_of_the_place_that_a_patch_shows(by_checkpoint: Path, shipped) -> None:
    config, _ = shipped
    lessons = open_target_source(DataConfig(records=by_checkpoint), config)
    assert isinstance(lessons, RecordTargetSource)
    targets = lessons.targets(0)
    places = patch_points(
        scene_targets(lessons.view_window(0), 126, config.labels, config.colours), lessons.view_window(0)
    )
    record = RecordStore(by_checkpoint).read(lessons.rows[0]["record"])
    assert places.shape == (4, 81, 3)
    for view, patch in ((0, 5), (2, 40), (3, 80)):
        distance = np.linalg.norm(record.features.points - places[view, patch], axis=1)
        assert targets.teacher.known[view, patch] == (distance.min() <= 0.25)
        if targets.teacher.known[view, patch]:
            expected = record.features.features[distance.argmin()]
            np.testing.assert_allclose(targets.teacher.features[view, patch], expected, rtol=1e-2, atol=1e-2)
    assert 0.5 < targets.teacher.known.mean() <= 1.0
    known, sight = targets.teacher.known, targets.teacher
    np.testing.assert_allclose(sight.labels.sum(-1), known, atol=1e-2)
    assert (sight.labels.argmax(-1)[known] == best_labels(targets, config)[known]).mean() > 0.8
    assert np.abs(sight.depth - targets.objects.patch_depth)[known].mean() < 0.3
    assert (sight.depth[~known] == 0).all()
    assert sight.relations is None, "the boxes of these records are the scene's own"


def best_labels(targets, config) -> np.ndarray:
    shown = targets.objects.patch_object
    return np.where(shown >= 0, targets.objects.label[shown.clip(0)], len(config.labels))


def test_relations_are_the_teachers_own_where_its_boxes_are(tmp_path: Path, shipped) -> None:
    config, _ = shipped
    teacher, scenes = DollhouseTeacher.from_pretrained(None), open_scenes("rooms:train/3-3")
    asking = open_question_source("generated", scenes)
    annotate_scenes(
        teacher, scenes, tmp_path, questions=asking, geometry=[TeacherGeometry(teacher)], sources=["rooms:train/3"]
    )
    targets = open_target_source(DataConfig(records=tmp_path), config).targets(0)
    assert len(targets.objects.label) > 1
    np.testing.assert_array_equal(targets.teacher.relations, targets.objects.relations)


def test_a_patch_far_from_all_that_is_known_has_no_features() -> None:
    points = np.array([[0.0, 0, 0], [1, 0, 0]])
    told = SpatialFeatures(np.array([[1.0, 2], [3, 4]], dtype=np.float32), points)
    places = np.array([[[0.9, 0, 0], [0, 0.1, 0], [5, 0, 0], [np.nan] * 3]])
    sight = nearest_features(told, places)
    assert sight.known.tolist() == [[True, True, False, False]]
    assert sight.features[0, :2].tolist() == [[3, 4], [1, 2]]
    assert sight.labels is None
    assert sight.depth is None


def test_depth_hints_are_where_the_teacher_puts_a_place_and_labels_come_in_the_students_order() -> None:
    points = np.array([[0.0, 0, 2.1], [1, 0, 3]])
    chances = np.array([[0.6, 0.3, 0.1, 0.0], [0.0, 0.2, 0.2, 0.6]], dtype=np.float32)
    told = SpatialFeatures(np.ones((2, 1), dtype=np.float32), points, chances, ("bed", "vase", "chair"))
    camera = np.eye(4)
    camera[2, 3] = 0.5
    places = np.array([[[0.0, 0, 2], [1, 0.1, 3], [1, 0, -2]]])
    sight = nearest_features(told, places, camera[None], ["chair", "bed"])
    np.testing.assert_allclose(sight.depth, [[1.6, 2.5, 0.0]], atol=1e-6)
    np.testing.assert_allclose(sight.labels, [[[0.1, 0.6, 0.3], [0.2, 0.0, 0.8], [0, 0, 0]]], atol=1e-6)
    assert nearest_features(told, places, camera[None], ["chair", "sofa"]).labels is None, "it cannot name a sofa"


def test_pixels_are_told_by_depth_where_nobody_drew_them() -> None:
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


def test_what_a_record_lacks_is_absent(by_annotations: Path) -> None:
    record = next(iter(RecordStore(by_annotations)))
    scene = open_scenes(record.source)[0]
    bare = recorded_scene(replace(record, geometry=None), scene)
    targets = scene_targets(bare, 126, ["chair"], [])
    assert targets.depth is None
    assert targets.objects is None
    assert targets.teacher is None


def test_a_scene_that_changed_is_refused(by_annotations: Path, shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    config, _ = shipped
    lessons = open_target_source(DataConfig(records=by_annotations), config)
    row = dict(lessons.rows[0])
    record = RecordStore(by_annotations).read(row["record"])
    monkeypatch.setattr(lessons, "_read", lambda id: replace(record, scene_hash="0" * 64))
    with pytest.raises(SceneError, match="has changed since record"):
        lessons.targets(0)
    camera = replace(record.cameras[0], name="elsewhere")
    monkeypatch.setattr(lessons, "_read", lambda id: replace(record, cameras=(camera, *record.cameras[1:])))
    with pytest.raises(SceneError, match="no longer has view elsewhere"):
        lessons.targets(0)


def recipe_from(records: Path, cache: Path | None = None) -> dict[str, object]:
    stage = {"batch_size": 2, "save_every": 2, "log_every": 2}
    return {
        "name": "recorded",
        "precision": "float32",
        "threads": 1,
        "init_from": "nano",
        "data": {
            "records": str(records),
            "questions_per_scene": 6,
            "workers": 0,
            "cache": None if cache is None else str(cache),
        },
        "stages": {
            "pretrain_perception": {
                **stage,
                "steps": 4,
                "losses": ["voting", "detection"],
                "train": ["voting_head", "proposal_head"],
            },
            "finetune_end_to_end": {**stage, "steps": 6, "losses": ["text"], "train": ["projector", "language_model"]},
        },
    }


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def undisturbed(by_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    distill(check_recipe(recipe_from(by_checkpoint), "test"), out, progress=False)
    return out


@pytest.mark.slow
def test_kept_sight_changes_nothing(undisturbed: Path, by_checkpoint: Path, tmp_path: Path) -> None:
    for name in ("first", "again"):
        distill(check_recipe(recipe_from(by_checkpoint, tmp_path / "cache"), "test"), tmp_path / name, progress=False)
        expected, got = weights(undisturbed), weights(tmp_path / name)
        assert all(torch.equal(expected[key], got[key]) for key in expected), name
    kept = list((tmp_path / "cache").rglob("seen-*/*/*.safetensors"))
    assert len(kept) == 4


@pytest.mark.slow
def test_killed_at_random_it_ends_with_the_same_weights(undisturbed: Path, by_checkpoint: Path, tmp_path: Path) -> None:
    """``DOLLHOUSE_KILLS=20`` kills twenty times; a run that was faster than its killer begins anew."""
    code = (
        "import sys, json; from pathlib import Path; from dollhouse.training.config import check_recipe;"
        "from dollhouse.training.train import distill;"
        "distill(check_recipe(json.loads(sys.argv[1]), 'test'), Path(sys.argv[2]), progress=False)"
    )
    import json

    recipe = json.dumps(recipe_from(by_checkpoint, tmp_path / "cache"))
    draw, kills, round_ = random.Random(5), 0, 0
    while True:
        out = tmp_path / f"run-{round_}"
        run = subprocess.Popen([sys.executable, "-c", code, recipe, str(out)], stdout=subprocess.DEVNULL)
        if kills >= KILLS:
            assert run.wait(timeout=180) == 0
            break
        while run.poll() is None and not (out / "recipe.json").exists():
            time.sleep(0.01)  # until it is at work: whoever is killed before that proves nothing
        time.sleep(draw.uniform(0, 6))
        run.kill()
        if run.wait() == 0:
            round_ += 1
        else:
            kills += 1
    expected, got = weights(undisturbed), weights(out)
    assert all(torch.equal(expected[key], got[key]) for key in expected)
