"""Estimated depth that is wrong by a smooth factor in each view agrees after its correction."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from dollhouse.errors import SceneError
from dollhouse.geometry import Array
from dollhouse.scenes.pose_checks import check_poses, require_consistent
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.reconstruction import Cameras, reconstruct
from tests.teachers.box_world import box_scene
from tests.teachers.test_scene_boxes import plain

SCENE = box_scene(views=16, size=96)
TRUE = [np.asarray(view.depth) for view in SCENE.views]


def wrong_depth(image: np.ndarray) -> Array:
    """Return the depth of a photo of the scene, times a factor that varies over the photo."""
    number = int(image[0, 0, 0])
    scale, down, across = np.random.default_rng(number).normal(0, [0.15, 0.2, 0.2])
    side = np.linspace(-0.5, 0.5, 96)
    return np.asarray(TRUE[number] * np.exp(scale + down * side[:, None] + across * side))


def with_points(scene: Scene, depth: object, points: bool = True) -> Cameras:
    """Return exact cameras in metres and, at one pixel in 200, the true depth."""
    poses = np.stack([np.asarray(view.world_from_camera) for view in SCENE.views])
    at = np.random.default_rng(0).integers(0, 96, (len(poses), 46, 2))
    known = [
        np.column_stack([pixels[:, ::-1] + 0.5, true[tuple(pixels.T)]]) for pixels, true in zip(at, TRUE, strict=True)
    ]
    intrinsics = np.stack([np.asarray(view.intrinsics) for view in SCENE.views])
    return Cameras(poses, intrinsics, metric=True, points=known if points else None)


def median_error(scene: Scene) -> float:
    pairs = zip(scene.views, TRUE, strict=True)
    return float(np.median([np.abs(np.asarray(view.depth) / true - 1) for view, true in pairs]))


@pytest.mark.parametrize(("points", "largest"), [(True, 0.02), (False, 0.09)])
def test_smooth_errors_are_corrected(points: bool, largest: float) -> None:
    scene = reconstruct(plain(SCENE), wrong_depth, partial(with_points, points=points))
    assert float(np.median([np.abs(wrong_depth(view.image) / TRUE[n] - 1) for n, view in enumerate(SCENE.views)])) > 0.1
    assert median_error(scene) < largest
    check = check_poses(scene)
    assert check["error"] < 0.06
    assert check["summary"].endswith("; depth and cameras estimated: 10% is allowed")
    require_consistent(scene)


def test_depth_that_agrees_is_left_alone() -> None:
    scene = reconstruct(plain(SCENE), lambda image: TRUE[int(image[0, 0, 0])], with_points)
    assert median_error(scene) == 0
    assert scene.metadata["estimated"] == ["depth", "cameras"]


def test_measured_depth_must_agree_better() -> None:
    """What a model estimated may disagree by 10 %, what a sensor measured by 5 %."""
    factors = [1.035, 0.965] * 8
    off = [
        replace(view, open_depth=partial(np.multiply, view.depth, np.float32(factor)))
        for view, factor in zip(SCENE.views, factors, strict=True)
    ]
    for estimated, largest in (((), 0.05), (("depth",), 0.1)):
        scene = replace(SCENE, views=tuple(off), metadata={"estimated": list(estimated)})
        check = check_poses(scene)
        assert 0.05 < check["error"] < 0.1
        assert check["agrees"] is (check["error"] <= largest)
        if estimated:
            require_consistent(scene)
        else:
            with pytest.raises(SceneError, match="cannot give targets: depth and poses disagree"):
                require_consistent(scene)
