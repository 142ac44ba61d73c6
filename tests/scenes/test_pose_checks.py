"""The check of poses by reprojected depth: it names the mistake that makes views agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import SceneError
from dollhouse.geometry import invert_rigid
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.pose_checks import check_poses
from dollhouse.scenes.scene import Scene
from tests.scenes.fixture_captures import OPENGL, Y_UP

Change = Callable[[np.ndarray], np.ndarray]


def changed(scene: Scene, change: Change = lambda pose: pose, depth_factor: float = 1.0) -> Scene:
    """Apply a mistake to every pose and depth map."""
    views = [
        replace(
            view,
            world_from_camera=change(np.asarray(view.world_from_camera)),
            open_depth=lambda view=view: np.float32(depth_factor) * view.depth,
        )
        for view in scene.views
    ]
    return replace(scene, views=tuple(views), metadata={})


def in_millimetres(pose: np.ndarray) -> np.ndarray:
    scaled = pose.copy()
    scaled[:3, 3] *= 1000
    return scaled


FLIPPED = "camera axes are flipped (OpenGL for OpenCV, or the reverse)"
INVERTED = "poses are inverted (camera-from-world for world-from-camera, or the reverse)"
MISTAKES: dict[str, tuple[Change, float]] = {
    FLIPPED: (lambda pose: pose @ OPENGL, 1.0),
    INVERTED: (invert_rigid, 1.0),
    f"{FLIPPED} and {INVERTED}": (lambda pose: invert_rigid(pose @ OPENGL), 1.0),
    "depth is 5 times too large (1/5000 m taken for mm, or the reverse)": (lambda pose: pose, 5.0),
    "depth is 5 times too small (mm taken for 1/5000 m, or the reverse)": (lambda pose: pose, 0.2),
    "depth is in millimetres, taken for metres": (lambda pose: pose, 1000.0),
    "depth is in metres, taken for millimetres": (lambda pose: pose, 0.001),
    "poses are in millimetres": (in_millimetres, 1.0),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", ["rooms:test/0", "holo_office_a", "real/tum_fr1_xyz"])
def test_mistakes_are_named(request: pytest.FixtureRequest, name: str, mistake: str) -> None:
    path = name if ":" in name else request.getfixturevalue("shared_data") / name
    scene = open_scene(path, frames=8)
    check = check_poses(changed(scene, *MISTAKES[mistake]))
    assert (check["agrees"], check["mistake"]) == (False, mistake)
    right = check_poses(scene)
    assert (right["agrees"], right["mistake"]) == (True, None)


def test_a_world_whose_up_is_y_is_named() -> None:
    scene = changed(open_scene("rooms:test/0"), lambda pose: Y_UP @ pose)
    assert check_poses(scene)["mistake"] == "the world's up is y, not z"
    assert check_poses(changed(scene, lambda pose: np.linalg.inv(Y_UP) @ pose))["mistake"] is None
    portrait = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # a phone held upright
    right = changed(open_scene("rooms:test/0"), lambda pose: pose @ portrait)
    assert check_poses(replace(right, views=tuple(replace(v, open_depth=None) for v in right.views)))["mistake"] is None


def test_disagreement_without_a_known_mistake() -> None:
    scene = open_scene("rooms:test/0")
    generator = np.random.default_rng(0)
    check = check_poses(changed(scene, lambda pose: pose + np.pad(generator.normal(size=(3, 1)), ((0, 1), (3, 0)))))
    assert (check["agrees"], check["mistake"]) == (False, None)
    assert check["error"] > 0.05


def test_views_that_cannot_be_compared(tmp_path: Path) -> None:
    def broken() -> np.ndarray:
        raise SceneError("depth.png: is cut short or broken")

    scene = open_scene("rooms:test/0")
    unreadable = replace(scene, views=tuple(replace(view, open_depth=broken) for view in scene.views))
    for other in (unreadable, scene.sample_views(1), changed(scene, depth_factor=0.0)):
        assert check_poses(other) == {"pairs": 0, "error": None, "agrees": None, "mistake": None}
