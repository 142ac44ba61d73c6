"""Points from predicted depth and cameras: exact geometry on made scenes, and every way to fix the scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dollhouse.errors import SceneError
from dollhouse.geometry import intrinsics_from_fov, invert_rigid, look_at
from dollhouse.inference.points import KnownLength, fix_scale, place_points, predict_points
from dollhouse.scenes.scale import Scale
from dollhouse.scenes.scene import Scene, View
from tests.models.vggt.tiny_vggt import HEADS, tiny_config, tiny_model

WIDTH, HEIGHT = 56, 42
INTRINSICS = intrinsics_from_fov(1.2, WIDTH, HEIGHT)
EYES = [np.array([0.5, 0.2, 1.5]), np.array([2.0, -0.3, 1.2]), np.array([1.0, 0.4, 1.9])]
POSES = np.stack([look_at(eye, np.array([1.5, 4.0, 0.8])) for eye in EYES])  # world_from_camera


def depth_of_floor_and_wall() -> np.ndarray:
    """Exact z-depth (V, H, W) of the floor z = 0 and the wall y = 5, seen by every camera."""
    v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    rays = np.stack(
        [(u - INTRINSICS[0, 2]) / INTRINSICS[0, 0], (v - INTRINSICS[1, 2]) / INTRINSICS[1, 1], 0 * u + 1], -1
    )
    maps = []
    for pose in POSES:
        turned = rays @ pose[:3, :3].T
        floor = np.where(turned[..., 2] < 0, -pose[2, 3] / np.minimum(turned[..., 2], -1e-9), np.inf)
        wall = np.where(turned[..., 1] > 0, (5 - pose[1, 3]) / np.maximum(turned[..., 1], 1e-9), np.inf)
        maps.append(np.minimum(floor, wall))
    return np.stack(maps)


DEPTH = depth_of_floor_and_wall()


def placed(unit: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Points and cameras of the made scene, in units of ``unit`` metres."""
    poses = POSES.copy()
    poses[:, :3, 3] /= unit
    return place_points(DEPTH / unit, np.stack([INTRINSICS] * 3), invert_rigid(poses)[:, :3])


def test_all_views_see_the_same_floor_and_wall() -> None:
    points, first_from_camera = placed()
    np.testing.assert_allclose(first_from_camera[0], np.eye(4), atol=1e-12)
    world = points @ POSES[0, :3, :3].T + POSES[0, :3, 3]
    on_floor, on_wall = np.abs(world[..., 2]) < 1e-9, np.abs(world[..., 1] - 5) < 1e-9
    assert (on_floor | on_wall).all()
    assert all(on_floor[view].any() and on_wall[view].any() for view in range(3))


def test_points_are_in_the_first_cameras_frame_whatever_the_world_is() -> None:
    points, _ = placed()
    moved = look_at(np.array([9.0, 9.0, 9.0]), np.array([0.0, 1.0, 0.0]))
    again, _ = place_points(DEPTH, np.stack([INTRINSICS] * 3), invert_rigid(moved @ POSES))
    np.testing.assert_allclose(again, points, atol=1e-9)


def test_unknown_depth_is_no_point() -> None:
    depth = DEPTH.copy()
    depth[1, 3, 4] = 0
    points, _ = place_points(depth, np.stack([INTRINSICS] * 3), invert_rigid(POSES))
    assert np.isnan(points[1, 3, 4]).all()
    assert np.isfinite(points[0]).all()


def test_every_way_to_fix_the_scale_gives_metres() -> None:
    exact, _ = placed()
    points, cameras = placed(unit=2.5)
    predicted = DEPTH / 2.5
    length = KnownLength((0, 5, 6), (2, 30, 40), float(np.linalg.norm(exact[0, 5, 6] - exact[2, 30, 40])))
    holes = np.where(np.random.default_rng(0).random(DEPTH.shape) < 0.5, 0, DEPTH)
    relative = fix_scale(points, cameras, predicted)
    assert (relative.scale.kind, relative.factor, relative.metric) == ("relative", 1.0, False)
    np.testing.assert_array_equal(relative.points, points)
    for name, known in {
        "measured depth": {"known_depth": holes},
        "camera poses": {"known_poses": POSES},
        "known length": {"known_length": length, "known_depth": 9 * holes},  # what the user says goes first
    }.items():
        fixed = fix_scale(points, cameras, predicted, **known)
        assert fixed.scale == Scale("metric", name)
        assert fixed.metric
        assert fixed.factor == pytest.approx(2.5)
        np.testing.assert_allclose(fixed.points, exact, atol=1e-9)
        np.testing.assert_allclose(fixed.first_from_camera, invert_rigid(POSES[0]) @ POSES, atol=1e-9)


def test_what_fixes_no_scale_is_refused() -> None:
    points, cameras = placed()
    with pytest.raises(SceneError, match="no pixel has both"):
        fix_scale(points, cameras, DEPTH, known_depth=np.zeros_like(DEPTH))
    with pytest.raises(SceneError, match="one place"):
        fix_scale(points, cameras, DEPTH, known_poses=np.stack([POSES[0]] * 3))
    for length, says in [
        (KnownLength((0, 1, 1), (0, 2, 2), 0.0), "positive"),
        (KnownLength((0, 1, 1), (0, 1, 1), 1.0), "one point"),
        (KnownLength((0, 1, 1), (7, 1, 1), 1.0), "must lie within"),
    ]:
        with pytest.raises(SceneError, match=says):
            fix_scale(points, cameras, DEPTH, known_length=length)


def test_vggt_sees_a_scene_in_metres_only_where_the_scene_has_them() -> None:
    model = tiny_model(tiny_config("conv", HEADS))
    draw = np.random.default_rng(0)
    photos = [draw.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(3)]

    def scene(metric: bool, with_depth: bool) -> Scene:
        views = tuple(
            View(
                str(number),
                lambda photo=photo: photo,
                world_from_camera=POSES[number],
                open_depth=(lambda depth=DEPTH[number]: depth.astype(np.float32)) if with_depth else None,
            )
            for number, photo in enumerate(photos)
        )
        return Scene("made", views, metric=metric)

    results = {key: predict_points(model, scene(*key), WIDTH) for key in [(True, True), (True, False), (False, True)]}
    assert [str(points.scale) for points, _ in results.values()] == [
        "metric (measured depth)",
        "metric (camera poses)",
        "relative (unknown)",
    ]
    relative, confidence = results[False, True]
    assert relative.points.shape == (3, HEIGHT, WIDTH, 3)
    assert confidence.shape == (3, HEIGHT, WIDTH)
    for points, _ in results.values():
        np.testing.assert_allclose(points.points, relative.points * points.factor, rtol=1e-6)
    with torch.inference_mode():
        photos_ = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)[None].float() / 255
        depth = model.predict_depth(model(photos_, model.dense_layers))[0][0, 0, ..., 0].numpy()
    np.testing.assert_allclose(relative.points[0, ..., 2], depth, rtol=1e-5)  # the first camera's frame: z is depth
