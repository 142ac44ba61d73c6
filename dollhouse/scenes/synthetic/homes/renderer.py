"""Renderer of a home's photos: textured surfaces in the light of lamps and windows, with reflections and mirrors.

Light is computed on every other pixel with few random rays, smoothed along surfaces, and interpolated to rays through
pixel centres and corners, whose mean is the pixel's colour. Depth and instances are those of pixel centres.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array, camera_rays
from dollhouse.scenes.synthetic.homes.layout import Home, HomeMesh
from dollhouse.scenes.synthetic.homes.lights import sample_lights
from dollhouse.scenes.synthetic.homes.palette import CLEAR, MIRROR, PANE, Palette
from dollhouse.scenes.synthetic.homes.photo_effects import apply_effects, sample_effects
from dollhouse.scenes.synthetic.homes.textures import Floats, Generator
from dollhouse.scenes.synthetic.raycast import Caster, Hits, corner_normals

_GATHERED: Final = 3  #: rays of each point that collect the light of other surfaces
_PERIOD: Final = 4  #: points after which the directions of these rays repeat
_OFFSET: Final = np.float32(0.003)
_SMOOTHED: Final = (1, 2)  #: distances, in points, over which light is averaged: they cancel differences of _PERIOD


class HomeRenderer:
    """Renders views of one home; a pure function of its description and mesh."""

    def __init__(self, home: Home, mesh: HomeMesh, caster: Caster | None = None) -> None:
        """Prepare to render; ``caster`` is that of the mesh's triangles, where there is one already."""
        self.home, self.mesh = home, mesh
        self.caster = caster or Caster(mesh.triangles)
        self._normals = corner_normals(mesh.triangles, mesh.instances)
        rng = np.random.default_rng([home.appearance_seed, 0])
        self.palette = Palette(home, mesh, rng)
        self.lights = sample_lights(home, mesh, rng)

    def photo(self, index: int, width: int, height: int) -> NDArray[np.uint8]:
        """Render the photo (height, width, 3) of camera ``index``, with a phone's effects."""
        camera = self.home.cameras[index]
        radiance = self.radiance(camera.world_from_camera, camera.intrinsics(width, height), width, height, index)
        rng = np.random.default_rng([self.home.appearance_seed, 2, index])
        return apply_effects(radiance, sample_effects(rng), rng)

    def radiance(self, world_from_camera: Array, intrinsics: Array, width: int, height: int, seed: int = 0) -> Floats:
        """Render linear radiance (height, width, 3)."""
        rng = np.random.default_rng([self.home.appearance_seed, 1, seed])
        middle = camera_rays(intrinsics, width, height).reshape(-1, 3)
        shifted = intrinsics + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        corner = camera_rays(shifted, width + 1, height + 1).reshape(-1, 3)
        rotation, eye = world_from_camera[:3, :3].T, world_from_camera[:3, 3].astype(np.float32)
        rays = (np.concatenate([middle, corner]) @ rotation).astype(np.float32)
        origins = np.broadcast_to(eye, rays.shape).copy()
        hits = self.caster.first_hit(origins, rays)
        points = origins + rays * hits.distance[:, None]
        normals = self._normals_at(hits, rays)
        pixel = np.float32(1 / intrinsics[0, 0])

        grid = np.arange(width * height).reshape(height, width)[1::2, 1::2]
        chosen = grid.ravel()
        around = _directions(grid.shape)
        light = self._light(points[chosen], normals[chosen], hits.triangle[chosen], rays[chosen], around, rng)
        light = _smooth(light.reshape(*grid.shape, 6), points[chosen], normals[chosen], grid.shape)
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        cx, cy = np.meshgrid(np.arange(width + 1) - np.float32(0.5), np.arange(height + 1) - np.float32(0.5))
        x, y = np.concatenate([x.ravel(), cx.ravel()]), np.concatenate([y.ravel(), cy.ravel()])
        light = _interpolate(light, points, normals, hits.distance, points[chosen], normals[chosen], x, y, grid.shape)

        slant = np.abs(np.einsum("ij,ij->i", normals, rays)) / np.linalg.norm(rays, axis=1)
        footprint = pixel * hits.distance / np.sqrt(np.maximum(slant, 0.05))
        colour = self._colour(hits, rays, footprint, light, textured=True)
        self._reflect_and_pass(colour, hits, points, normals, rays, footprint)
        return _pixels(colour, width, height)

    def _normals_at(self, hits: Hits, rays: Floats) -> Floats:
        """Interpolate unit normals (N, 3) that face where the rays come from."""
        corners = self._normals.take(hits.triangle, axis=0)
        a = (1 - hits.b - hits.c)[:, None]
        normal = corners[:, 0] * a + corners[:, 1] * hits.b[:, None] + corners[:, 2] * hits.c[:, None]
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + np.float32(1e-9)
        return np.where(np.einsum("ij,ij->i", normal, rays)[:, None] > 0, -normal, normal)

    def _light(
        self, points: Floats, normals: Floats, triangle: NDArray[np.int32], rays: Floats, around: Floats, rng: Generator
    ) -> Floats:
        """Compute light (N, 3) and reflected radiance (N, 3) at points, noisy: (N, 6).

        ``around`` (N, K, 3) are unit vectors.
        """
        light = self.lights.direct(points, normals, self.caster, rng)
        # Spread by the cosine to the normal. Neighbouring points have directions that complete each other's.
        towards = (normals[:, None] + np.float32(0.98) * around).reshape(-1, 3)
        gathered = self._incoming(np.repeat(points + normals * _OFFSET, _GATHERED, axis=0), towards, textured=False)
        light += np.minimum(gathered, 2).reshape(-1, _GATHERED, 3).mean(1)
        mirrored = np.zeros_like(light)
        share = self.palette.reflects[self.mesh.surface_ids[triangle]]
        shiny = np.flatnonzero((share > 0) & (triangle >= 0))
        if len(shiny):
            ray, normal = rays[shiny] / np.linalg.norm(rays[shiny], axis=1, keepdims=True), normals[shiny]
            cosine = -np.einsum("ij,ij->i", ray, normal)
            towards = ray + 2 * cosine[:, None] * normal
            towards += np.float32(0.04) * rng.standard_normal(towards.shape, dtype=np.float32)
            fresnel = share[shiny] + (1 - share[shiny]) * (1 - np.clip(cosine, 0, 1)) ** 5 * np.minimum(
                6 * share[shiny], 1
            )
            seen = self._incoming(points[shiny] + normal * _OFFSET, towards, textured=True)
            mirrored[shiny] = fresnel[:, None] * np.minimum(seen, 6)
        return np.concatenate([light, mirrored], 1)

    def _incoming(self, origins: Floats, directions: Floats, textured: bool) -> Floats:
        """Compute the radiance (N, 3) that arrives from directions, without shadows where ``textured`` is False."""
        hits = self.caster.first_hit(origins, directions)
        points = origins + directions * hits.distance[:, None]
        normals = self._normals_at(hits, directions)
        light = self.lights.direct(points, normals, self.caster if textured else None, None)
        light *= np.float32(1.0 if textured else 0.75)
        light += self.lights.mean
        return self._colour(hits, directions, hits.distance * np.float32(0.01 if textured else 1), light, textured)

    def _colour(self, hits: Hits, rays: Floats, footprint: Floats, light: Floats, textured: bool) -> Floats:
        """Compute the radiance of what rays hit, given its light (N, 3), or light and reflection (N, 6)."""
        palette, surface = self.palette, self.mesh.surface_ids.take(hits.triangle)
        if textured:
            albedo = palette.albedo(hits.triangle, hits.b, hits.c, footprint)
        else:
            albedo = palette.mean.take(surface, axis=0)
        colour = albedo * light[:, :3]
        if light.shape[1] == 6:
            colour += light[:, 3:]
        if not textured:  # the light of lamps and windows is added where it falls
            return np.where((palette.emits.take(surface) | (hits.triangle < 0))[:, None], 0, colour)
        glow = palette.glow.take(surface, axis=0)
        if (shining := np.flatnonzero(glow[:, 0] > 0)).size:
            colour[shining] += (
                glow[shining]
                * (albedo[shining] / palette.mean[surface[shining]].max(1, keepdims=True))
                * self.lights.lamp_glow
            )
        outside = np.flatnonzero((palette.behaviour.take(surface) == PANE) | (hits.triangle < 0))
        if len(outside):
            colour[outside] = self.lights.outside(rays[outside])
            if light.shape[1] == 6:
                colour[outside] += light[outside, 3:]
        return colour

    def _reflect_and_pass(
        self, colour: Floats, hits: Hits, points: Floats, normals: Floats, rays: Floats, footprint: Floats
    ) -> None:
        """Replace the colour of mirrors by what they reflect, and mix that of glass with what lies behind."""
        surface = self.mesh.surface_ids.take(hits.triangle)
        behaviour = np.where(hits.triangle >= 0, self.palette.behaviour.take(surface), 0)
        mirrors = np.flatnonzero(behaviour == MIRROR)
        if len(mirrors):
            ray, normal = rays[mirrors], normals[mirrors]
            towards = ray - 2 * np.einsum("ij,ij->i", ray, normal)[:, None] * normal
            tint = self.palette.mean[surface[mirrors]]
            colour[mirrors] = tint * self._incoming(points[mirrors] + normal * _OFFSET, towards, textured=True)
        glass = np.flatnonzero(behaviour == CLEAR)
        if len(glass):
            ray = rays[glass]
            behind = self._incoming(points[glass] - normals[glass] * _OFFSET, ray, textured=True)
            opacity = self.palette.opacity[surface[glass]][:, None]
            colour[glass] = opacity * colour[glass] + (1 - opacity) * behind


