"""Photos to annotated scenes: sources of depth and cameras, detectors by name, and the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dollhouse.cli import app
from dollhouse.errors import TeacherError
from dollhouse.evaluation.metrics.boxes import box_iou
from dollhouse.geometry import Array, invert_rigid, look_at
from dollhouse.questions.answer_balance import AnswerBalance
from dollhouse.questions.generate import generate_questions
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.readers.saved import save_scene
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.detection import Detections, function_provenance
from dollhouse.teachers.reconstruction import Cameras, reconstruct
from dollhouse.teachers.scene_boxes import annotate_boxes, annotate_scene, open_cameras, open_depth, open_detector
from tests.teachers.box_world import OBJECTS, box_scene
from tests.teachers.tiny_models import write_depth_anything, write_owlvit, write_segmenter, write_yolos

SCENE = box_scene()


def detect(image: np.ndarray, least: str = "60") -> Detections:
    """Find the objects of ``box_world`` by the number of the box in the photo's green channel."""
    masks = [image[..., 1] == 20 * box.id for box in OBJECTS]
    shown = [index for index, mask in enumerate(masks) if mask.sum() >= int(least)]
    return Detections(
        [OBJECTS[index].label for index in shown],
        [0.8] * len(shown),
        masks=np.array([masks[index] for index in shown]).reshape(-1, *image.shape[:2]),
    )


def measure(image: np.ndarray) -> Array:
    """Return the exact depth of a photo of ``box_world``, at half its size."""
    depth = SCENE.views[int(image[0, 0, 0])].depth
    assert depth is not None
    return depth[::2, ::2]


class Somewhere:
    """Exact cameras in a frame that is turned every way, at another scale."""

    def __init__(self, scale: float, depth: bool, metric: bool = False) -> None:
        self.scale, self.depth, self.metric = scale, depth, metric
        self.other_from_world = invert_rigid(look_at(np.array([3.0, 1.0, 2.0]), np.array([0.0, 0.5, -2.0])))

    def provenance(self) -> dict[str, str]:
        return {"teacher": "exact"}

    def __call__(self, scene: Scene, depth: object) -> Cameras:
        poses = self.other_from_world @ np.stack([np.asarray(view.world_from_camera) for view in SCENE.views])
        poses[:, :3, 3] *= self.scale
        maps = [np.asarray(view.depth) * self.scale for view in SCENE.views] if self.depth else None
        return Cameras(poses, np.stack([np.asarray(view.intrinsics) for view in SCENE.views]), maps, self.metric)


def plain(scene: Scene) -> Scene:
    """Return the scene's photos alone."""
    views = tuple(
        replace(view, intrinsics=None, world_from_camera=None, open_depth=None, open_instances=None)
        for view in scene.views
    )
    return replace(scene, views=views, boxes=None)


def aligned_ious(scene: Scene) -> Array:
    """Compare with the true boxes in the first camera's frame, upright in both."""
    assert scene.boxes is not None
    truth = np.asarray(SCENE.views[0].world_from_camera)
    world_from_scene = truth @ invert_rigid(np.asarray(scene.views[0].world_from_camera))
    np.testing.assert_allclose(world_from_scene[2, :3], [0, 0, 1], atol=0.02)
    np.testing.assert_allclose(world_from_scene[2, 3], 0, atol=0.05)
    turn = float(np.arctan2(world_from_scene[1, 0], world_from_scene[0, 0]))
    cos, sin = np.cos(turn), np.sin(turn)
    upright = np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    upright[:2, 3] = world_from_scene[:2, 3]
    return box_iou(OBJECTS, [box.transformed(upright) for box in scene.boxes]).max(1)


def test_sensor_depth_and_poses() -> None:
    annotated = annotate_scene(replace(SCENE, boxes=None), detect)
    assert aligned_ious(annotated).min() > 0.85
    assert annotated.metadata["boxes"]["detector"] == {"function": "tests.teachers.test_scene_boxes:detect"}
    assert annotated.metadata["boxes"]["depth"] == annotated.metadata["boxes"]["cameras"] == "scene"
    np.testing.assert_array_equal(annotated.views[0].world_from_camera, SCENE.views[0].world_from_camera)


def test_photos_with_depth_and_cameras_of_unknown_scale_and_gravity() -> None:
    annotated = annotate_scene(plain(SCENE), detect, measure, Somewhere(0.3, depth=True))
    assert annotated.metric
    assert len(annotated.boxes or ()) == len(OBJECTS)
    assert aligned_ious(annotated).min() > 0.8
    assert "plane" in annotated.metadata["levelled"]["floor"]
    assert generate_questions(annotated, balance=AnswerBalance.measure([annotated]))


