"""Cameras as people hold phones: standing, sitting or close to a few things, with views that cover the room."""

from __future__ import annotations

from collections.abc import Sequence
from math import atan, atan2, cos, pi, radians, sin, tan
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dollhouse.scenes.synthetic.homes.layout import HomeCamera, Item
from dollhouse.scenes.synthetic.layout import footprint, gap
from dollhouse.scenes.synthetic.meshes import unit_slab
from dollhouse.scenes.synthetic.raycast import Caster

CLEARANCE: Final = 0.3  #: least distance of a camera from items and walls, metres
NEAREST: Final = 0.3  #: least distance of what a view shows
_AZIMUTHS: Final = 60
_ELEVATIONS: Final = np.radians(np.linspace(-60, 40, 14))
_EYES: Final = 14
_CUBE: Final = unit_slab()


class _Boxes:
    """A home's items as boxes, for quick visibility tests."""

    def __init__(self, outline: Sequence[tuple[float, float]], height: float, items: Sequence[Item]) -> None:
        self.items, self.outline = items, outline
        slabs, owners = [], []
        for index, item in enumerate(items):
            c, s = cos(item.yaw), sin(item.yaw)
            turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
            # Shrunk, as boxes hide more than the objects in them.
            slabs.append((_CUBE * (np.array(item.size) * [0.9, 0.9, 0.95])) @ turn + item.centre)
            owners.append(np.full(len(_CUBE), index))
        ends = zip(outline, (*outline[1:], outline[0]), strict=True)
        walls = np.array([[(*a, -1), (*b, -1), (*b, height), (*a, -1), (*b, height), (*a, height)] for a, b in ends])
        far = 50.0
        flat = np.array(
            [
                [(-far, -far, z), (far, -far, z), (far, far, z), (-far, -far, z), (far, far, z), (-far, far, z)]
                for z in (0.0, height)
            ]
        )
        shell = np.concatenate([walls, flat]).reshape(-1, 3, 3)
        self.owner = np.concatenate([*owners, np.full(len(shell), -1)]).astype(np.int64)
        self.caster = Caster(np.concatenate([*slabs, shell]).astype(np.float32))

    def cast(
        self, eyes: NDArray[np.float64], directions: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the item (or -1) and the distance along each ray; both (N,)."""
        hits = self.caster.first_hit(eyes.astype(np.float32), directions.astype(np.float32))
        found = hits.triangle >= 0
        return np.where(found, self.owner[hits.triangle], -1), np.where(found, hits.distance, 99.0)


def sample_cameras(
    rng: Random,
    outline: Sequence[tuple[float, float]],
    height: float,
    items: Sequence[Item],
    views: int,
    aspect: tuple[int, int],
) -> tuple[HomeCamera, ...] | None:
    """Sample the cameras of a home; None where there is no free place."""
    boxes = _Boxes(outline, height, items)
    fov = radians(40 + 55 * rng.random() ** 0.8) if aspect[0] >= aspect[1] else radians(40 + 30 * rng.random())
    standing = rng.random() < 0.72
    base = 1.3 + 0.45 * rng.random() if standing else 0.9 + 0.3 * rng.random()
    closeups = rng.random() < 0.3
    eyes = _free_eyes(rng, outline, items, base)
    if not len(eyes):
        return None
    seen = _panoramas(boxes, eyes)
    cameras: list[HomeCamera] = []
    covered = np.zeros(len(items))
    for view in range(views):
        own_fov = fov * (0.97 + 0.06 * rng.random())
        camera = None
        if closeups and (view == views - 1 or rng.random() < 0.25):
            camera = _close(rng, boxes, own_fov, aspect)
        for _ in range(4):
            if camera is not None and _clear(boxes, camera, aspect):
                break
            camera = _wide(rng, seen, eyes, own_fov, aspect, covered, cameras)
        else:
            return None
        covered[list(set(_shown(boxes, camera, aspect)))] += 1
        cameras.append(camera)
    return tuple(cameras)


def _free_eyes(
    rng: Random, outline: Sequence[tuple[float, float]], items: Sequence[Item], height: float
) -> NDArray[np.float64]:
    """Sample eyes (E, 3) in the room, off items and walls."""
    xs, ys = zip(*outline, strict=True)
    eyes = []
    for _ in range(12 * _EYES):
        eye = (max(xs) * rng.random(), max(ys) * rng.random(), height + 0.12 * (rng.random() - 0.5))
        if is_free(eye, outline, items):
            eyes.append(eye)
        if len(eyes) == _EYES:
            break
    return np.array(eyes).reshape(-1, 3)


def is_free(eye: tuple[float, float, float], outline: Sequence[tuple[float, float]], items: Sequence[Item]) -> bool:
    """Return whether an eye is inside the room, at least CLEARANCE from walls and items."""
    xs, ys = zip(*outline, strict=True)
    x, y, z = eye
    if not (CLEARANCE < x < max(xs) - CLEARANCE and CLEARANCE < y < max(ys) - CLEARANCE):
        return False
    if len(outline) == 6 and x > outline[3][0] - CLEARANCE and y > outline[3][1] - CLEARANCE:
        return False
    point = footprint(x, y, 0.0, 0.0, 0.0)
    return not any(
        item.bottom - CLEARANCE < z < item.top + CLEARANCE and gap(point, item.footprint) < CLEARANCE for item in items
    )


def _panoramas(boxes: _Boxes, eyes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Cast rays all around each eye: channels (E, elevations, azimuths, items + 2).

    A channel an item, 1 where it is hit; then whether something is too near, and the distance up to 3 m.
    """
    azimuth = 2 * np.pi * np.arange(_AZIMUTHS) / _AZIMUTHS
    level = np.cos(_ELEVATIONS)[:, None]
    ways = [level * np.cos(azimuth), level * np.sin(azimuth), np.sin(_ELEVATIONS)[:, None] + 0 * azimuth]
    rays = np.broadcast_to(np.stack(ways, axis=-1), (len(eyes), len(_ELEVATIONS), _AZIMUTHS, 3))
    origins = np.broadcast_to(eyes[:, None, None], rays.shape)
    owner, distance = boxes.cast(origins.reshape(-1, 3), rays.reshape(-1, 3))
    channels = np.zeros((owner.size, len(boxes.items) + 2), dtype=np.float32)
    hit = np.flatnonzero(owner >= 0)
    channels[hit, owner[hit]] = 1.0
    channels[:, -2] = distance < 0.6
    channels[:, -1] = np.minimum(distance, 3.0)
    return channels.reshape(*rays.shape[:3], -1)


def _half_angles(fov: float, aspect: tuple[int, int]) -> tuple[float, float]:
    return 0.5 * fov, atan(tan(0.5 * fov) * aspect[1] / aspect[0])


def _wide(
    rng: Random,
    seen: NDArray[np.float32],
    eyes: NDArray[np.float64],
    fov: float,
    aspect: tuple[int, int],
    covered: NDArray[np.float64],
    cameras: list[HomeCamera],
) -> HomeCamera:
    """Choose eye, heading and pitch that show many items, some of them new and some shown before."""
    across, up = _half_angles(fov, aspect)
    reach = max(1, int(across / (2 * pi) * _AZIMUTHS))
    turned = (np.arange(_AZIMUTHS)[:, None] - np.arange(_AZIMUTHS)[None] + reach) % _AZIMUTHS
    window = (turned <= 2 * reach).astype(np.float32)  # headings, azimuths
    noise = np.array([rng.random() for _ in range(97)])
    best, chosen = -1e9, (0, 0, 0.0)
    for pitch in _pitches(rng, float(eyes[:, 2].mean())):
        rows = np.flatnonzero(np.abs(_ELEVATIONS - pitch) < up)
        total = window @ seen[:, rows].sum(axis=1)  # eyes, headings, items + 2
        rays = len(rows) * (2 * reach + 1)
        count = total[..., :-2]
        visible = count >= 2
        old = (visible & (covered > 0)).sum(-1)
        score = (
            (visible & (covered == 0)).sum(-1) + 0.35 * visible.sum(-1) + 5.0 * np.minimum(count.sum(-1) / rays, 0.6)
        )
        score = score + (1.5 * np.minimum(old, 3.0) if cameras else 0.0)
        score -= 12.0 * total[..., -2] / rays + 3.0 * np.maximum(1.8 - total[..., -1] / rays, 0.0)
        score -= 6.0 * np.maximum(count.max(-1) / rays - 0.45, 0.0)
        for camera in cameras:
            apart = np.hypot(eyes[:, 0] - camera.eye[0], eyes[:, 1] - camera.eye[1])[:, None]
            alike = np.cos(camera.heading - 2 * np.pi * np.arange(_AZIMUTHS) / _AZIMUTHS)[None] > 0.9
            score -= 4.0 * alike * np.clip(1.2 - apart, 0.0, 1.0)
        score += 2.0 * np.resize(noise, score.shape)
        if score.max() > best:
            at, heading = np.unravel_index(int(score.argmax()), score.shape)
            best, chosen = float(score.max()), (int(at), int(heading), pitch)
    x, y, z = (float(value) for value in eyes[chosen[0]])
    heading_angle = 2 * pi * chosen[1] / _AZIMUTHS + radians(4) * (rng.random() - 0.5)
    return HomeCamera((x, y, z), heading_angle, chosen[2], _roll(rng), fov)


def _pitches(rng: Random, eye_height: float) -> list[float]:
    """Sample pitches in radians, lower from a standing height."""
    low, high = (-32, 2) if eye_height > 1.25 else (-20, 6)
    return [radians(low + (high - low) * rng.random()) for _ in range(3)]


def _roll(rng: Random) -> float:
    return radians(max(-5.0, min(5.0, rng.gauss(0.0, 1.8))))


def _close(rng: Random, boxes: _Boxes, fov: float, aspect: tuple[int, int]) -> HomeCamera | None:
    """Choose a camera half a metre to a metre and a half from an item with small ones on it; None where none fits."""
    items = boxes.items
    held = [item.support for item in items if item.support >= 0]
    targets = [index for index in sorted(set(held)) if held.count(index) >= 2]
    for _ in range(12 if targets else 0):
        target = items[targets[int(rng.random() * len(targets))]]
        away, side = 0.5 + rng.random(), target.yaw + (rng.random() - 0.5) * 1.8
        aim = np.array([target.centre[0], target.centre[1], target.top + 0.1])
        reach = 0.5 * target.size[0] + away
        eye = (aim[0] + reach * cos(side), aim[1] + reach * sin(side), float(aim[2]) + 0.1 + 0.5 * rng.random())
        pitch = atan2(aim[2] - eye[2], reach)
        if 0.5 < eye[2] < 2.0 and radians(-35) < pitch < radians(10) and is_free(eye, boxes.outline, items):
            camera = HomeCamera(eye, side + pi + 0.1 * (rng.random() - 0.5), pitch, _roll(rng), fov)
            if _clear(boxes, camera, aspect) and len(set(_shown(boxes, camera, aspect))) >= 3:
                return camera
    return None


def _rays(camera: HomeCamera, aspect: tuple[int, int]) -> NDArray[np.float64]:
    """Compute a coarse grid of directions (N, 3) through the image, with depth 1 along the axis."""
    x = np.linspace(-1, 1, 13) * tan(0.5 * camera.fov)
    y = np.linspace(-1, 1, 11) * tan(0.5 * camera.fov) * aspect[1] / aspect[0]
    grid = np.stack([*np.meshgrid(x, y), np.ones((11, 13))], axis=-1).reshape(-1, 3)
    return grid @ camera.world_from_camera[:3, :3].T


def _shown(boxes: _Boxes, camera: HomeCamera, aspect: tuple[int, int]) -> list[int]:
    rays = _rays(camera, aspect)
    owner, _ = boxes.cast(np.broadcast_to(np.array(camera.eye), rays.shape), rays)
    return [int(index) for index in owner if index >= 0]


def _clear(boxes: _Boxes, camera: HomeCamera, aspect: tuple[int, int]) -> bool:
    """Return whether nothing near blocks a view."""
    rays = _rays(camera, aspect)
    _, depth = boxes.cast(np.broadcast_to(np.array(camera.eye), rays.shape), rays)
    return bool(depth.min() > NEAREST and np.median(depth) > 0.5)
