"""Triangles of a furnished room: its items, each stretched to fill its box exactly, and floor, walls and ceiling."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dollhouse.scenes.synthetic.furniture import COLOURS, KINDS, Part, Rgb, builders
from dollhouse.scenes.synthetic.layout import RoomLayout
from dollhouse.scenes.synthetic.render import FLOOR, OBJECT, WALL, Meshes

Triangles = NDArray[np.float64]

_SIDES: Final = 12  # a multiple of four, so that a round part reaches all four sides of its box
_CEILING: Final = (0.95, 0.95, 0.94)


def _oriented(triangles: Triangles, centre: NDArray[np.float64], *, outwards: bool) -> Triangles:
    """Orient the triangles of a convex solid around ``centre`` to face out or in."""
    normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    away = np.einsum("ij,ij->i", normal, triangles[:, 0] - centre) > 0
    return np.where((away == outwards)[:, None, None], triangles, triangles[:, ::-1])


def _halves(quads: list[list[tuple[float, float, float]]]) -> Triangles:
    return np.array([[q[i], q[j], q[k]] for q in quads for i, j, k in ((0, 1, 2), (0, 2, 3))], dtype=np.float64)


def unit_slab() -> Triangles:
    """Build the twelve triangles (12, 3, 3) of a cube from -0.5 to 0.5."""
    corners = [(x, y, z) for z in (-0.5, 0.5) for y in (-0.5, 0.5) for x in (-0.5, 0.5)]
    quads = [(0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)]
    return _halves([[corners[k] for k in quad] for quad in quads])


def _revolve(profile: list[tuple[float, float]]) -> Triangles:
    """Build a solid of revolution about z from its profile: (radius, z) from the bottom up."""
    angle = 2 * np.pi * np.arange(_SIDES + 1) / _SIDES
    circle = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=1)
    triangles = []
    for (r0, z0), (r1, z1) in pairwise(profile):
        low, high = circle * r0 + [0, 0, z0], circle * r1 + [0, 0, z1]
        for k in range(_SIDES):
            if r0 > 0:
                triangles.append([low[k], low[k + 1], high[k]])
            if r1 > 0:
                triangles.append([low[k + 1], high[k + 1], high[k]])
    return np.array(triangles)


_BALL_RINGS: Final = [(0.5 * float(np.cos(a)), 0.5 * float(np.sin(a))) for a in np.linspace(-np.pi / 2, np.pi / 2, 7)]
TEMPLATES: Final[dict[str, Triangles]] = {
    "slab": _oriented(unit_slab(), np.zeros(3), outwards=True),
    "tube": _oriented(_revolve([(0.0, -0.5), (0.5, -0.5), (0.5, 0.5), (0.0, 0.5)]), np.zeros(3), outwards=True),
    "ball": _oriented(_revolve([(0.0, -0.5), *_BALL_RINGS[1:-1], (0.0, 0.5)]), np.zeros(3), outwards=True),
}
#: Category -> its builder, the function of that name: (d, w, h, main colour, random source of details) -> parts.
_BUILDERS: Final[dict[str, Callable[[float, float, float, Rgb, Random], list[Part]]]] = {
    label: getattr(builders, label) for label in KINDS
}


def room_meshes(layout: RoomLayout) -> Meshes:
    """Build all triangles of a layout; instance ids are item indices + 1."""
    triangles, rgb, instances = _furniture(layout)
    shell, kinds = _shell(layout)
    return Meshes(
        triangles=np.concatenate([triangles, shell]).astype(np.float32),
        rgb=np.concatenate([rgb, np.tile(np.array(_CEILING), (len(shell), 1))]).astype(np.float32),
        instances=np.concatenate([instances, np.zeros(len(shell), dtype=np.int32)]),
        kinds=np.concatenate([np.full(len(triangles), OBJECT, dtype=np.uint8), kinds]),
        floor=layout.floor,
        walls=layout.walls,
    )


def _furniture(layout: RoomLayout) -> tuple[Triangles, NDArray[np.float64], NDArray[np.int32]]:
    """Build triangles (T, 3, 3), colours (T, 3) and instance ids (T,) of the items."""
    parts = [
        (index, part)
        for index, item in enumerate(layout.items)
        for part in _BUILDERS[item.label](*item.size, COLOURS[item.colour], Random(item.variant))
    ]
    low = np.full((len(layout.items), 3), np.inf)
    high = -low
    groups: list[tuple[Triangles, NDArray[np.float64], NDArray[np.int64]]] = []
    for shape, template in TEMPLATES.items():
        rows = [(index, *p.centre, *p.size, p.taper, p.lean, *p.rgb) for index, p in parts if p.shape == shape]
        item, numbers = np.array([row[0] for row in rows], dtype=np.int64), np.array(rows).reshape(-1, 12)[:, 1:]
        centre, size, taper, lean = numbers[:, :3], numbers[:, 3:6], numbers[:, 6], numbers[:, 7]
        top = template[..., 2] + 0.5  # 0 at the bottom, 1 at the top
        vertices = template[None] * size[:, None, None]
        vertices[..., :2] *= 1 + top[None, ..., None] * (taper - 1)[:, None, None, None]
        vertices[..., 0] += top[None] * lean[:, None, None]
        vertices += centre[:, None, None]
        np.minimum.at(low, item, vertices.min(axis=(1, 2)))
        np.maximum.at(high, item, vertices.max(axis=(1, 2)))
        groups.append((vertices, numbers[:, 8:11], item))

    wanted = np.array([item.size for item in layout.items]).reshape(-1, 3)
    yaw = np.array([item.yaw for item in layout.items])
    centre = np.array([item.centre for item in layout.items]).reshape(-1, 3)
    stretch, middle = wanted / (high - low), 0.5 * (low + high)
    cos, sin = np.cos(yaw), np.sin(yaw)
    triangles, colours, instances = [], [], []
    for vertices, rgb, item in groups:
        own = (vertices - middle[item, None, None]) * stretch[item, None, None]
        c, s = cos[item, None, None], sin[item, None, None]
        world = np.stack([own[..., 0] * c - own[..., 1] * s, own[..., 0] * s + own[..., 1] * c, own[..., 2]], axis=-1)
        world += centre[item, None, None]
        faces = vertices.shape[1]
        triangles.append(world.reshape(-1, 3, 3))
        colours.append(np.repeat(rgb, faces, axis=0))
        instances.append(np.repeat(item + 1, faces).astype(np.int32))
    return np.concatenate(triangles), np.concatenate(colours), np.concatenate(instances)


def _shell(layout: RoomLayout) -> tuple[Triangles, NDArray[np.uint8]]:
    """Build floor, ceiling and walls, extended beyond the corners so that no ray escapes between them."""
    (x0, y0), (x1, y1), top = layout.low, layout.high, layout.height
    a, b, c, d, high = x0 - 0.05, x1 + 0.05, y0 - 0.05, y1 + 0.05, top + 0.05
    quads = [
        (FLOOR, [(a, c, 0.0), (b, c, 0.0), (b, d, 0.0), (a, d, 0.0)]),
        (OBJECT, [(a, c, top), (b, c, top), (b, d, top), (a, d, top)]),
        *((WALL, _upright((a, y), (b, y), high)) for y in (y0, y1)),
        *((WALL, _upright((x, c), (x, d), high)) for x in (x0, x1)),
    ]
    middle = np.array([0.5 * (x0 + x1), 0.5 * (y0 + y1), 0.5 * top])
    triangles = _oriented(_halves([quad for _, quad in quads]), middle, outwards=False)
    kinds = np.repeat(np.array([kind for kind, _ in quads], dtype=np.uint8), 2)
    if layout.notch is not None:
        u0, v0, u1, v1 = layout.notch
        corners = [(u0, v0), (u1, v0), (u1, v1), (u0, v1)]
        pillar = _halves([_upright(corners[k], corners[(k + 1) % 4], high) for k in range(4)])
        centre = np.array([0.5 * (u0 + u1), 0.5 * (v0 + v1), 0.5 * top])
        triangles = np.concatenate([triangles, _oriented(pillar, centre, outwards=True)])
        kinds = np.concatenate([kinds, np.full(len(pillar), WALL, dtype=np.uint8)])
    return triangles, kinds


def _upright(start: tuple[float, float], end: tuple[float, float], top: float) -> list[tuple[float, float, float]]:
    return [(*start, -0.05), (*end, -0.05), (*end, top), (*start, top)]
