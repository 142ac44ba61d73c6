"""Cameras, rigid transforms, yawed boxes and back-projection, as pure functions on NumPy arrays.

Knows nothing of scenes, files or models. Conventions (the whole package follows them):

- A transform named ``a_from_b`` is a 4x4 matrix that takes points of frame b to frame a.
- Cameras: x right, y down, z forward (OpenCV). Depth is z-depth.
- World: right-handed, z up, metres.
- Intrinsics are 3x3 in pixels; the centre of the top left pixel is at (0.5, 0.5).
- A box's own axes: x to its front (its length), y to its left (its width), z up (its height);
  yaw is the angle from the world's x axis to the box's x axis, counter-clockwise seen from above.
- The *level frame* of a camera has its origin at the camera, z up against gravity, y along the
  camera's heading on the ground, x to the right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def intrinsics_from_fov(horizontal_fov: float, width: int, height: int) -> Array:
    """Pinhole intrinsics (3, 3) with square pixels and the principal point in the middle.

    ``horizontal_fov`` is in radians; ``width`` and ``height`` in pixels.
    """
    focal = 0.5 * width / np.tan(0.5 * horizontal_fov)
    return np.array([[focal, 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]])


def resize_intrinsics(intrinsics: Array, scale_x: float, scale_y: float, left: float = 0.0, top: float = 0.0) -> Array:
    """Intrinsics after an image was scaled by (``scale_x``, ``scale_y``) and then cropped from (``left``, ``top``)."""
    resized = np.array(intrinsics, dtype=np.float64)[:3, :3].copy()
    resized[0] *= scale_x
    resized[1] *= scale_y
    resized[0, 2] -= left
    resized[1, 2] -= top
    return resized


def is_rigid(transform: Array, tolerance: float = 1e-2) -> bool:
    """Whether a 4x4 matrix is finite and a rotation with a translation (no scale, no mirror)."""
    transform = np.asarray(transform, dtype=np.float64)
    if transform.shape != (4, 4) or not np.isfinite(transform).all():
        return False
    rotation = transform[:3, :3]
    orthogonal = np.abs(rotation @ rotation.T - np.eye(3)).max() < tolerance
    return bool(orthogonal and np.linalg.det(rotation) > 0 and np.abs(transform[3] - [0, 0, 0, 1]).max() < tolerance)


def invert_rigid(transform: Array) -> Array:
    """The inverse of a rigid 4x4 transform (or a stack of them, (..., 4, 4))."""
    rotation = np.swapaxes(transform[..., :3, :3], -1, -2)
    inverse = np.zeros_like(transform)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3] = -np.einsum("...ij,...j->...i", rotation, transform[..., :3, 3])
    inverse[..., 3, 3] = 1.0
    return inverse


def transform_points(a_from_b: Array, points: Array) -> Array:
    """Points (..., 3) of frame b in frame a."""
    return points @ a_from_b[:3, :3].T + a_from_b[:3, 3]


def look_at(eye: Array, target: Array) -> Array:
    """``world_from_camera`` (4, 4) of a camera at ``eye`` that looks at ``target`` without roll.

    Raises ValueError where the two are on one vertical line, since the heading is then undefined.
    """
    forward = np.asarray(target, dtype=np.float64) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    if np.linalg.norm(right) < 1e-9:
        raise ValueError("a camera that looks straight up or down has no heading")
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = eye
    return pose


def level_from_world(world_from_camera: Array) -> Array:
    """The camera's level frame: origin at the camera, z up, y along its heading, x right."""
    heading = np.array(world_from_camera[:3, 2])
    heading[2] = 0.0
    if np.linalg.norm(heading) < 1e-6:  # straight up or down: the top of the image tells the heading
        heading = np.array(world_from_camera[:3, 1]) * np.sign(world_from_camera[2, 2])
        heading[2] = 0.0
    forward = heading / np.linalg.norm(heading)
    up = np.array([0.0, 0.0, 1.0])
    world_from_level = np.eye(4)
    world_from_level[:3, :3] = np.stack([np.cross(forward, up), forward, up], axis=1)
    world_from_level[:3, 3] = world_from_camera[:3, 3]
    return invert_rigid(world_from_level)


def camera_rays(intrinsics: Array, width: int, height: int) -> Array:
    """Directions (H, W, 3) through the pixel centres in the camera frame, with z = 1."""
    u = (np.arange(width) + 0.5 - intrinsics[0, 2]) / intrinsics[0, 0]
    v = (np.arange(height) + 0.5 - intrinsics[1, 2]) / intrinsics[1, 1]
    rays = np.ones((height, width, 3))
    rays[..., 0] = u
    rays[..., 1] = v[:, None]
    return rays


def back_project(depth: Array, intrinsics: Array) -> Array:
    """Camera-frame points (H, W, 3) of a z-depth map (H, W) in metres."""
    return camera_rays(intrinsics, depth.shape[1], depth.shape[0]) * depth[..., None]


def project(points: Array, intrinsics: Array) -> tuple[Array, Array]:
    """Pixel positions (..., 2) and z-depths (...) of camera-frame points (..., 3); z <= 0 is behind the camera."""
    z = points[..., 2]
    safe = np.where(np.abs(z) < 1e-9, 1e-9, z)
    pixels = points[..., :2] / safe[..., None] * [intrinsics[0, 0], intrinsics[1, 1]] + [
        intrinsics[0, 2],
        intrinsics[1, 2],
    ]
    return pixels, z


def box_corners(center: Array, size: Array, yaw: float) -> Array:
    """The eight corners (8, 3) of a yawed box, bottom four first, each four counter-clockwise from above."""
    half = 0.5 * np.asarray(size, dtype=np.float64)
    plan = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * half[:2]
    cos, sin = np.cos(yaw), np.sin(yaw)
    plan = plan @ np.array([[cos, sin], [-sin, cos]])
    low = np.column_stack([plan, np.full(4, -half[2])])
    high = np.column_stack([plan, np.full(4, half[2])])
    return np.concatenate([low, high]) + center


def inside_box(points: Array, center: Array, size: Array, yaw: float, margin: float = 0.0) -> NDArray[np.bool_]:
    """Which points (..., 3) lie in a yawed box grown by ``margin`` metres on every side."""
    offset = points - center
    cos, sin = np.cos(yaw), np.sin(yaw)
    own = np.stack(
        [offset[..., 0] * cos + offset[..., 1] * sin, offset[..., 1] * cos - offset[..., 0] * sin, offset[..., 2]], -1
    )
    return (np.abs(own) <= 0.5 * np.asarray(size) + margin).all(-1)


def wrap_angle(angle: float) -> float:
    """An angle in radians brought into [-pi, pi)."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
