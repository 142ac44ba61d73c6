"""Tests of random changes of training photos: maps stay aligned, focal lengths are right, the rest is unchanged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dollhouse.data.augmentation import change_photos, zoom_in
from dollhouse.data.targets import SceneTargets, scene_targets
from dollhouse.geometry import back_project, intrinsics_from_fov, project
from dollhouse.scenes.synthetic.furniture import CATEGORIES, COLOURS
from dollhouse.scenes.synthetic.room_scene import room_scene


@pytest.fixture(scope="module")
def targets() -> SceneTargets:
    return scene_targets(room_scene("train", 3, image_size=84), 84, CATEGORIES, tuple(COLOURS))


def test_a_zoom_of_one_changes_nothing(targets: SceneTargets) -> None:
    same = zoom_in(targets, 1.0)
    np.testing.assert_array_equal(same.images, targets.images)
    assert same.objects is not None
    assert targets.objects is not None
    for name, value in vars(targets.objects).items():
        np.testing.assert_array_equal(getattr(same.objects, name), value)


def test_points_are_where_the_new_focal_length_projects_them(targets: SceneTargets) -> None:
    zoom, size = 1.7, 84
    near = zoom_in(targets, zoom)
    assert near.depth is not None
    assert near.focal is not None
    assert targets.depth is not None
    assert targets.focal is not None
    np.testing.assert_allclose(near.focal, zoom * targets.focal)
    for view in range(len(near.images)):
        fov = [2 * np.arctan(0.5 / focal[view]) for focal in (targets.focal, near.focal)]
        points = back_project(near.depth[view], intrinsics_from_fov(fov[1], size, size))
        uv, z = project(points.reshape(-1, 3), intrinsics_from_fov(fov[0], size, size))
        known = z > 0
        column, row = np.floor(uv[known]).astype(int).T
        same = np.isclose(targets.depth[view][row, column], z[known], rtol=1e-4)
        assert same.mean() > 0.99  # a point between two pixels may round to either
        assert near.instances is not None
        assert targets.instances is not None
        assert (targets.instances[view][row, column] == near.instances[view].ravel()[known]).mean() > 0.99
    marked = np.zeros_like(targets.images)
    marked[:, 20:60, 30:50] = 255
    cropped = zoom_in(replace(targets, images=marked), zoom).images
    edges = 42 + zoom * (np.array([20, 60, 30, 50]) - 42)
    rows, columns = np.flatnonzero(cropped[0, :, 42, 0] > 127), np.flatnonzero(cropped[0, 42, :, 0] > 127)
    np.testing.assert_allclose([rows[0], rows[-1] + 1, columns[0], columns[-1] + 1], edges.clip(0, 84), atol=1)


def test_patches_show_the_objects_of_their_pixels(targets: SceneTargets) -> None:
    near = zoom_in(targets, 1.8)
    objects, old = near.objects, targets.objects
    assert objects is not None
    assert old is not None
    assert objects.index_of_id is not None
    assert near.instances is not None
    assert 0 < len(objects.label) < len(old.label)
    count = len(objects.label)
    assert objects.relations is not None
    assert objects.relations.shape == (count, count, 2)
    assert objects.center.shape == (count, 3)
    shown = objects.index_of_id[near.instances]
    cells = shown.reshape(len(shown), 6, 14, 6, 14).swapaxes(2, 3).reshape(len(shown), 36, -1)
    for cell, index in zip(cells.reshape(-1, 196), objects.patch_object.ravel(), strict=True):
        if index >= 0:
            assert (cell == index).any()
    # By patches alone the result is similar.
    coarse = zoom_in(replace(targets, objects=replace(old, index_of_id=None)), 1.8).objects
    assert coarse is not None
    label = [np.where(o.patch_object >= 0, o.label[o.patch_object], -1) for o in (objects, coarse)]
    assert (label[0] == label[1]).mean() > 0.75


def test_photos_change_and_geometry_does_not(targets: SceneTargets) -> None:
    recoloured = 0
    for seed in range(12):
        changed, again = (change_photos(targets, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(changed.images, again.images)
        assert changed.images.shape == targets.images.shape
        assert changed.images.dtype == np.uint8
        assert 1 < np.abs(changed.images.astype(float) - targets.images).mean() < 130
        assert changed.depth is targets.depth
        assert changed.objects is not None
        assert targets.objects is not None
        unknown = (changed.objects.colour == -1).all()
        assert unknown or (changed.objects.colour == targets.objects.colour).all()
        recoloured += int(unknown)
    assert 2 <= recoloured <= 10
