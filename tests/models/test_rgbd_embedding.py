"""Depth and poses beside the photos: points where they are, patches drawn to what was measured, and clear refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dollhouse.errors import SceneError
from dollhouse.geometry import back_project, level_from_world, transform_points
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.dollhouse.net2net import widen
from dollhouse.models.dollhouse.rgbd_embedding import SNAP, RGBDInputs, in_patches, refine_depth
from dollhouse.scenes.synthetic.room_scene import room_scene
from dollhouse.scenes.view_preprocessing import preprocess_view, rgbd_arrays


@pytest.fixture(scope="module")
def sensors() -> RGBDInputs:
    result = rgbd_arrays(room_scene("test", 3), 126)
    return RGBDInputs.from_poses(*(torch.from_numpy(array).double()[None] for array in result))


def test_points_lie_where_the_depth_camera_saw_them(sensors: RGBDInputs) -> None:
    """Against plain geometry: back-projection through the view's own pose."""
    scene = room_scene("test", 3)
    level = level_from_world(np.asarray(scene.views[0].world_from_camera))
    cameras = sensors.cameras
    own = sensors.own_points()[0]
    for number, view in enumerate(scene.views):
        frame = preprocess_view(view, 126)
        expected = transform_points(level @ view.world_from_camera, back_project(frame.depth, frame.intrinsics))
        turned = own[number] @ cameras.level_from_own_level[0, number].T + cameras.position[0, number]
        known = frame.depth > 0
        np.testing.assert_allclose(turned.numpy()[known], expected[known], atol=1e-5)
    patches = sensors.patch_points(14)
    assert patches.shape == (1, 4, 81, 3)
    whole = own[1].reshape(9, 14, 9, 14, 3).mean((1, 3)).reshape(81, 3)
    moved = whole @ cameras.level_from_own_level[0, 1].T + cameras.position[0, 1]
    full = (sensors.depth[0, 1].reshape(9, 14, 9, 14) > 0).all(3).all(1).reshape(81)
    torch.testing.assert_close(patches[0, 1][full], moved[full])


def test_patches_are_row_by_row() -> None:
    maps = torch.arange(2 * 28 * 28).view(1, 2, 28, 28, 1)
    cells = in_patches(maps, 14)
    assert cells.shape == (1, 2, 4, 196, 1)
    assert cells[0, 0, 1, 0, 0] == maps[0, 0, 0, 14, 0]
    assert cells[0, 1, 2, 15, 0] == maps[0, 1, 15, 1, 0]


def test_a_guess_is_drawn_to_the_nearest_surface() -> None:
    depth = torch.full((1, 1, 14, 28), 3.0)
    depth[..., :7, :14] = 2.0  # the first patch shows two surfaces, the second one, with a hole in it
    depth[..., 3, 20] = 0.0
    guess = torch.tensor([[2.05, 2.9]]).log()
    result = refine_depth(guess, depth, 14).exp()
    torch.testing.assert_close(result, torch.tensor([[2.0, 3.0]]), rtol=0.01, atol=0)
    far = torch.tensor([[2.0, 3.0 * float(np.exp(6 * SNAP))]]).log()
    torch.testing.assert_close(refine_depth(far, depth, 14)[0, 1], far[0, 1])
    unknown = refine_depth(guess, torch.zeros_like(depth), 14)
    torch.testing.assert_close(unknown, guess)


def test_scenes_without_sensors_are_refused() -> None:
    shipped = DollhousePipeline.from_pretrained()
    teacher = DollhousePipeline(widen(shipped.model, width_multiplier=1, use_rgbd=True), shipped.processor, "teacher")
    scene = room_scene("test", 3)
    unposed = replace(scene, views=tuple(replace(view, world_from_camera=None) for view in scene.views))
    with pytest.raises(SceneError, match="lacks depth, poses or intrinsics"):
        teacher.encode_scene(unposed)
    with pytest.raises(ValueError, match="needs depth and poses"):
        teacher.model.encode_scene(torch.zeros(1, 2, 3, 126, 126))