def test_scale_is_fixed_by_agreement_of_depth_between_views() -> None:
    annotated = annotate_scene(plain(SCENE), detect, measure, Somewhere(0.3, depth=False))
    assert aligned_ious(annotated).min() > 0.6
    posed = replace(SCENE, boxes=None, metric=False)
    shrunk = [np.array(view.world_from_camera) for view in SCENE.views]
    for pose in shrunk:
        pose[:3, 3] *= 0.2
    views = [replace(view, world_from_camera=pose) for view, pose in zip(posed.views, shrunk, strict=True)]
    rescaled = reconstruct(replace(posed, views=tuple(views)), measure)
    assert rescaled.metric
    centre = np.asarray(rescaled.views[4].world_from_camera)[:3, 3]
    np.testing.assert_allclose(centre, np.asarray(SCENE.views[4].world_from_camera)[:3, 3], rtol=0.02, atol=0.02)


def test_cameras_with_depth_of_their_own_scale_stay_relative() -> None:
    annotated = annotate_scene(plain(SCENE), detect, None, Somewhere(7.0, depth=True))
    assert not annotated.metric
    assert len(annotated.boxes or ()) == len(OBJECTS)


def test_one_photo_is_levelled_by_its_floor() -> None:
    view = SCENE.views[0]
    single = replace(SCENE, views=(replace(view, world_from_camera=None),), boxes=None)
    annotated = annotate_scene(single, detect, measure)
    pose = np.asarray(annotated.views[0].world_from_camera)
    assert pose[2, 3] == pytest.approx(1.8, abs=0.03)  # above the floor
    np.testing.assert_allclose(pose[2, :3], np.asarray(view.world_from_camera)[2, :3], atol=0.02)


def test_missing_sources_are_named() -> None:
    with pytest.raises(TeacherError, match="source of cameras"):
        annotate_scene(plain(SCENE), detect, measure)
    with pytest.raises(TeacherError, match="source of depth"):
        annotate_scene(plain(SCENE), detect, None, Somewhere(1.0, depth=False))
    with pytest.raises(TeacherError, match="no depth"):
        annotate_scene(plain(SCENE), detect, lambda image: np.zeros((4, 4)), Somewhere(1.0, depth=False))
    dark = replace(SCENE.views[0], open_depth=lambda: np.zeros((4, 4), dtype=np.float32))
    with pytest.raises(TeacherError, match="source of depth"):
        annotate_scene(replace(SCENE, views=(dark,)), detect)
    two = replace(SCENE, views=SCENE.views[:2])
    with pytest.raises(TeacherError, match=r"shape \(8, 4, 4\) for 2 photos"):
        annotate_scene(two, detect, None, Somewhere(1.0, depth=True))


def test_a_view_without_depth_does_not_change_the_scale() -> None:
    dark = replace(SCENE.views[0], open_depth=lambda: np.zeros((160, 160), dtype=np.float32))
    scene = reconstruct(replace(SCENE, views=(dark, *SCENE.views[1:])), None, Somewhere(0.3, depth=True))
    between = [
        np.linalg.norm(np.subtract(*(view.world_from_camera[:3, 3] for view in s.views[:2]))) for s in (SCENE, scene)
    ]
    assert between[1] == pytest.approx(between[0], rel=1e-4)


def test_sources_by_name(tmp_path: Path) -> None:
    write_yolos(tmp_path / "yolos")
    write_depth_anything(tmp_path / "depth")
    detector = open_detector(f"detect:{tmp_path / 'yolos'}", {"threshold": "0.01"})
    found = detector(np.zeros((64, 80, 3), dtype=np.uint8))
    assert len(found) > 0
    assert set(found.labels) <= {"Chair", "table"}
    depth = open_depth(f"depth:{tmp_path / 'depth'}", {})
    assert depth is not None
    assert depth(np.zeros((40, 60, 3), dtype=np.uint8)).shape == (40, 60)
    assert open_depth("scene", {}) is None
    assert open_cameras("scene", {}) is None
    name = "tests.teachers.test_scene_boxes:detect"
    bound = open_detector(name, {"least": "9"})
    assert function_provenance(bound) == {"function": name, "settings": {"least": "9"}}


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("detect:", {}, "no detector 'detect:'; there are detect:FOLDER"),
        ("nothing", {}, "no detector 'nothing'"),
        ("/tmp/detector.py:detect", {}, "no detector"),
        ("tests.nowhere:detect", {}, r"No module named 'tests.nowhere'.*on PYTHONPATH"),
        ("needs_a_package:detect", {}, "No module named 'absent_package'.*install the package of absent_"),
        ("tests.teachers.box_world:nothing", {}, "the module tests.teachers.box_world has no function nothing"),
        ("tests.teachers.box_world:OBJECTS", {}, "has no function OBJECTS"),
        (
            "tests.teachers.test_scene_boxes:detect",
            {"most": "9"},
            "unexpected keyword argument 'most'; settings given",
        ),
        ("tests.teachers.test_scene_boxes:plain", {"scene": "9"}, "multiple values for argument 'scene'"),
    ],
)
def test_a_wrong_detector_is_a_one_line_error(
    name: str, settings: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_a_package.py").write_text("import absent_package")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TeacherError, match=message) as caught:
        open_detector(name, settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("semantic", [True, False])
def test_segmentation_models(tmp_path: Path, semantic: bool) -> None:
    write_segmenter(tmp_path, semantic)
    detector = open_detector(f"segment:{tmp_path}", {"threshold": "0.1"})
    found = detector(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))
    assert found.semantic is semantic
    assert found.masks is not None
    assert found.masks.shape[1:] == (60, 80) or not len(found)
    assert set(found.labels) <= {"chair", "wall", "table"}


def test_zero_shot_model_finds_the_labels_given(tmp_path: Path) -> None:
    write_owlvit(tmp_path)
    detector = open_detector(f"zero-shot:{tmp_path}", {"threshold": "0.0001", "labels": "chair, round table"})
    found = detector(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))
    assert len(found) > 0
    assert set(found.labels) <= {"chair", "round table"}
    assert function_provenance(detector)["settings"]["labels"] == ["chair", "round table"]


