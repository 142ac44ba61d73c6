"""The functions of ``examples/`` with real weights, and the cameras of the shipped student."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dollhouse.geometry import invert_rigid
from dollhouse.scenes.open import open_scene
from dollhouse.teachers.scene_boxes import open_cameras
from tests.scenes.conftest import SHARED_DATA
from tests.teachers.test_scene_boxes import SCENE, plain


@pytest.fixture
def weights() -> Path:
    if not (SHARED_DATA / "weights").is_dir():
        pytest.skip("the weights are not beside the repository")
    for package in ("onnxruntime", "ai_edge_litert", "cv2"):
        pytest.importorskip(package)
    return SHARED_DATA.resolve() / "weights"


def test_committee_finds_furniture_in_a_real_photo(weights: Path) -> None:
    from examples import committee

    view = open_scene(SHARED_DATA / "holo_office_a", frames=24).views[12]
    found = committee.detect(view.image, str(weights))
    assert {"chair", "table"} & set(found.labels)
    assert found.masks is not None
    assert found.masks.shape[1:] == view.image.shape[:2]
    depth = committee.depth(view.image, str(weights))
    assert view.depth is not None
    assert 0.5 < float(np.median(depth) / np.median(view.depth[view.depth > 0])) < 1.5


def test_matching_places_overlapping_photos(weights: Path) -> None:
    from examples import committee, matching

    scene = open_scene(SHARED_DATA / "holo_office_a")
    scene = replace(scene, views=scene.views[:3])
    depth = [committee.depth(view.image, str(weights)) for view in scene.views]
    cameras = matching.cameras(plain(scene), depth, str(weights / "xfeat.onnx"))
    assert cameras.metric
    assert cameras.points is not None
    assert min(map(len, cameras.points)) > 50
    true = np.stack([np.asarray(view.world_from_camera) for view in scene.views])
    for poses in (true, cameras.world_from_camera):
        assert np.shape(poses) == (3, 4, 4)
    wanted, found = (invert_rigid(poses[0]) @ poses[2] for poses in (true, cameras.world_from_camera))
    turn = np.arccos(np.clip((np.trace(wanted[:3, :3].T @ found[:3, :3]) - 1) / 2, -1, 1))
    assert np.degrees(turn) < 5
    cosine = wanted[:3, 3] @ found[:3, 3] / np.linalg.norm(wanted[:3, 3]) / np.linalg.norm(found[:3, 3])
    assert cosine > 0.9


def test_the_student_gives_depth_and_cameras() -> None:
    cameras = open_cameras("checkpoint", {})
    assert cameras is not None
    scene = plain(replace(SCENE, views=SCENE.views[:2]))
    estimate = cameras(scene, None)
    assert estimate.metric
    assert estimate.depth is not None
    assert len(estimate.depth) == len(estimate.world_from_camera) == 2
    np.testing.assert_allclose(estimate.intrinsics[:, :2, 2], 80)
    np.testing.assert_allclose(estimate.intrinsics[:, 0, 0], estimate.intrinsics[:, 1, 1])


def test_a_single_photo_gets_a_usual_camera() -> None:
    matching = pytest.importorskip("examples.matching", exc_type=ImportError)
    scene = plain(SCENE)
    cameras = matching.cameras(replace(scene, views=scene.views[:1]), [np.ones((3, 4))], "no weights are read")
    assert np.array_equal(cameras.world_from_camera, np.eye(4)[None])
    assert not cameras.metric
