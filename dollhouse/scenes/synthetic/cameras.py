"""Sampling of camera poses in a furnished room: plausible viewpoints of a person with a handheld camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import radians
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array, look_at
from dollhouse.scenes.synthetic.layout import RoomLayout

CLEARANCE: Final = 0.35  #: least distance of a camera from walls and furniture, metres
_CANDIDATES: Final = 80
_HEADINGS: Final = 24
_MIN_OVERLAP: Final = 0.52  # least shared fraction of the floor points of consecutive views, by estimate


@dataclass(frozen=True)
class PlacedCamera:
    """Pose of one view: eye (3,) in metres, heading, pitch (negative downwards) and roll in radians."""

    eye: Array
    heading: float
    pitch: float
    roll: float

    @property
    def world_from_camera(self) -> Array:
        level = np.cos(self.pitch)
        ahead = np.array([np.cos(self.heading) * level, np.sin(self.heading) * level, np.sin(self.pitch)])
        pose = look_at(self.eye, self.eye + ahead)
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        pose[:3, :3] = pose[:3, :3] @ np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        return pose


def sample_cameras(
    rng: Random,
    layout: RoomLayout,
    views: int,
    fov: float,
    measure_clearance: Callable[[Array], Array] | None = None,
) -> list[PlacedCamera] | None:
    """Sample ``views`` cameras of field of view ``fov`` (radians, both axes); None where there is no free spot.

    ``measure_clearance`` replaces :func:`clearance` where the floor is no rectangle or L.
    """
    planner = _ViewPlanner(rng, layout, fov, measure_clearance or partial(clearance, layout))
    if not len(planner.eyes):
        return None
    viewpoints = min(views, (1, 1, 1, 2, 2, 2, 2, 3, 3, 3)[int(10 * rng.random())])
    cameras: list[PlacedCamera] = []
    while len(cameras) < views:
        left = viewpoints - len({tuple(camera.eye) for camera in cameras})
        turns = -(-(views - len(cameras)) // max(left, 1))
        cameras += planner.best_turn(turns, cameras[-1] if cameras else None)
    return cameras


def clearance(layout: RoomLayout, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute distances (N,) of floor points (N, 2) to the nearest wall or item; negative outside the room."""
    (x0, y0), (x1, y1) = layout.low, layout.high
    x, y = points[:, 0], points[:, 1]
    distance = np.minimum(np.minimum(x - x0, x1 - x), np.minimum(y - y0, y1 - y))
    if layout.notch is not None:
        u0, v0, _, _ = layout.notch
        distance = np.minimum(distance, np.hypot(np.maximum(u0 - x, 0), np.maximum(v0 - y, 0)))
    for item in layout.items:
        dx, dy = x - item.centre[0], y - item.centre[1]
        c, s = np.cos(item.yaw), np.sin(item.yaw)
        along = np.maximum(np.abs(dx * c + dy * s) - 0.5 * item.size[0], 0)
        across = np.maximum(np.abs(dy * c - dx * s) - 0.5 * item.size[1], 0)
        distance = np.minimum(distance, np.hypot(along, across))
    return distance


