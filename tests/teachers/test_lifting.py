"""Boxes from perfect detections in rooms with exact depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dollhouse.errors import TeacherError
from dollhouse.evaluation.metrics.boxes import box_iou
from dollhouse.records.types import SceneGeometry
from dollhouse.scenes.scene import Box, Scene
from dollhouse.scenes.synthetic.room_scene import room_scene
from dollhouse.teachers.detection import Detections
from dollhouse.teachers.lifting import LiftSettings, lift
from tests.records.small_scenes import small_scene
from tests.teachers.box_world import OBJECTS, box_scene, detect_all, with_outliers


def best_ious(boxes: tuple[Box, ...], scene: Scene) -> np.ndarray:
    """Return for each true box the IoU of the best box with its label."""
    truth = scene.boxes or ()
    same = np.array([[a.label == b.label for b in boxes] for a in truth])
    return (box_iou(truth, boxes) * same).max(1)


def test_masks_give_back_the_true_boxes() -> None:
    scene = box_scene()
    boxes = lift(detect_all(scene, masks=True), scene)
    assert [box.id for box in boxes] == [1, 2, 3, 4]
    assert best_ious(boxes, scene).min() > 0.9
    assert all(box.score == pytest.approx(0.9) for box in boxes)


def test_rectangles_nearly_give_back_the_true_boxes() -> None:
    scene = box_scene()
    boxes = lift(detect_all(scene, masks=False), scene)
    assert sorted(box.label for box in boxes) == ["chair", "chair", "sofa", "table"]
    assert best_ious(boxes, scene).min() > 0.7


@pytest.mark.parametrize("masks", [True, False])
def test_wrong_depth_moves_boxes_little(masks: bool) -> None:
    scene = with_outliers(box_scene(), 0.1)
    boxes = lift(detect_all(scene, masks), scene)
    assert len(boxes) == len(OBJECTS)
    assert best_ious(boxes, scene).min() > (0.75 if masks else 0.6)


def test_masks_of_classes_are_parted_in_3d() -> None:
    scene = box_scene()
    boxes = lift(detect_all(scene, masks=True, semantic=True), scene)
    assert sorted(box.label for box in boxes) == ["chair", "chair", "sofa", "table"]
    assert best_ious(boxes, scene).min() > 0.9


def test_masks_at_another_size_and_depth_of_another_camera() -> None:
    scene = box_scene(size=320)
    detections = detect_all(scene, masks=True, least=240)
    halves = [replace(d, masks=np.asarray(d.masks)[:, ::2, ::2]) for d in detections]
    boxes = lift(halves, scene)
    assert best_ious(boxes, scene).min() > 0.75


def test_similar_labels_are_one_object_and_the_better_label_wins() -> None:
    scene = box_scene()
    detections = detect_all(scene, masks=True)
    detections[0] = replace(
        detections[0], labels=["couch" if label == "sofa" else label for label in detections[0].labels]
    )
    detections[1] = replace(detections[1], labels=["office chair"] * len(detections[1]), scores=[0.2] * 4)
    boxes = lift(detections, scene)
    assert sorted(box.label for box in boxes) == ["chair", "chair", "sofa", "table"]


def test_a_detection_that_other_views_contradict_scores_low() -> None:
    scene = box_scene()
    detections = detect_all(scene, masks=True)
    ghost = np.zeros((1, 160, 160), dtype=bool)
    ghost[0, 60:75, 20:40] = True  # the wall
    first = detections[0]
    detections[0] = replace(
        first,
        labels=[*first.labels, "picture"],
        scores=[*first.scores, 0.9],
        masks=np.concatenate([np.asarray(first.masks), ghost]),
    )
    boxes = lift(detections, scene)
    assert [box.label for box in boxes if (box.score or 0) < 0.5] == ["picture"]
    kept = lift(detections, scene, settings=LiftSettings(min_score=0.5))
    assert len(kept) == len(OBJECTS)
    assert len(lift(detections, scene, settings=LiftSettings(min_views=2))) == len(OBJECTS)


def test_parts_of_the_building_are_no_objects() -> None:
    scene = box_scene(views=1)
    detections = [Detections(["wall", "floor", "thing"], [1, 1, 1], np.array([[0, 0, 160, 80]] * 3))]
    assert lift(detections, scene) == ()


def test_a_room_of_meshes() -> None:
    """Furniture with legs, partly hidden: as near as the visible points allow."""
    scene = room_scene("train", 2, views=6)
    detections = detect_all(scene, masks=True, least=150)
    ious = best_ious(lift(detections, scene), scene)
    assert np.sort(ious)[-3:].min() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("masks", [True, False])
def test_centres_in_rooms(masks: bool) -> None:
    distances = []
    for number in range(12):
        scene = room_scene("train", number)
        for box in lift(detect_all(scene, masks, least=150), scene):
            same = [other for other in scene.boxes or () if other.label == box.label]
            distances.append(min(np.linalg.norm(box.center - other.center) for other in same))
    half, most = np.percentile(distances, [50, 90])
    kind = "masks" if masks else "rectangles"
    print(f"\n{kind}: of {len(distances)} box centres half within {half:.3f} m, 90 % within {most:.3f} m")
    assert half < (0.02 if masks else 0.1)
    assert most < (0.2 if masks else 0.4)


def test_flat_object_straight_ahead() -> None:
    """A picture of 1 m at 2 m, by hand: the camera of one view without a pose is upright at the origin and faces y."""
    scene = replace(small_scene(size=100, views=1, posed=False), boxes=None)
    pinhole = np.array([[100.0, 0, 50], [0, 100.0, 50], [0, 0, 1]])
    depth = np.full((100, 100), 5, dtype=np.float32)
    depth[25:75, 25:75] = 2
    scene = replace(scene, views=(replace(scene.views[0], intrinsics=pinhole, open_depth=lambda: depth),))
    (box,) = lift([Detections(["picture"], [0.7], np.array([[20, 20, 80, 80]]))], scene, SceneGeometry())
    np.testing.assert_allclose(box.center, [0, 2, 0], atol=0.02)
    assert box.size.round(1).tolist() == [1.0, 0.0, 1.0]
    assert box.score == 0.7


def test_lifting_needs_metric_depth_and_poses() -> None:
    detections = [Detections(["chair"], [0.9], np.array([[0, 0, 20, 20]])), Detections([], [])]
    scene = small_scene()
    relative = SceneGeometry(depth=(np.ones((28, 28), dtype=np.float32),) * 2, metric=False)
    with pytest.raises(TeacherError, match="depth in metres"):
        lift(detections, replace(scene, metric=False), relative)
    with pytest.raises(TeacherError, match="need poses"):
        lift(detections, small_scene(posed=False), SceneGeometry())
    uncalibrated = replace(scene, views=tuple(replace(view, intrinsics=None) for view in scene.views))
    with pytest.raises(TeacherError, match="no intrinsics"):
        lift(detections, uncalibrated, SceneGeometry())


def test_detections_must_fit_together() -> None:
    with pytest.raises(TeacherError, match="neither boxes nor masks"):
        Detections(["chair"], [0.5])
    with pytest.raises(TeacherError, match="2 labels"):
        Detections(["chair", "table"], [0.5, 0.5], np.zeros((1, 4)))
    with pytest.raises(TeacherError, match="not finite"):
        Detections(["chair"], [np.nan], np.zeros((1, 4)))