def _directions(shape: tuple[int, ...]) -> Floats:
    """Return unit vectors (N, _GATHERED, 3) for a grid of points: an even spread, shared by neighbours."""
    count = _PERIOD * _PERIOD * _GATHERED
    number = np.arange(count) + 0.5
    z, turn = 1 - 2 * number / count, np.pi * (1 + 5**0.5) * number
    ring = np.sqrt(1 - z * z)
    spread = np.stack([ring * np.cos(turn), ring * np.sin(turn), z], 1).astype(np.float32)
    order = np.random.default_rng(0).permutation(_PERIOD * _PERIOD).reshape(_PERIOD, _PERIOD)
    y, x = np.mgrid[: shape[0], : shape[1]] % _PERIOD
    return spread.reshape(_GATHERED, -1, 3)[:, order[y, x].ravel()].swapaxes(0, 1)


def _smooth(light: Floats, points: Floats, normals: Floats, shape: tuple[int, ...]) -> Floats:
    """Average light (h, w, C) with neighbours on the same surface."""
    points, normals = points.reshape(*shape, 3), normals.reshape(*shape, 3)
    for step in _SMOOTHED:
        total, weights = 4 * light, np.full((*shape, 1), 4, np.float32)
        for dy, dx, share in ((0, 1, 2), (1, 0, 2), (1, 1, 1), (1, -1, 1)):
            here = (slice(0, shape[0] - step * dy), slice(max(0, -step * dx), shape[1] - max(0, step * dx)))
            there = (slice(step * dy, None), slice(max(0, step * dx), shape[1] - max(0, -step * dx)))
            between = points[there] - points[here]
            off = np.abs(np.einsum("ijk,ijk->ij", between, normals[here]))
            near = off * off < 0.01 * np.einsum("ijk,ijk->ij", between, between) + 1e-5
            same = near & (np.einsum("ijk,ijk->ij", normals[here], normals[there]) > 0.9)
            weight = np.float32(share) * same[..., None]
            total[here] += weight * light[there]
            total[there] += weight * light[here]
            weights[here] += weight
            weights[there] += weight
        light = total / weights
    return light


