"""Geometry teachers: tiny random pipelines, lifting in rooms with known boxes, and VGGT."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dollhouse.errors import ModelError, SceneError
from dollhouse.records.types import SceneGeometry
from dollhouse.teachers.geometry import SensorGeometry
from dollhouse.teachers.vision_pipelines import (
    DepthEstimationTeacher,
    DepthSettings,
    DetectionSettings,
    ObjectDetectionTeacher,
)
from tests.records.small_scenes import small_scene
from tests.teachers.tiny_models import write_depth_anything, write_yolos


def test_sensor_returns_depth_alone() -> None:
    scene = small_scene()
    geometry = SensorGeometry(boxes=False).geometry(scene, SceneGeometry())
    assert geometry is not None
    assert geometry.depth is not None
    np.testing.assert_array_equal(geometry.depth[0], scene.views[0].depth)
    assert geometry.boxes is None
    assert geometry.instances is None
    plain = replace(scene, boxes=None, views=tuple(replace(view, open_depth=None) for view in scene.views))
    assert SensorGeometry().geometry(plain, SceneGeometry()) is None


def test_depth_that_is_not_finite_is_unknown() -> None:
    scene = small_scene()
    broken = np.array([[1.0, np.nan], [np.inf, 2.0]], dtype=np.float32)
    scene = replace(scene, views=(replace(scene.views[0], open_depth=lambda: broken),))
    geometry = SensorGeometry().geometry(scene, SceneGeometry())
    assert geometry is not None
    assert geometry.depth is not None
    assert geometry.depth[0].tolist() == [[1, 0], [0, 2]]


def test_a_metric_depth_model(tmp_path: Path) -> None:
    write_depth_anything(tmp_path)
    teacher = DepthEstimationTeacher(tmp_path)
    scene = small_scene(size=40)
    geometry = teacher.geometry(scene, SceneGeometry())
    assert geometry.metric
    assert geometry.depth is not None
    assert [depth.shape for depth in geometry.depth] == [(40, 40), (40, 40)]
    assert all(0 <= depth.min() < depth.max() <= 10 for depth in geometry.depth)
    assert teacher.provenance()["settings"] == {"tells": "metric"}
    again = DepthEstimationTeacher(tmp_path).geometry(scene, SceneGeometry())
    np.testing.assert_array_equal(geometry.depth, again.depth)


def test_inverse_depth_is_inverted(tmp_path: Path) -> None:
    write_depth_anything(tmp_path, "relative")
    scene = small_scene()
    geometry = DepthEstimationTeacher(tmp_path).geometry(scene, SceneGeometry())
    inverse = DepthEstimationTeacher(tmp_path, DepthSettings(output="metric")).geometry(scene, SceneGeometry())
    assert not geometry.metric
    assert geometry.depth is not None
    assert inverse.depth is not None
    depth, near = np.stack(geometry.depth), np.stack(inverse.depth)
    known = near > 0
    assert known.mean() > 0.5
    assert np.median(depth[known]) == pytest.approx(1, rel=1e-5)
    product = (depth * near)[known]
    np.testing.assert_allclose(product, product[0], rtol=1e-4)
    assert not depth[~known].any()


def test_folder_without_a_depth_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="hf download"):
        DepthEstimationTeacher(tmp_path)
    write_yolos(tmp_path)
    with pytest.raises(ModelError, match="no depth-estimation model"):
        DepthEstimationTeacher(tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    write_depth_anything(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    name = sorted(weights)[0]
    weights[name].view(-1)[0] = float("inf")
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="values that are not finite") as caught:
        DepthEstimationTeacher(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert name in str(caught.value)


def test_detections_are_lifted_by_earlier_depth(tmp_path: Path) -> None:
    write_yolos(tmp_path)
    scene = small_scene(size=64)
    teacher = ObjectDetectionTeacher(tmp_path, DetectionSettings(threshold=0.01))
    near = SceneGeometry(depth=(np.full((64, 64), 1, dtype=np.float32),) * 2)
    far = SceneGeometry(depth=(np.full((64, 64), 2, dtype=np.float32),) * 2)
    boxes, further = teacher.geometry(scene, near).boxes, teacher.geometry(scene, far).boxes
    assert boxes
    assert further
    assert {box.label for box in boxes} <= {"chair", "table"}
    eye = np.asarray(scene.views[0].world_from_camera)[:3, 3]
    assert np.linalg.norm(further[0].center - eye) > 1.5 * np.linalg.norm(boxes[0].center - eye)


def test_vggt_depth(tmp_path: Path) -> None:
    from dollhouse.models.vggt.modeling import VggtModel
    from dollhouse.teachers.vggt import VggtDepthTeacher, VggtSettings
    from tests.models.vggt.tiny_vggt import tiny_config

    torch.manual_seed(0)
    VggtModel(tiny_config(heads=("camera", "depth"))).eval().save_pretrained(tmp_path)
    teacher = VggtDepthTeacher.from_pretrained(tmp_path, VggtSettings(width=28))
    scene = small_scene(size=56)
    geometry = teacher.geometry(scene, SceneGeometry())
    assert geometry.metric
    assert geometry.depth is not None
    assert [depth.shape for depth in geometry.depth] == [(28, 28), (28, 28)]
    ratio = []
    for depth, view in zip(geometry.depth, scene.views, strict=True):
        measured = view.depth
        assert measured is not None
        ratio.append((measured[1::2, 1::2] / depth).ravel())
    assert np.median(np.concatenate(ratio)) == pytest.approx(1, abs=0.1)
    plain = replace(scene, views=tuple(replace(view, open_depth=None, world_from_camera=None) for view in scene.views))
    assert not teacher.geometry(plain, SceneGeometry()).metric
    with pytest.raises(ModelError, match="camera and depth heads"):
        VggtDepthTeacher(VggtModel(tiny_config(heads=("camera",))), "made", "0")
    with pytest.raises(ModelError):
        VggtDepthTeacher.from_pretrained(tmp_path / "nowhere")
    other = replace(scene.views[1], open_image=lambda: np.zeros((28, 56, 3), dtype=np.uint8))
    mixed = replace(scene, views=(scene.views[0], other))
    with pytest.raises(SceneError):
        teacher.geometry(mixed, SceneGeometry())
