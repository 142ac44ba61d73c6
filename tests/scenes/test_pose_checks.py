"""The check of poses by reprojected depth: it names the mistake that makes views agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dollhouse.errors import SceneError
from dollhouse.geometry import invert_rigid
from dollhouse.scenes.corrections import Corrections
from dollhouse.scenes.open import open_scene, open_scenes
from dollhouse.scenes.pose_checks import check_poses, require_consistent
from dollhouse.scenes.scene import Box, Scene
from tests.scenes.fixture_captures import OPENGL, Y_UP, write_nerfstudio, write_seven_scenes

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
INVERT = "--poses camera_from_world"
#: mistake -> change of poses, factor on depth, options that mend both
MISTAKES: dict[str, tuple[Change, float, str]] = {
    FLIPPED: (lambda pose: pose @ OPENGL, 1.0, "--axes opengl"),
    INVERTED: (invert_rigid, 1.0, INVERT),
    f"{FLIPPED} and {INVERTED}": (lambda pose: invert_rigid(pose @ OPENGL), 1.0, f"--axes opengl {INVERT}"),
    "depth is 5 times too large (1/5000 m taken for mm, or the reverse)": (lambda p: p, 5.0, "--depth-scale 0.2"),
    "depth is 5 times too small (mm taken for 1/5000 m, or the reverse)": (lambda p: p, 0.2, "--depth-scale 5"),
    "depth is in millimetres, taken for metres": (lambda pose: pose, 1000.0, "--depth-scale 0.001"),
    "depth is in metres, taken for millimetres": (lambda pose: pose, 0.001, "--depth-scale 1000"),
    "poses are in millimetres": (in_millimetres, 1.0, "--pose-scale 0.001"),
}


def parse_options(options: str) -> Corrections:
    words = options.split()
    assert all(word.startswith("--") for word in words[::2])
    given: dict[str, Any] = {}
    for word, value in zip(words[::2], words[1::2], strict=True):
        given[word[2:].replace("-", "_")] = float(value) if word.endswith("scale") else value
    return Corrections(**given)


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", ["rooms:test/0", "holo_office_a", "real/tum_fr1_xyz"])
def test_mistakes_are_named_and_mended(request: pytest.FixtureRequest, name: str, mistake: str) -> None:
    """The option that the check names gives back the poses, the depth and the boxes."""
    path = name if ":" in name else request.getfixturevalue("shared_data") / name
    scene = open_scene(path, frames=8)
    change, factor, option = MISTAKES[mistake]
    wrong = changed(scene, change, factor)
    check = check_poses(wrong)
    assert (check["agrees"], check["mistake"], check["option"]) == (False, mistake, option)
    assert check["summary"].endswith(f"{mistake}; mend it with {option}")
    mended = parse_options(option).apply(wrong)
    right = check_poses(mended)
    assert (right["agrees"], right["mistake"], right["option"]) == (True, None, None)
    for view, original in zip(mended.views, scene.views, strict=True):
        np.testing.assert_allclose(view.world_from_camera, original.world_from_camera, atol=1e-4)
        np.testing.assert_allclose(view.depth, original.depth, rtol=1e-6)
    for box, other in zip(mended.boxes or (), scene.boxes or (), strict=True):
        np.testing.assert_allclose(box.corners, other.corners, atol=1e-6)


def test_a_world_whose_up_is_y_is_named() -> None:
    room = open_scene("rooms:test/0")
    scene = changed(room, lambda pose: Y_UP @ pose)
    check = check_poses(scene)
    assert (check["agrees"], check["mistake"], check["option"]) == (True, "the world's up is y, not z", "--up y")
    mended = Corrections(up="y").apply(scene)
    assert check_poses(mended)["mistake"] is None
    for view, original in zip(mended.views, room.views, strict=True):
        np.testing.assert_allclose(view.world_from_camera, original.world_from_camera, atol=1e-9)
    both = check_poses(changed(room, lambda pose: Y_UP @ pose @ OPENGL))  # what ARKit writes
    assert both["option"] == "--axes opengl --up y"
    turned = mended.boxes[0].corners @ Y_UP[:3, :3].T  # the boxes were not in the turned world
    assert mended.boxes[0].corners.min(0) != pytest.approx(turned.min(0))
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
    assert "no common mistake explains it" in check["summary"]


def test_views_that_cannot_be_compared(tmp_path: Path) -> None:
    def broken() -> np.ndarray:
        raise SceneError("depth.png: is cut short or broken")

    scene = open_scene("rooms:test/0")
    unreadable = replace(scene, views=tuple(replace(view, open_depth=broken) for view in scene.views))
    for other in (unreadable, scene.sample_views(1), changed(scene, depth_factor=0.0)):
        check = check_poses(other)
        assert check.pop("summary") == "depth and poses are not compared: too little overlap, or no depth"
        assert check == {"pairs": 0, "error": None, "agrees": None, "mistake": None, "option": None}
        require_consistent(other)


def save_wrong(folder: Path, change: Change) -> Path:
    """Write four views of a room as ScanNet scan with a mistake in the poses."""
    write_seven_scenes(folder)
    for pose in folder.glob("*.pose.txt"):
        np.savetxt(pose, change(np.loadtxt(pose, encoding="utf-8-sig")))
    return folder


def test_corrections_on_opening(tmp_path: Path) -> None:
    folder = save_wrong(tmp_path / "wrong", lambda pose: pose @ OPENGL)
    wrong = open_scene(folder)
    assert any("--axes opengl" in notice for notice in wrong.notices)
    corrections = Corrections(axes="opengl")
    mended = open_scene(folder, corrections=corrections)
    assert mended.metadata["pose_check"]["agrees"]
    assert not any("warning" in notice for notice in mended.notices)
    assert open_scenes(tmp_path, corrections=corrections)[0].views[0].world_from_camera == pytest.approx(
        mended.views[0].world_from_camera
    )
    with pytest.raises(SceneError, match=r"wrong cannot give targets: .*; mend it with --axes opengl"):
        require_consistent(wrong)
    require_consistent(mended)
    again = open_scene(save_wrong(tmp_path / "right", lambda pose: pose), corrections=corrections)
    assert again.metadata["pose_check"]["option"] == ""  # the correction itself is the mistake
    assert again.metadata["pose_check"]["summary"].endswith("mend it with no corrections")


def test_what_is_up_is_estimated_again(tmp_path: Path) -> None:
    """COLMAP and nerfstudio have no up axis; the reader takes it from the poses, which were wrong."""
    write_nerfstudio(tmp_path / "house")
    right = open_scene(tmp_path / "house")
    file = tmp_path / "house/transforms.json"
    content = json.loads(file.read_text(encoding="utf-8-sig"))
    for entry in content["frames"]:
        entry["transform_matrix"] = (np.array(entry["transform_matrix"]) @ OPENGL).tolist()
    file.write_text(json.dumps(content))
    wrong = open_scene(tmp_path / "house")
    assert wrong.metadata["pose_check"]["option"] == "--axes opengl"
    mended = open_scene(tmp_path / "house", corrections=Corrections(axes="opengl"))
    assert mended.metadata["pose_check"]["agrees"]
    for view, original in zip(mended.views, right.views, strict=True):
        np.testing.assert_allclose(view.world_from_camera, original.world_from_camera, atol=1e-9)


def test_boxes_follow_the_up_axis() -> None:
    box = Box(1, "shelf", np.array([1.0, 2.0, 3.0]), np.array([0.4, 1.8, 0.6]), 0.0)
    room = open_scene("rooms:test/0").sample_views(1)
    moved = Corrections(up="y").apply(replace(room, boxes=(box,))).boxes[0]
    assert (moved.center.tolist(), moved.size.tolist()) == ([1.0, -3.0, 2.0], pytest.approx([0.4, 0.6, 1.8]))


def test_corrections_combine() -> None:
    first = Corrections(axes="opengl", depth_scale=0.2, up="-x")
    assert first.then(Corrections(axes="opengl", poses="camera_from_world")) == Corrections(
        poses="camera_from_world", depth_scale=0.2, up="-x"
    )
    room = open_scene("rooms:test/0").sample_views(2)
    for up in ("x", "y", "z", "-x", "-y", "-z"):
        for later in ("x", "y", "z", "-x", "-y", "-z"):
            first, second = Corrections(up=up), Corrections(up=later)
            chained = second.apply(first.apply(room)).views[0].world_from_camera
            combined = first.then(second).apply(room).views[0].world_from_camera
            np.testing.assert_allclose(chained[2], combined[2], atol=1e-9)  # alike but for a turn about z


@pytest.mark.parametrize(
    "name",
    ["holo_office_a", "holo_office_b", "slambook_house", "o3d_livingroom1", "real/tum_fr1_rpy", "real/tum_fr1_xyz"],
)
def test_real_scenes_may_give_targets(shared_data: Path, name: str) -> None:
    require_consistent(open_scenes(shared_data / name)[0])
