"""Ray casting with Embree: colour, exact z-depth and instance ids of coloured triangles for posed cameras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array, camera_rays
from dollhouse.scenes.synthetic.materials import Floats, Lighting, Material
from dollhouse.scenes.synthetic.raycast import Caster

OBJECT: Final = 0
FLOOR: Final = 1
WALL: Final = 2

_FROM_ABOVE: Final = np.float32(0.14)
_FALLOFF: Final = np.float32(0.05)  # of the lamp, per square metre


@dataclass(frozen=True, eq=False)
class Meshes:
    """Triangles of a scene in world coordinates, metres; counter-clockwise from the lit side."""

    triangles: NDArray[np.float32]  #: (T, 3, 3)
    rgb: NDArray[np.float32]  #: (T, 3) in [0, 1]; ignored on floor and walls, which have a material
    instances: NDArray[np.int32]  #: (T,) box id, 0 for the room's shell
    kinds: NDArray[np.uint8]  #: (T,) OBJECT, FLOOR or WALL
    floor: Material
    walls: Material


class Rendering(NamedTuple):
    """Images of V views."""

    images: NDArray[np.uint8]  #: (V, H, W, 3)
    depths: NDArray[np.float32]  #: (V, H, W) z-depth through pixel centres, metres, 0 where nothing was hit
    instances: NDArray[np.int32]  #: (V, H, W) through pixel centres


def render(
    meshes: Meshes, lighting: Lighting, world_from_camera: Array, intrinsics: Array, width: int, height: int
) -> Rendering:
    """Render V views with one ray per pixel, for cameras that share ``intrinsics`` (3, 3).

    ``world_from_camera`` is (V, 4, 4). Colour, depth and instances are those of pixel centres.
    """
    caster = _MeshCaster(meshes)
    poses = np.asarray(world_from_camera, dtype=np.float64)
    shape = (len(poses), height, width)
    # The z of a direction in the camera frame is 1, so the ray parameter is z-depth.
    rays = camera_rays(intrinsics, width, height).reshape(-1, 3)
    directions = (rays @ poses[:, :3, :3].transpose(0, 2, 1)).reshape(-1, 3).astype(np.float32)
    origins = np.repeat(poses[:, :3, 3].astype(np.float32), len(rays), axis=0)
    triangle, depth, _, _ = caster.first_hit(origins, directions)
    depths = depth.reshape(shape)
    instances = np.where(triangle >= 0, meshes.instances[triangle], 0).astype(np.int32).reshape(shape)
    colour = _shade(caster, lighting, origins, directions, triangle, depth)
    images = (np.clip(colour, 0.0, 1.0) * np.float32(255.0) + np.float32(0.5)).astype(np.uint8)
    return Rendering(images.reshape(*shape, 3), depths, instances)


class _MeshCaster(Caster):
    """Caster of the triangles, with their normals."""

    def __init__(self, meshes: Meshes) -> None:
        super().__init__(meshes.triangles)
        self.meshes = meshes
        corner = meshes.triangles
        normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        self.normals: Floats = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), np.float32(1e-12))

    def lit(self, points: Floats, lamp: Floats) -> NDArray[np.bool_]:
        """Return whether the lamp (3,) is unoccluded from points (N, 3)."""
        # From the lamp outwards; the last millimetres are left out, so that a surface does not shadow itself.
        origins = np.empty_like(points)
        origins[:] = lamp
        return self.is_free(origins, points - lamp, np.full(len(points), 0.998, dtype=np.float32))


def _shade(
    caster: _MeshCaster,
    lighting: Lighting,
    origins: Floats,
    directions: Floats,
    triangle: NDArray[np.int32],
    depth: Floats,
) -> Floats:
    """Compute colours (N, 3), not clipped."""
    meshes, normals = caster.meshes, caster.normals
    points = directions * depth[:, None]
    points += origins
    albedo = meshes.rgb.take(triangle, axis=0)
    kinds = meshes.kinds.take(triangle)
    on_floor, on_wall = np.flatnonzero(kinds == FLOOR), np.flatnonzero(kinds == WALL)
    albedo[on_floor] = meshes.floor.colour(points[on_floor, 0], points[on_floor, 1])
    wall = points.take(on_wall, axis=0)
    runs_along_y = (np.abs(normals[:, 0]) > 0.5).take(triangle[on_wall])
    albedo[on_wall] = meshes.walls.colour(np.where(runs_along_y, wall[:, 1], wall[:, 0]), wall[:, 2])

    # Ambient light, a little stronger from above and from one side, so that the faces of an object differ.
    around = 1.0 + normals @ np.array([0.10, 0.06, 0.0], dtype=np.float32) + _FROM_ABOVE * np.maximum(normals[:, 2], 0)
    light = around.astype(np.float32).take(triangle)[:, None] * np.asarray(lighting.ambient_rgb, np.float32)
    # The lamp's height over a triangle's plane is the same for all its points; with the distance it gives the angle.
    lamp = np.asarray(lighting.lamp, dtype=np.float32)
    height = np.einsum("ij,ij->i", normals, lamp - meshes.triangles[:, 0]).take(triangle)
    turned = np.flatnonzero((height > 1e-4) & (triangle >= 0))
    reached = turned[caster.lit(points.take(turned, axis=0), lamp)]
    away = points.take(reached, axis=0) - lamp
    square = np.einsum("ij,ij->i", away, away)
    direct = height[reached] / (np.sqrt(square) * (1.0 + _FALLOFF * square))
    light[reached] += direct[:, None] * np.asarray(lighting.lamp_rgb, np.float32)
    light[triangle < 0] = 0.0
    albedo *= light
    return albedo
