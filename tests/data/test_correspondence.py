"""Shared points against projections and a slow reference, with occlusion and views without overlap."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dollhouse.data.collator import Batch, collate_batch
from dollhouse.data.correspondence import EDGE, TOLERANCE, SharedPoints, points_at, shared_in, shared_points
from dollhouse.data.targets import scene_targets
from dollhouse.geometry import (
    Array,
    camera_rays,
    intrinsics_from_fov,
    invert_rigid,
    look_at,
    project,
    transform_points,
)
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.heads import Cameras
from dollhouse.scenes.open import open_scene
from dollhouse.scenes.synthetic.furniture import CATEGORIES, COLOURS

SIZE, PATCH, WALL, SCREEN = 56, 14, 4.0, 2.0
K = intrinsics_from_fov(np.deg2rad(70), SIZE, SIZE)
FOCAL = K[0, 0] / SIZE
LOW, HIGH = np.array([-0.5, -0.4]), np.array([0.3, 0.7])  # the screen's corners in x and z


def is_occluded(eye: Array, points: Array) -> np.ndarray:
    """Return whether the screen at y = SCREEN occludes points from a camera position."""
    share = (SCREEN - eye[1]) / (points[..., 1] - eye[1])
    through = eye + share[..., None] * (points - eye)
    return np.asarray(((through[..., [0, 2]] >= LOW) & (through[..., [0, 2]] <= HIGH)).all(-1) & (share < 1 - 1e-9))


def render_depth(pose: Array) -> Array:
    """z-depth of a wall at y = WALL with the screen in front, rendered for a camera; 0 where a ray meets neither."""
    rays = camera_rays(K, SIZE, SIZE) @ pose[:3, :3].T
    eye = pose[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        wall = (WALL - eye[1]) / rays[..., 1]
        screen = (SCREEN - eye[1]) / rays[..., 1]
    hit = eye + screen[..., None] * rays
    blocked = ((hit[..., [0, 2]] >= LOW) & (hit[..., [0, 2]] <= HIGH)).all(-1) & (screen > 0)
    depth = np.where(blocked, screen, wall)
    return np.where((wall > 0) & (depth < 50), depth, 0.0)


def points_of(poses: list[Array]) -> SharedPoints:
    depth = np.stack([render_depth(pose) for pose in poses])
    return shared_points(
        torch.tensor(depth)[None], torch.tensor(np.stack(poses))[None], torch.full((1, len(poses)), FOCAL), PATCH
    )


def poses_at(*eyes: tuple[float, float, float]) -> list[Array]:
    return [look_at(np.array(eye), np.array([0.0, WALL, 0.1])) for eye in eyes]


def pairs(shared: SharedPoints) -> set[tuple[int, ...]]:
    columns = (shared.scene, shared.view, shared.patch, shared.other, shared.other_patch)
    return set(zip(*(column.tolist() for column in columns), strict=True))


def test_shared_points_match_projection_and_respect_occlusion() -> None:
    poses = poses_at((-1.2, 0.0, 0.0), (1.1, 0.3, 0.2))
    found = {(view, patch): (other, place) for _, view, patch, other, place in pairs(points_of(poses))}
    hidden = visible = 0
    for view, pose in enumerate(poses):
        other, depth = 1 - view, render_depth(pose)
        points = transform_points(pose, camera_rays(K, SIZE, SIZE) * depth[..., None])
        for patch in range((SIZE // PATCH) ** 2):
            row, column = (PATCH * index + PATCH // 2 for index in divmod(patch, SIZE // PATCH))
            point = points[row, column]
            (u, v), z = project(transform_points(invert_rigid(poses[other]), point), K)
            inside = 0 <= u < SIZE and 0 <= v < SIZE and z > 0
            expected = (other, int(v // PATCH) * (SIZE // PATCH) + int(u // PATCH)) if inside else None
            on_wall = abs(point[1] - WALL) < 1e-6
            if not inside or (on_wall and bool(is_occluded(poses[other][:3, 3], point))):
                assert (view, patch) not in found
                hidden += inside
            else:
                around = poses[other][:3, 3], point + np.array([[0.2, 0, 0], [-0.2, 0, 0], [0, 0, 0.2], [0, 0, -0.2]])
                if on_wall and is_occluded(*around).any():
                    continue  # at the screen's edge either result is right
                if (
                    not on_wall
                    and (np.abs(point[[0, 2]] - LOW) < 0.15).any() | (np.abs(point[[0, 2]] - HIGH) < 0.15).any()
                ):
                    continue
                assert found[view, patch] == expected
                visible += 1
    assert hidden >= 2, "the screen occludes some points"
    assert visible >= 8


def test_views_without_overlap_share_no_points() -> None:
    ahead = poses_at((0.0, 0.0, 0.0))[0]
    away = look_at(np.zeros(3), np.array([0.0, -3.0, 0.0]))
    beside = look_at(np.array([9.0, 0.0, 0.0]), np.array([9.0, WALL, 0.0]))
    depth = torch.tensor(render_depth(ahead)).expand(1, 3, -1, -1)
    poses = torch.tensor(np.stack([ahead, away, beside]))[None]
    assert len(shared_points(depth, poses, torch.full((1, 3), FOCAL), PATCH)) == 0
    assert len(shared_points(depth[:, :1], poses[:, :1], torch.full((1, 1), FOCAL), PATCH)) == 0, "a single view"


def test_points_of_unknown_depth_are_not_shared() -> None:
    poses = poses_at((-0.3, 0.0, 0.0), (0.3, 0.0, 0.0))
    depth = np.stack([render_depth(pose) for pose in poses])
    depth[1] = 0
    arguments = torch.tensor(depth)[None], torch.tensor(np.stack(poses))[None], torch.full((1, 2), FOCAL), PATCH
    assert len(shared_points(*arguments)) == 0


@pytest.fixture(scope="module")
def room() -> tuple[Batch, np.ndarray]:
    targets = scene_targets(open_scene("rooms:test/3"), 126, CATEGORIES, list(COLOURS))
    config = DollhouseConfig(num_objects=16, labels=CATEGORIES, colours=list(COLOURS), pad_token_id=0)
    assert targets.instances is not None
    return collate_batch([targets], [[]], config), targets.instances.astype(int)


def reference_pairs(batch: Batch) -> set[tuple[int, ...]]:
    """Return the shared points by loops over patches and views, in NumPy."""
    depth, poses = batch.depth[0].double().numpy(), batch.level_from_camera[0].double().numpy()
    found = set()
    views, size, _ = depth.shape
    side = size // PATCH
    for view in range(views):
        for patch in range(side * side):
            row, column = (PATCH * index + PATCH // 2 for index in divmod(patch, side))
            own = depth[view, row, column]
            pinhole = np.array([[float(batch.focal[0, view]) * size, 0, size / 2], [0, 0, size / 2], [0, 0, 1]])
            pinhole[1, 1] = pinhole[0, 0]
            for other in range(views):
                if view == other or own <= 0:
                    continue
                point = transform_points(poses[view], camera_rays(pinhole, size, size)[row, column] * own)
                pinhole_2 = np.array([[float(batch.focal[0, other]) * size, 0, size / 2], [0, 0, size / 2], [0, 0, 1]])
                pinhole_2[1, 1] = pinhole_2[0, 0]
                (u, v), z = project(transform_points(invert_rigid(poses[other]), point), pinhole_2)
                if z <= 0.05 or not (0 <= u < size and 0 <= v < size):
                    continue
                x, y = np.clip([u - 0.5, v - 0.5], 0, size - 1)
                left, top = int(x), int(y)
                right, bottom = min(left + 1, size - 1), min(top + 1, size - 1)
                near = np.array([depth[other, top, left], depth[other, top, right]])
                near = np.concatenate([near, [depth[other, bottom, left], depth[other, bottom, right]]])
                if (near <= 0).any() or (np.abs(near - z) >= EDGE * z).any():
                    continue
                a, b = x - left, y - top
                weight = np.array([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b])
                if abs(1 / (weight / near).sum() - z) < TOLERANCE * z:
                    found.add((0, view, patch, other, int(v // PATCH) * side + int(u // PATCH)))
    return found


def test_shared_points_of_a_room_match_the_reference(room: tuple[Batch, np.ndarray]) -> None:
    batch, instances = room
    shared = shared_points(batch.depth, batch.level_from_camera, batch.focal, PATCH)
    expected = reference_pairs(batch)
    assert len(expected) > 100
    assert len(pairs(shared) ^ expected) <= 2, "except points on a threshold"
    size = batch.depth.shape[-1]
    first, second = ((uv * size).long().numpy() for uv in (shared.uv, shared.other_uv))
    same = instances[shared.view, first[:, 1], first[:, 0]] == instances[shared.other, second[:, 1], second[:, 0]]
    assert same.mean() > 0.95, "both views show the same object at the point"


def test_back_projections_of_both_views_agree(room: tuple[Batch, np.ndarray]) -> None:
    batch, _ = room
    depth = torch.where(batch.depth > 0, batch.depth, torch.full_like(batch.depth, 3.0))
    shared = shared_points(batch.depth, batch.level_from_camera, batch.focal, PATCH)
    ends = (shared.view, shared.uv), (shared.other, shared.other_uv)
    points = [points_at(depth, batch.level_from_camera, batch.focal, shared.scene, *end) for end in ends]
    assert float((points[0] - points[1]).norm(dim=-1).quantile(0.9)) < 0.1
    moved = batch.level_from_camera.clone()
    moved[:, 1, 0, 3] += 0.5
    points = [points_at(depth, moved, batch.focal, shared.scene, *end) for end in ends]
    of_it = (shared.view == 1) | (shared.other == 1)
    assert float((points[0] - points[1]).norm(dim=-1)[of_it].median()) > 0.3


def test_predicted_geometry_replaces_missing_geometry(room: tuple[Batch, np.ndarray]) -> None:
    batch, _ = room
    own = Cameras(batch.up, torch.zeros_like(batch.up[..., :2]), torch.zeros_like(batch.up), batch.focal)
    own.heading[..., 0] = 1.0
    log_depth = torch.full_like(batch.depth, 0.7, requires_grad=True)
    perception: Any = SimpleNamespace(log_depth=log_depth, cameras=own)
    true = shared_in(batch, perception, PATCH)
    assert pairs(true) == pairs(shared_points(batch.depth, batch.level_from_camera, batch.focal, PATCH))
    unposed = Batch(**{**vars(batch), "posed": torch.tensor([False])})
    guessed = shared_in(unposed, perception, PATCH)
    expected = shared_points(log_depth.detach().exp(), own.level_from_camera, batch.focal, PATCH)
    assert pairs(guessed) == pairs(expected) != pairs(true)
    assert all(not value.requires_grad for value in vars(guessed).values() if isinstance(value, Tensor))
