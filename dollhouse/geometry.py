"""Cameras, rigid transforms, yawed boxes and back-projection, as pure functions on NumPy arrays.

Conventions of the whole package (docs/conventions.md):

- A transform ``a_from_b`` is a 4x4 matrix that maps points of frame b to frame a.
- Camera frames: x right, y down, z forward (OpenCV). Depth is z-depth.
- World: right-handed, z up, metres.
- Intrinsics are 3x3 in pixels; the centre of the top left pixel is at (0.5, 0.5).
- Box axes: x to the front (length), y to the left (width), z up (height); yaw is the angle from the world's x axis to
  the box's x axis, counter-clockwise from above.
- The *level frame* of a camera: origin at the camera, z up, y along the camera's horizontal heading, x right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def intrinsics_from_fov(horizontal_fov: float, width: int, height: int) -> Array:
    """Build pinhole intrinsics (3, 3) from a horizontal field of view in radians, principal point in the middle."""
    focal = 0.5 * width / np.tan(0.5 * horizontal_fov)
    return np.array([[focal, 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]])


def resize_intrinsics(intrinsics: Array, scale_x: float, scale_y: float, left: float = 0.0, top: float = 0.0) -> Array:
    """Adapt intrinsics to an image scaled by (``scale_x``, ``scale_y``), then cropped at (``left``, ``top``)."""
    resized = np.array(intrinsics, dtype=np.float64)[:3, :3].copy()
    resized[0] *= scale_x
    resized[1] *= scale_y
    resized[0, 2] -= left
    resized[1, 2] -= top
    return resized


def is_rigid(transform: Array, tolerance: float = 1e-2) -> bool:
    """Return whether a 4x4 matrix is finite and a rotation with a translation (no scale, no mirror)."""
    transform = np.asarray(transform, dtype=np.float64)
    return transform.shape == (4, 4) and bool(are_rigid(transform, tolerance))


def are_rigid(transforms: Array, tolerance: float = 1e-2) -> NDArray[np.bool_]:
    """Return which matrices (..., 4, 4) are rigid as :func:`is_rigid` defines it."""
    finite = np.asarray(np.isfinite(transforms).all((-1, -2)))
    rotation = np.where(finite[..., None, None], transforms[..., :3, :3], 0.0)
    orthogonal = np.abs(rotation @ np.swapaxes(rotation, -1, -2) - np.eye(3)).max((-1, -2)) < tolerance
    last_row = np.abs(transforms[..., 3, :] - [0, 0, 0, 1]).max(-1) < tolerance
    return np.asarray(finite & orthogonal & (np.linalg.det(rotation) > 0) & last_row)


def invert_rigid(transform: Array) -> Array:
    """Invert a rigid transform (..., 4, 4)."""
    rotation = np.swapaxes(transform[..., :3, :3], -1, -2)
    inverse = np.zeros_like(transform)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3] = -np.einsum("...ij,...j->...i", rotation, transform[..., :3, 3])
    inverse[..., 3, 3] = 1.0
    return inverse


def transform_points(a_from_b: Array, points: Array) -> Array:
    """Map points (..., 3) from frame b to frame a."""
    return points @ a_from_b[:3, :3].T + a_from_b[:3, 3]


def look_at(eye: Array, target: Array) -> Array:
    """Build ``world_from_camera`` (4, 4) of a camera at ``eye`` directed at ``target`` without roll.

    Raises ValueError where the direction is vertical, so the heading is undefined.
    """
    forward = np.asarray(target, dtype=np.float64) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    if np.linalg.norm(right) < 1e-9:
        raise ValueError("a camera directed straight up or down has no heading")
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = eye
    return pose


def level_from_world(world_from_camera: Array) -> Array:
    """Compute ``level_from_world`` (4, 4): origin at the camera, z up, y along its heading, x right."""
    heading = np.array(world_from_camera[:3, 2])
    heading[2] = 0.0
    if np.linalg.norm(heading) < 1e-6:  # straight up or down: the top of the image gives the heading
        heading = np.array(world_from_camera[:3, 1]) * np.sign(world_from_camera[2, 2])
        heading[2] = 0.0
    forward = heading / np.linalg.norm(heading)
    up = np.array([0.0, 0.0, 1.0])
    world_from_level = np.eye(4)
    world_from_level[:3, :3] = np.stack([np.cross(forward, up), forward, up], axis=1)
    world_from_level[:3, 3] = world_from_camera[:3, 3]
    return invert_rigid(world_from_level)


def camera_rays(intrinsics: Array, width: int, height: int) -> Array:
    """Compute camera-frame directions (H, W, 3) through pixel centres, with z = 1."""
    u = (np.arange(width) + 0.5 - intrinsics[0, 2]) / intrinsics[0, 0]
    v = (np.arange(height) + 0.5 - intrinsics[1, 2]) / intrinsics[1, 1]
    rays = np.ones((height, width, 3))
    rays[..., 0] = u
    rays[..., 1] = v[:, None]
    return rays


def back_project(depth: Array, intrinsics: Array) -> Array:
    """Compute camera-frame points (H, W, 3) of a z-depth map (H, W)."""
    return camera_rays(intrinsics, depth.shape[1], depth.shape[0]) * depth[..., None]


def project(points: Array, intrinsics: Array) -> tuple[Array, Array]:
    """Project camera-frame points (..., 3) to pixels (..., 2) and z-depths (...); z <= 0 is behind the camera."""
    z = points[..., 2]
    safe = np.where(np.abs(z) < 1e-9, 1e-9, z)
    focal, principal_point = intrinsics[[0, 1], [0, 1]], intrinsics[:2, 2]
    return points[..., :2] / safe[..., None] * focal + principal_point, z


def box_corners(center: Array, size: Array, yaw: float) -> Array:
    """Compute the corners (8, 3) of a yawed box: bottom four, then top four, counter-clockwise from above."""
    half = 0.5 * np.asarray(size, dtype=np.float64)
    plan = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * half[:2]
    cos, sin = np.cos(yaw), np.sin(yaw)
    plan = plan @ np.array([[cos, sin], [-sin, cos]])
    low = np.column_stack([plan, np.full(4, -half[2])])
    high = np.column_stack([plan, np.full(4, half[2])])
    return np.concatenate([low, high]) + center


def inside_box(points: Array, center: Array, size: Array, yaw: float, margin: float = 0.0) -> NDArray[np.bool_]:
    """Return which points (..., 3) lie in a yawed box grown by ``margin`` metres on every side."""
    x, y, z = (points[..., axis] - center[axis] for axis in range(3))
    cos, sin = np.cos(yaw), np.sin(yaw)
    length, width, height = 0.5 * np.asarray(size) + margin
    inside: NDArray[np.bool_] = np.abs(z) <= height
    inside &= np.abs(x * cos + y * sin) <= length
    inside &= np.abs(y * cos - x * sin) <= width
    return inside