class _ViewPlanner:
    """Scores of candidate viewpoints. Axes: C candidates, H headings, N items, P points."""

    def __init__(
        self, rng: Random, layout: RoomLayout, fov: float, measure_clearance: Callable[[Array], Array]
    ) -> None:
        self.rng, self.layout, self.fov = rng, layout, fov
        (x0, y0), (x1, y1) = layout.low, layout.high
        plan = np.array([[rng.random(), rng.random()] for _ in range(_CANDIDATES)])
        plan = plan * [x1 - x0, y1 - y0] + [x0, y0]
        plan = plan[measure_clearance(plan) > CLEARANCE + 0.01]
        eye_height = 1.45 + 0.3 * rng.random()
        self.eyes = np.column_stack([plan, np.full(len(plan), eye_height)])
        self.pitch = -radians(10 + 10 * rng.random())
        self.items = np.array([item.centre for item in layout.items]).reshape(-1, 3)
        gx, gy = np.meshgrid(np.linspace(x0, x1, 11)[1:-1], np.linspace(y0, y1, 11)[1:-1])
        self.floor = np.column_stack([gx.ravel(), gy.ravel(), np.full(gx.size, 0.4)])
        if layout.notch is not None:
            self.floor = self.floor[(self.floor[:, 0] < layout.notch[0]) | (self.floor[:, 1] < layout.notch[1])]
        if len(self.eyes):
            self.covered = np.zeros(len(self.items), dtype=bool)  # items in a view chosen so far
            self.visible_items = self._unoccluded(self.items)
            self.visible_floor = self._unoccluded(self.floor)

    def best_turn(self, turns: int, before: PlacedCamera | None) -> list[PlacedCamera]:
        """Choose ``turns`` cameras at one viewpoint that cover many items; the first overlaps with ``before``."""
        rng = self.rng
        step = radians(25 + 13 * rng.random()) * (1 if rng.random() < 0.5 else -1)
        headings = 2 * np.pi * (np.arange(_HEADINGS) + rng.random()) / _HEADINGS
        pitches = [self.pitch + radians(4) * (rng.random() - 0.5) for _ in range(turns)]
        visible = [
            self._in_view(self.items, headings + k * step, pitches[k]) & self.visible_items[:, None]
            for k in range(turns)
        ]
        union = np.logical_or.reduce(visible)
        score = (union * np.where(self.covered, 0.5, 1.2)).sum(-1)
        score = score + 0.25 * sum(view.sum(-1) for view in visible) / turns
        score = score - sum(self._obstruction(headings + k * step) for k in range(turns)) / turns
        score = score + np.array([rng.random() for _ in range(score.size)]).reshape(score.shape) * 0.6
        if before is not None:
            score = np.where(self._overlaps(before, headings, pitches[0]), score, -np.inf)
            if not np.isfinite(score).any():
                return [self._camera(before.eye, before.heading + (k + 1) * step, pitches[k]) for k in range(turns)]
        at, heading = np.unravel_index(int(score.argmax()), score.shape)
        self.covered |= union[at, heading]
        return [self._camera(self.eyes[at], headings[heading] + k * step, pitches[k]) for k in range(turns)]

    def _camera(self, eye: Array, heading: float, pitch: float) -> PlacedCamera:
        return PlacedCamera(eye, float(heading), pitch, radians(1.6 * self.rng.random() - 0.8))

    def _in_view(self, points: Array, headings: Array, pitch: float, eyes: Array | None = None) -> NDArray[np.bool_]:
        """Return whether points (N, 3) project into the image (C, H, N), without occlusion."""
        offset = points[None] - (self.eyes if eyes is None else eyes)[:, None]
        away = np.hypot(offset[..., 0], offset[..., 1])
        azimuth = np.arctan2(offset[..., 1], offset[..., 0])[:, None] - headings[None, :, None]
        beside = np.abs((azimuth + np.pi) % (2 * np.pi) - np.pi) < 0.5 * self.fov - 0.05
        upright = np.abs(np.arctan2(offset[..., 2], away) - pitch) < 0.5 * self.fov - 0.05
        return beside & upright[:, None]

    def _unoccluded(self, points: Array) -> NDArray[np.bool_]:
        """Return whether points (P, 3) are unoccluded from the candidates (C, P), approximately."""
        sizes = np.array([item.size for item in self.layout.items]).reshape(-1, 3)
        low, high = self.items[:, 2] - 0.5 * sizes[:, 2], self.items[:, 2] + 0.5 * sizes[:, 2]
        away, azimuth = self._bearings(points)  # C P
        before, bearing = self._bearings(self.items)  # C N
        half = 0.7 * np.arctan2(0.35 * (sizes[:, 0] + sizes[:, 1]), before)  # half the angle that an item occludes
        apart = np.abs((azimuth[:, :, None] - bearing[:, None, :] + np.pi) % (2 * np.pi) - np.pi)  # C P N
        nearer = before[:, None, :] < away[:, :, None] - 0.25
        eye = self.eyes[0, 2]
        height = eye + (points[:, 2] - eye)[None, :, None] * before[:, None, :] / away[:, :, None]
        occluded = (apart < half[:, None, :]) & nearer & (height < high) & (height > low)
        return ~occluded.any(-1) & self._clear_of_notch(points)

    def _bearings(self, points: Array) -> tuple[Array, Array]:
        """Compute plan distances and azimuths (C, P) of points (P, 3) from the candidates."""
        offset = points[None, :, :2] - self.eyes[:, None, :2]
        return np.hypot(offset[..., 0], offset[..., 1]) + 1e-6, np.arctan2(offset[..., 1], offset[..., 0])

    def _clear_of_notch(self, points: Array) -> NDArray[np.bool_]:
        """Return whether the line from candidates to points (C, P) avoids the missing corner of an L."""
        eyes = self.eyes
        if self.layout.notch is None:
            return np.ones((len(eyes), len(points)), dtype=bool)
        u0, v0, _, _ = self.layout.notch
        start, share = eyes[:, None, None], np.linspace(0.05, 0.95, 12)
        x, y = (start[..., k] + share * (points[None, :, None, k] - start[..., k]) for k in (0, 1))
        return ~((x > u0) & (y > v0)).any(-1)

    def _overlaps(self, before: PlacedCamera, headings: Array, pitch: float) -> NDArray[np.bool_]:
        """Return which candidates and headings (C, H) overlap enough with ``before`` from a new viewpoint."""
        here = int(np.abs(self.eyes[:, :2] - before.eye[:2]).sum(-1).argmin())
        old = self._in_view(self.floor, np.array([before.heading]), before.pitch, before.eye[None])[0, 0]
        old &= self.visible_floor[here]
        now = self._in_view(self.floor, headings, pitch) & self.visible_floor[:, None]
        both = (now & old).sum(-1)
        enough = both >= _MIN_OVERLAP * np.maximum(np.maximum(now.sum(-1), old.sum()), 1)
        moved = np.linalg.norm(self.eyes[:, :2] - before.eye[:2], axis=1)
        turned = np.abs((headings - before.heading + np.pi) % (2 * np.pi) - np.pi)
        return enough & (moved > 0.5)[:, None] & (turned < radians(75))[None]

    def _obstruction(self, headings: Array) -> NDArray[np.float64]:
        """Compute a penalty (C, H) for a wall or an item close in front of the camera."""
        (x0, y0), (x1, y1) = self.layout.low, self.layout.high
        dx, dy = np.cos(headings)[None], np.sin(headings)[None]
        x, y = self.eyes[:, :1], self.eyes[:, 1:2]
        reach_x = np.where(dx > 0, x1 - x, x0 - x) / np.where(np.abs(dx) < 1e-6, 1e-6, dx)
        reach_y = np.where(dy > 0, y1 - y, y0 - y) / np.where(np.abs(dy) < 1e-6, 1e-6, dy)
        penalty = 1.5 * np.maximum(2.4 - np.minimum(reach_x, reach_y), 0.0)
        offset = self.items[None, :, :2] - self.eyes[:, None, :2]
        away = np.hypot(offset[..., 0], offset[..., 1])[:, None]
        turn = np.arctan2(offset[..., 1], offset[..., 0])[:, None] - headings[None, :, None]
        ahead = np.abs((turn + np.pi) % (2 * np.pi) - np.pi) < 0.5
        tall = self.items[:, 2] > 0.6
        return penalty + 1.5 * (ahead & (away < 1.1) & tall).sum(-1)
