"""Preprocessing of posed scenes against this project's own geometry."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dollhouse.errors import TeacherError
from dollhouse.geometry import back_project, transform_points
from dollhouse.models.llava3d.processing import ViewPreprocessing, image_pixels, prepare_views, sample_frames
from dollhouse.models.llava3d.voxel_pooling import world_points
from tests.models.llava3d.tiny_llava3d import posed_scene


@pytest.mark.parametrize(("width", "height"), [(80, 64), (64, 80), (70, 70)])
def test_crop_unprojects_to_the_scene(width: int, height: int) -> None:
    """Unprojected pixels of the crop lie on the surface of the whole depth map, portrait or landscape."""
    scene = posed_scene(2, width, height)
    smooth = tuple(replace(view, open_depth=lambda: np.full((height, width), 2.0, np.float32)) for view in scene.views)
    scene = replace(scene, views=smooth)
    prepared = prepare_views(scene, ViewPreprocessing(size=56))
    points = world_points(prepared.depths, prepared.intrinsics, prepared.world_from_camera).numpy()
    for view, crop in zip(scene.views, points, strict=True):
        whole = transform_points(view.world_from_camera, back_project(view.depth, view.intrinsics))
        side = min(width, height)
        top, left = (height - side) // 2, (width - side) // 2
        middle = whole[top : top + side, left : left + side]
        # half a pixel is the most that the official formula (no half-pixel in its scaling) may be off
        pixel = 2.0 / view.intrinsics[0, 0]
        assert np.abs(crop[0, 0] - middle[0, 0]).max() < 1.1 * pixel
        assert np.abs(crop[-1, -1] - middle[-1, -1]).max() < 1.1 * pixel
        assert np.abs(crop.mean((0, 1)) - middle.mean((0, 1))).max() < 0.6 * pixel


def test_the_portrait_fault_moves_portrait_images_only() -> None:
    for (width, height), same in (((80, 64), True), ((64, 80), False)):
        scene = posed_scene(1, width, height)
        right, wrong = (prepare_views(scene, ViewPreprocessing(56, portrait_fault=fault)) for fault in (False, True))
        assert torch.equal(right.intrinsics, wrong.intrinsics) == same
        assert torch.equal(right.depths, wrong.depths)


def test_depth_of_another_size_uses_its_own_intrinsics() -> None:
    scene = posed_scene(1, 80, 64)
    view = scene.views[0]
    doubled = view.intrinsics * [[2], [2], [1]]
    large = replace(
        view, intrinsics=doubled, open_image=lambda: np.zeros((128, 160, 3), np.uint8), depth_intrinsics=view.intrinsics
    )
    found, expected = (prepare_views(replace(scene, views=(item,)), ViewPreprocessing(56)) for item in (large, view))
    torch.testing.assert_close(found.intrinsics, expected.intrinsics)
    assert torch.equal(found.depths, expected.depths)


def test_frame_sampling() -> None:
    assert sample_frames(7, 3, "official") == [0, 2, 4]
    assert sample_frames(5, 3, "official") == [0, 1, 2]
    assert sample_frames(2, 5, "official") == [0, 1, 0, 1, 0]
    assert sample_frames(3, 3, "official") == sample_frames(3, 3, "uniform") == [0, 1, 2]
    assert sample_frames(7, 3, "uniform") == [0, 3, 6]
    assert sample_frames(2, 5, "uniform") == [0, 1]


def test_incomplete_scenes_are_refused() -> None:
    scene = posed_scene(2, 80, 64)
    flat = replace(scene, views=tuple(replace(view, open_depth=None) for view in scene.views))
    lost = replace(scene, views=tuple(replace(view, world_from_camera=None) for view in scene.views))
    blind = replace(scene, views=tuple(replace(view, intrinsics=None) for view in scene.views))
    for bad, message in (
        (flat, "poses and depth"),
        (lost, "poses and depth"),
        (replace(scene, views=()), "poses and depth"),
        (replace(scene, metric=False), "metres"),
        (blind, "lacks intrinsics"),
    ):
        with pytest.raises(TeacherError, match=message):
            prepare_views(bad, ViewPreprocessing(56))


def test_unknown_depth_becomes_zero() -> None:
    scene = posed_scene(1, 56, 56)
    broken = np.full((56, 56), np.nan, np.float32)
    broken[0] = np.inf
    views = tuple(replace(view, open_depth=lambda: broken) for view in scene.views)
    assert not prepare_views(replace(scene, views=views), ViewPreprocessing(56)).depths.any()


def test_padding_keeps_the_whole_image() -> None:
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, :10] = 255
    assert image_pixels(image, 28, "pad")[0].max() > 1.5
    assert image_pixels(image, 28)[0].max() < 0  # the white edge is cropped away
