"""Light of a home: lamps, windows with a bright outside, sun, and the mean light that surfaces exchange.

Light is the radiance that a white surface would have: irradiance over pi, linear, in units of an indoor mean near one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from dollhouse.scenes.synthetic.homes import textures
from dollhouse.scenes.synthetic.homes.layout import Home, HomeMesh, Opening
from dollhouse.scenes.synthetic.homes.textures import Floats, Generator
from dollhouse.scenes.synthetic.raycast import Caster

_MOST_LAMPS: Final = 3
_OFFSET: Final = np.float32(0.004)  #: metres between a surface and the rays that start from it


@dataclass(frozen=True, eq=False)
class Lamp:
    """A round lamp, hidden by nothing within ``reach`` of its centre (its own shade)."""

    centre: Floats  #: (3,) metres
    radius: float
    reach: float
    power: Floats  #: (3,) light on a surface that faces it from one metre

    def sample(self, count: int, rng: Generator) -> Floats:
        """Sample points (count, 3) of the lamp."""
        within: Floats = 2 * rng.random((count, 3), dtype=np.float32) - 1
        return self.centre + np.float32(self.radius) * within

    def strength(self, away: Floats, square: Floats) -> Floats:
        """Return the share (N,) of its power that arrives over vectors to it (N, 3) of squared lengths (N,)."""
        return np.float32(1) / (square + np.float32(0.03))


@dataclass(frozen=True, eq=False)
class Window:
    """A rectangle in a wall through which the outside gives light."""

    centre: Floats  #: (3,)
    along: Floats  #: (3,) half of its width
    upwards: Floats  #: (3,) half of its height
    inward: Floats  #: (3,) unit normal into the room
    power: Floats  #: (3,) radiance of the outside
    reach: float = 0.02

    def sample(self, count: int, rng: Generator) -> Floats:
        """Sample points (count, 3) of the window."""
        place = rng.uniform(-1, 1, (count, 2)).astype(np.float32)
        return self.centre + place[:, :1] * self.along + place[:, 1:] * self.upwards

    def strength(self, away: Floats, square: Floats) -> Floats:
        """Return the share (N,) of its power that arrives over vectors to it (N, 3) of squared lengths (N,)."""
        area = 4 * np.linalg.norm(self.along) * np.linalg.norm(self.upwards)
        facing = np.maximum(-(away @ self.inward), 0) / np.sqrt(square)
        return np.float32(area / np.pi) * facing / (square + np.float32(0.15 * area))


@dataclass(frozen=True, eq=False)
class Lights:
    """All light of a home."""

    lamps: tuple[Lamp, ...]
    windows: tuple[Window, ...]
    panorama: Floats  #: (h, w, 3) radiance of the outside: rows are elevations downwards, columns headings
    sun: Floats | None  #: (3,) unit vector to the sun
    sun_power: Floats  #: (3,)
    lamp_glow: Floats  #: (3,) radiance of lamp shades
    mean: Floats  #: (3,) light that reaches surfaces after several reflections

    def outside(self, directions: Floats) -> Floats:
        """Return the radiance (N, 3) of the outside in directions (N, 3)."""
        height, width = self.panorama.shape[:2]
        unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        row = (0.5 - np.arcsin(np.clip(unit[:, 2], -1, 1)) / np.pi) * np.float32(height - 1.001)
        column = (np.arctan2(unit[:, 1], unit[:, 0]) / (2 * np.pi) + 0.5) * np.float32(width - 1.001)
        top, left = row.astype(int), column.astype(int)
        down, right = (row - top)[:, None], (column - left)[:, None]
        upper, lower = (
            self.panorama[top + k, left] * (1 - right) + self.panorama[top + k, left + 1] * right for k in (0, 1)
        )
        return upper * (1 - down) + lower * down

    def direct(self, points: Floats, normals: Floats, caster: Caster | None, rng: Generator | None) -> Floats:
        """Compute the light (N, 3) of lamps, windows and sun at points with unit normals.

        With a caster, lights are tested for occlusion. With a generator, a random point of each lamp and window is
        taken for each point, else the middle.
        """
        light = np.zeros_like(points)
        start = points + normals * _OFFSET
        sources: tuple[Lamp | Window, ...] = (*self.lamps, *self.windows)
        for source in sources:
            away = (source.centre if rng is None else source.sample(len(points), rng)) - start
            square = np.einsum("ij,ij->i", away, away) + np.float32(1e-6)
            cosine = np.einsum("ij,ij->i", away, normals) / np.sqrt(square)
            power = np.maximum(cosine, 0) * source.strength(away, square)
            lit = np.flatnonzero(power > 1e-4)
            if caster is not None and len(lit):
                share = np.clip(1 - np.float32(source.reach) / np.sqrt(square[lit]), 0.02, 0.999)
                lit = lit[caster.is_free(start[lit], away[lit], share)]
            light[lit] += power[lit, None] * source.power
        if self.sun is not None and caster is not None:
            self._add_sun(light, start, normals, caster)
        return light

    def _add_sun(self, light: Floats, start: Floats, normals: Floats, caster: Caster) -> None:
        assert self.sun is not None
        cosine = normals @ self.sun
        for window in self.windows:
            towards = float(-self.sun @ window.inward)
            if towards < 0.05:
                continue
            distance = ((start - window.centre) @ window.inward) / np.float32(towards)
            place = start + distance[:, None] * self.sun - window.centre
            inside = (np.abs(place @ window.along) < window.along @ window.along) & (distance > 0) & (cosine > 0)
            inside &= np.abs(place @ window.upwards) < window.upwards @ window.upwards
            lit = np.flatnonzero(inside)
            if len(lit):
                rays = np.broadcast_to(self.sun, (len(lit), 3)).astype(np.float32)
                lit = lit[caster.is_free(start[lit], rays, np.maximum(distance[lit] - np.float32(0.05), 0.01))]
                light[lit] += cosine[lit, None] * self.sun_power


def sample_lights(home: Home, mesh: HomeMesh, rng: Generator) -> Lights:
    """Sample the light of a home: by day through windows, or of lamps, or of both."""
    openings = [opening for opening in home.openings if home.items[opening.item].label == "window"]
    day = bool(openings) and rng.random() < 0.75
    sky = np.float32(rng.uniform(2.5, 14.0) if day else 1.0) * _tinted(rng, 0.10, 0.10)
    windows = tuple(_window(home, opening, sky * np.float32(1.0 if day else 0.03)) for opening in openings)
    sun = _sun(windows, rng) if day and rng.random() < 0.35 else None
    lamps = _lamps(home, mesh, rng, day)
    shade = lamps[0].power / lamps[0].power.max() if lamps else np.full(3, 0.2, np.float32)
    lights = Lights(
        lamps,
        windows,
        (textures.outside(rng, not day).astype(np.float32) / 255) ** np.float32(2.2) * sky,
        sun,
        np.float32(rng.uniform(5, 14)) * np.array([1.0, 0.93, 0.8], np.float32),
        np.float32(rng.uniform(1.5, 4)) * shade,
        np.zeros(3, np.float32),
    )
    return replace(lights, mean=_mean_light(lights, mesh, rng))


def _mean_light(lights: Lights, mesh: HomeMesh, rng: Generator) -> Floats:
    """Estimate the light that has been reflected at least twice, from the direct light on random triangles."""
    corners = mesh.triangles
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    chosen = rng.choice(len(area), 400, p=area.astype(np.float64) / area.sum(dtype=np.float64))
    b, c = rng.random((2, 400, 1), dtype=np.float32) * np.float32(0.5)
    points = corners[chosen, 0] * (1 - b - c) + corners[chosen, 1] * b + corners[chosen, 2] * c
    normals = cross[chosen] / np.maximum(area[chosen, None], 1e-12)
    light = lights.direct(points, normals, None, None) + lights.direct(points, -normals, None, None)
    return (0.35 * light.mean(0) + 0.01).astype(np.float32)


def _window(home: Home, opening: Opening, sky: Floats) -> Window:
    a, b = np.array(home.outline[opening.wall]), np.array(home.outline[(opening.wall + 1) % len(home.outline)])
    along = (b - a) / np.linalg.norm(b - a)
    inward = np.array([-along[1], along[0], 0.0])
    middle = a + 0.5 * (opening.start + opening.end) * along
    centre = np.array([*middle, 0.5 * (opening.bottom + opening.top)]) + 0.06 * inward
    half = 0.5 * (opening.end - opening.start), 0.5 * (opening.top - opening.bottom)
    parts = np.stack([centre, half[0] * np.array([*along, 0.0]), np.array([0.0, 0.0, half[1]]), inward])
    middle, sideways, upwards, normal = parts.astype(np.float32)
    return Window(middle, sideways, upwards, normal, sky)


def _lamps(home: Home, mesh: HomeMesh, rng: Generator, day: bool) -> tuple[Lamp, ...]:
    """Light some of the lamps that stand or hang in the home, or one at the ceiling beyond the view."""
    glowing = np.array([surface.role == "lamp" for surface in mesh.surfaces])[mesh.surface_ids]
    colour = _tinted(rng, 0.0, 0.45)
    lamps = []
    for index, item in enumerate(home.items):
        if item.label not in ("lamp", "ceiling lamp", "light") or rng.random() < (0.6 if day else 0.25):
            continue
        own = mesh.triangles[glowing & (mesh.instances == index + 1)].reshape(-1, 3)
        centre = own.mean(0) if len(own) else np.array([*item.centre[:2], item.bottom + 0.8 * item.size[2]])
        radius = float(np.clip(0.3 * np.ptp(own, axis=0).max(), 0.03, 0.3)) if len(own) else 0.06
        reach = radius + 0.5 * max(item.size[:2]) + 0.05
        power = np.float32(rng.uniform(0.4, 1.4)) * colour
        lamps.append(Lamp(centre.astype(np.float32), radius, reach, power))
    rng.shuffle(lamps)
    lamps = lamps[:_MOST_LAMPS]
    if not lamps and (not day or rng.random() < 0.5):
        corners = np.array(home.outline)
        share = rng.uniform(0.35, 0.65, 2)
        x, y = corners.min(0) + share * np.ptp(corners, axis=0) * (1 if len(corners) == 4 else 0.8)
        centre = np.array([x, y, home.height - rng.uniform(0.06, 0.3)], np.float32)
        lamps.append(Lamp(centre, float(rng.uniform(0.08, 0.3)), 0.1, np.float32(rng.uniform(1.2, 3)) * colour))
    return tuple(lamps)


def _sun(windows: tuple[Window, ...], rng: Generator) -> Floats:
    """Sample a direction from which the sun shines into a window."""
    window = windows[rng.integers(len(windows))]
    heading = np.arctan2(-window.inward[1], -window.inward[0]) + rng.uniform(-1.1, 1.1)
    height = rng.uniform(0.25, 1.0)
    return np.array([np.cos(heading) * np.cos(height), np.sin(heading) * np.cos(height), np.sin(height)], np.float32)


def _tinted(rng: Generator, bluest: float, warmest: float) -> Floats:
    warmth = rng.uniform(-bluest, warmest)
    return np.array([1 + 0.5 * warmth, 1.0, 1 - warmth], np.float32)
