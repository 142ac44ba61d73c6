"""VGGT as a teacher of encoders: features at the patches' places, depth, and a student's encoder that learns them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dollhouse.errors import TeacherError
from dollhouse.geometry import back_project, transform_points
from dollhouse.models.vggt.modeling import VggtModel
from dollhouse.questions.generate import generate_questions
from dollhouse.records.store import RecordStore
from dollhouse.teachers.annotate import annotate
from dollhouse.teachers.vggt import VggtSettings, VggtTeacher
from dollhouse.training.recipes import check_recipe
from dollhouse.training.train import distill
from tests.fixtures.recipes import STAGE, tiny_tree
from tests.models.vggt.tiny_vggt import tiny_config
from tests.teachers.test_geometry import small_scene


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vggt")
    torch.manual_seed(0)
    VggtModel(tiny_config(heads=("camera", "depth"))).eval().save_pretrained(folder)
    return folder


def test_features_lie_where_the_patches_are(weights: Path) -> None:
    teacher, scene = VggtTeacher.from_pretrained(weights, VggtSettings(width=28)), small_scene(size=56)
    found = teacher.features(scene)
    width = teacher.vggt.model.config.hidden_size
    assert found.features.shape == (len(found.points), 2 * width)
    predicted, depth = teacher.vggt._predict(scene)
    assert predicted.intrinsics is not None
    first = back_project(depth[0], predicted.intrinsics[0])[7::14, 7::14].reshape(-1, 3)
    expected = transform_points(np.asarray(scene.views[0].world_from_camera), first)
    np.testing.assert_allclose(found.points[: len(expected)], expected, atol=1e-4)
    with pytest.raises(TeacherError, match="--questions none"):
        teacher.answer(scene, generate_questions(scene)[:1])
    unposed = replace(scene, views=tuple(replace(view, world_from_camera=None) for view in scene.views))
    with pytest.raises(TeacherError, match="need poses in metres"):
        teacher.features(unposed)


def test_an_encoder_learns_features_then_depth(weights: Path, tmp_path: Path) -> None:
    args = {"width": "28"}
    annotate(f"vggt:{weights}", "rooms:train/0-1", tmp_path / "records", questions="none", views=2, teacher_args=args)
    record = next(iter(RecordStore(tmp_path / "records")))
    assert record.features is not None
    assert not record.answers
    sources = {"rooms": {"scenes": "rooms:train/0"}, "encoder": {"records": str(tmp_path / "records")}}
    stage = {**STAGE, "steps": 2, "train": ["encoder", "trunk", "depth_head"], "sources": {"encoder": 1}}
    stages = {
        "distill_features": {**stage, "losses": ["spatial"]},
        "distill_outputs": {**stage, "losses": ["spatial", "depth_reg"]},
    }
    tree = tiny_tree(stages=stages)
    tree["data"] = {**tree["data"], "scenes": "", "sources": sources, "questions_per_scene": 0}
    distill(check_recipe(tree, "test"), tmp_path / "run", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert ["depth_reg" in line for line in lines] == [False, True]
    assert all(line["spatial"] > 0 and line["grad_norm"] > 0 for line in lines)