def test_vggt_gives_depth_and_cameras(tmp_path: Path) -> None:
    """Random weights: the path runs end to end, and what it writes can be opened."""
    from dollhouse.models.vggt.modeling import VggtModel
    from tests.models.vggt.tiny_vggt import tiny_config

    torch.manual_seed(0)
    VggtModel(tiny_config(heads=("camera", "depth"))).eval().save_pretrained(tmp_path / "vggt")
    cameras = open_cameras(f"vggt:{tmp_path / 'vggt'}", {"width": "28"})
    assert cameras is not None
    estimate = cameras(plain(SCENE), None)
    assert not estimate.metric
    np.testing.assert_allclose(estimate.intrinsics[:, :2, 2], 80)
    annotated = annotate_scene(plain(SCENE), detect, None, cameras)
    saved = open_scene(save_scene(annotated, tmp_path / "saved"))
    assert saved.posed
    assert saved.boxes is not None
    assert saved.metadata["boxes"]["cameras"]["name"] == "vggt"


def test_command_writes_scenes_that_open(tmp_path: Path) -> None:
    save_scene(replace(SCENE, boxes=None), tmp_path / "scenes" / "boxes")
    options = ["annotate", "--boxes", "--scenes", str(tmp_path / "scenes"), "--out", str(tmp_path / "out")]
    options += ["--detector", "tests.teachers.test_scene_boxes:detect", "--teacher-arg", "detector.least=60"]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    assert "1 written with 4 boxes" in result.stdout
    scene = open_scene(tmp_path / "out" / "boxes")
    assert aligned_ious(scene).min() > 0.85
    assert (tmp_path / "out" / "boxes" / "plan.png").is_file()
    assert generate_questions(scene, balance=AnswerBalance.measure([scene]))
    again = CliRunner().invoke(app, options)
    assert "0 written with 0 boxes, 1 existing" in again.stdout
    for wrong in (options[:-4], [*options, "--teacher", "annotations"]):
        assert CliRunner().invoke(app, wrong).exit_code == 2


def test_a_scene_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    save_scene(replace(plain(SCENE), name="photos"), tmp_path / "scenes" / "a")
    for name in ("b", "c"):
        save_scene(replace(SCENE, boxes=None), tmp_path / "scenes" / name)
    run = annotate_boxes(str(tmp_path / "scenes"), tmp_path / "out", "tests.teachers.test_scene_boxes:detect")
    assert run.written == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["boxes"]
    assert ["source of cameras" in failure.reason for failure in run.failures] == [True, False]
    assert "an earlier scene has the folder" in run.failures[1].reason
    with pytest.raises(TeacherError, match=r"boxes\.KEY"):
        annotate_boxes(str(tmp_path / "scenes"), tmp_path / "out", "x:y", args={"least": "3"})


def needs_a_package(image: np.ndarray) -> Detections:
    import absent_package  # type: ignore[import-not-found]

    return Detections(absent_package.labels, [])


def test_a_detector_that_cannot_run_stops_at_once(tmp_path: Path) -> None:
    save_scene(replace(SCENE, boxes=None), tmp_path / "scene")
    with pytest.raises(TeacherError, match=r"No module named 'absent_package'.*install what it needs"):
        annotate_boxes(str(tmp_path / "scene"), tmp_path / "out", "tests.teachers.test_scene_boxes:needs_a_package")
    with pytest.raises(TeacherError, match="returned list instead of Detections"):
        annotate_scene(SCENE, lambda image: [])  # type: ignore[arg-type, return-value]
