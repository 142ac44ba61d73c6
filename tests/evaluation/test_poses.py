import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dollhouse.errors import ModelError
from dollhouse.evaluation.metrics.poses import (
    area_under_curve,
    direction_angles,
    pose_errors,
    rotation_angles,
    score_poses,
)


def pose(angles=(0, 0, 0), at=(0, 0, 0)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, 3] = at
    return matrix


def random_poses(generator, count=5):
    return np.stack([pose(generator.uniform(-180, 180, 3), generator.normal(size=3)) for _ in range(count)])


def test_neither_frame_nor_scale_matters():
    truth = random_poses(np.random.default_rng(0))
    moved = pose((20, -50, 130), (3, 1, -2)) @ truth
    moved[:, :3, 3] *= 2.5
    rotation, translation = pose_errors(moved, truth)
    assert rotation.shape == translation.shape == (10,)
    assert rotation == pytest.approx(np.zeros(10), abs=1e-5)
    assert translation == pytest.approx(np.zeros(10), abs=1e-5)


@pytest.mark.parametrize("angle", [0.0, 1e-6, 3.0, 90.0, 179.0, 180.0])
def test_angles_are_exact_at_both_ends(angle):
    turned, straight = pose((0, 0, angle))[:3, :3], np.eye(3)
    assert rotation_angles(turned[None], straight[None])[0] == pytest.approx(angle, rel=1e-7, abs=1e-12)
    assert direction_angles((turned @ [2.0, 0, 0])[None], np.array([[1.0, 0, 0]]))[0] == pytest.approx(
        angle, rel=1e-7, abs=1e-12
    )


def test_rotation_angles_against_scipy():
    generator = np.random.default_rng(1)
    a, b = (Rotation.random(200, rng=generator) for _ in range(2))
    expected = np.degrees((a.inv() * b).magnitude())
    assert rotation_angles(a.as_matrix(), b.as_matrix()) == pytest.approx(expected, abs=1e-5)


def test_area_under_curve_by_hand():
    # below 1 degree: 1 of 4; below 2: 2 of 4; below 3: 3 of 4
    assert area_under_curve(np.array([0.5, 1.5, 2.5, 99.0]), 3) == pytest.approx((0.25 + 0.5 + 0.75) / 3)
    assert area_under_curve(np.array([30.0])) == pytest.approx(1 / 30)
    assert area_under_curve(np.array([30.1])) == 0.0


def slow_area(errors, degrees=30):
    return np.mean([np.mean([error < d or error == d == degrees for error in errors]) for d in range(1, degrees + 1)])


def test_scores_against_a_plain_reference():
    generator = np.random.default_rng(2)
    scenes, rotations, translations = [], [], []
    for _ in range(4):
        truth = random_poses(generator)
        predicted = np.stack([p @ pose(generator.normal(0, 5, 3), generator.normal(0, 0.2, 3)) for p in truth])
        scenes.append((predicted, truth))
        for i in range(5):
            for j in range(i + 1, 5):
                p, t = (np.linalg.inv(poses[i]) @ poses[j] for poses in (predicted, truth))
                rotations.append(np.degrees(Rotation.from_matrix(p[:3, :3].T @ t[:3, :3]).magnitude()))
                cosine = p[:3, 3] @ t[:3, 3] / np.linalg.norm(p[:3, 3]) / np.linalg.norm(t[:3, 3])
                translations.append(np.degrees(np.arccos(cosine)))
    result = score_poses(scenes)
    assert result is not None
    assert result["rotation"] == pytest.approx(np.median(rotations))
    assert result["translation"] == pytest.approx(np.median(translations))
    assert result["auc_30_signed"] == pytest.approx(slow_area(np.maximum(rotations, translations)))
    assert 0.1 < result["auc_30_signed"] <= result["auc_30"] < 0.9
    assert (result["n"], result["scenes"], result["standing"]) == (40, 4, 0)


def test_going_the_other_way_counts_only_in_the_papers_figure():
    truth = np.stack([pose(), pose(at=(0, 0, 1))])
    predicted = np.stack([pose(), pose(at=(0, 0, -1))])
    result = score_poses([(predicted, truth)])
    assert result is not None
    assert (result["translation"], result["auc_30"], result["auc_30_signed"]) == (180.0, 1.0, 0.0)


def test_cameras_in_one_place_have_no_direction_and_a_still_prediction_is_wrong():
    turned = np.stack([pose(), pose((0, 10, 0))])
    result = score_poses([(turned, turned)])
    assert result is not None
    assert (result["translation"], result["standing"], result["auc_30"]) == (None, 1, 1.0)
    still = score_poses([(np.stack([pose(), pose()]), np.stack([pose(), pose(at=(1, 0, 0))]))])
    assert still is not None
    assert (still["translation"], still["auc_30"]) == (90.0, 0.0)


def test_bad_poses_are_not_passed_over():
    truth = np.stack([pose(), pose()])
    with pytest.raises(ModelError, match="not finite"):
        pose_errors(np.full((2, 4, 4), np.nan), truth)
    with pytest.raises(ValueError, match="shape"):
        pose_errors(truth[:1], truth)
    assert score_poses([]) is None
    assert score_poses([(truth[:1], truth[:1])]) is None
