"""Scenes whose poses disagree with their depth give no targets, records or scores, until they are corrected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dollhouse.data.config import DataConfig
from dollhouse.data.record_dataset import RecordTargetSource
from dollhouse.data.target_source import SceneTargetSource, targets_key
from dollhouse.errors import SceneError
from dollhouse.evaluation.evaluate import evaluate
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.scenes.corrections import Corrections
from dollhouse.teachers.annotate import annotate
from tests.evaluation.fake_models import Oracle, made_scene
from tests.scenes.fixture_captures import OPENGL, write_seven_scenes

OPENGL_AXES = Corrections(axes="opengl")
CONFIG = DollhouseConfig(image_size=112)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A folder with one scan whose poses have OpenGL axes."""
    write_seven_scenes(tmp_path / "scans/wrong")
    for pose in (tmp_path / "scans/wrong").glob("*.pose.txt"):
        np.savetxt(pose, np.loadtxt(pose, encoding="utf-8-sig") @ OPENGL)
    return tmp_path / "scans"


def test_training_refuses(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = DataConfig(scenes=str(scan), views=2)
    with pytest.raises(SceneError, match=r"scene wrong cannot give targets: .*mend it with --axes opengl"):
        SceneTargetSource(settings, CONFIG).targets(0)
    corrected = DataConfig.model_validate({**settings.model_dump(), "corrections": {"axes": "opengl"}})
    source = SceneTargetSource(corrected, CONFIG)
    assert source.targets(0).depth is not None
    monkeypatch.setattr("dollhouse.data.target_source.require_consistent", pytest.fail)  # checked once a scene
    source.targets(1)
    assert targets_key(corrected, CONFIG) != targets_key(settings, CONFIG)


def test_rooms_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dollhouse.scenes.pose_checks.check_poses", pytest.fail)
    SceneTargetSource(DataConfig(scenes="rooms:train/0-1"), CONFIG).targets(0)


def test_annotation_refuses(scan: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"question": "What is this?", "answer": "a room"}\n')
    run = annotate(f"file:{answers}", str(scan), tmp_path / "records", views=2)
    assert "mend it with --axes opengl" in run.failures[0].reason
    run = annotate(f"file:{answers}", str(scan), tmp_path / "records", views=2, corrections=OPENGL_AXES)
    assert run.written == 1
    data = DataConfig(scenes=str(scan), records=tmp_path / "records", views=2, corrections=OPENGL_AXES)
    assert RecordTargetSource(data, CONFIG).targets(0).depth is not None
    with pytest.raises(SceneError, match=r"data\.corrections"):
        RecordTargetSource(data.model_copy(update={"corrections": Corrections()}), CONFIG).targets(0)


def test_evaluation_refuses(scan: Path) -> None:
    with pytest.raises(SceneError, match="mend it with --axes opengl"):
        evaluate(Oracle([made_scene(0)]), str(scan), progress=False)