def _interpolate(
    light: Floats, points: Floats, normals: Floats, distance: Floats, at: Floats, facing: Floats, x: Floats, y: Floats,
    shape: tuple[int, ...],
) -> Floats:  # fmt: skip
    """Interpolate light (h, w, C) at ``at``, ``facing`` to points (N, 3) at pixels x, y, along their surfaces."""
    rows, columns = shape
    fy, fx = np.clip((y - 1) / 2, 0, rows - 1), np.clip((x - 1) / 2, 0, columns - 1)
    y0, x0 = np.minimum(fy.astype(np.int32), rows - 2), np.minimum(fx.astype(np.int32), columns - 2)
    ay, ax = fy - y0, fx - x0
    flat = light.reshape(-1, light.shape[-1])
    total = np.zeros((len(points), light.shape[-1]), np.float32)
    weights = np.zeros(len(points), np.float32)
    scale = (np.float32(0.02) * distance + np.float32(1e-3)) ** 2
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        index = (y0 + dy) * columns + x0 + dx
        between = at.take(index, axis=0) - points
        off = np.einsum("ij,ij->i", between, normals)
        angle = np.einsum("ij,ij->i", facing.take(index, axis=0), normals)
        weight = (ay if dy else 1 - ay) * (ax if dx else 1 - ax) + np.float32(1e-3)
        weight *= np.maximum(angle, np.float32(0.02)) ** 4 * (scale / (scale + off * off)) ** 2
        weight += np.float32(1e-9)
        total += weight[:, None] * flat.take(index, axis=0)
        weights += weight
    return total / weights[:, None]


def _pixels(colour: Floats, width: int, height: int) -> Floats:
    """Average each pixel's centre with its four corners."""
    colour = np.minimum(colour, np.float32(12))
    middle = colour[: width * height].reshape(height, width, 3)
    corner = colour[width * height :].reshape(height + 1, width + 1, 3)
    return 0.6 * middle + 0.1 * (corner[:-1, :-1] + corner[:-1, 1:] + corner[1:, :-1] + corner[1:, 1:])
