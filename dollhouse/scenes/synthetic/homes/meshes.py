"""Triangles and surfaces of a home: its shell with openings, and each item from its model or procedural kind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dollhouse.scenes.synthetic.furniture import Rgb
from dollhouse.scenes.synthetic.homes.catalogue import installed_pieces
from dollhouse.scenes.synthetic.homes.layout import Home, HomeMesh, Item, Surface
from dollhouse.scenes.synthetic.homes.models import Model, load_model
from dollhouse.scenes.synthetic.homes.paint import shade
from dollhouse.scenes.synthetic.homes.procedural import BUILDERS
from dollhouse.scenes.synthetic.homes.solids import Solid
from dollhouse.scenes.synthetic.meshes import TEMPLATES

Floats = NDArray[np.float32]

_WHOLE: Final = ("picture", "screen", "mirror", "pane")  #: roles whose front has texture coordinates from 0 to 1
CLEAR: Final = 0.5  #: materials with less opacity count for no colour
_FOLDS: Final = 9


@dataclass(frozen=True, eq=False)
class _Built:
    """Triangles of an item in world coordinates, with indices into its own surfaces."""

    triangles: Floats
    uv: Floats
    ids: NDArray[np.int32]
    surfaces: tuple[Surface, ...]


def home_mesh(home: Home) -> HomeMesh:
    """Build all triangles of a home; instance ids are item indices + 1.

    Raises SceneError where the libraries are missing or broken.
    """
    parts = [_shell(home), *(_item(home, index) for index in range(len(home.items)))]
    firsts = np.cumsum([0, *(len(part.surfaces) for part in parts)])
    return HomeMesh(
        triangles=np.concatenate([part.triangles for part in parts]),
        uv=np.concatenate([part.uv for part in parts]),
        instances=np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.ids) for part in parts]),
        surface_ids=np.concatenate(
            [part.ids + np.int32(first) for part, first in zip(parts, firsts[:-1], strict=True)]
        ),
        surfaces=tuple(surface for part in parts for surface in part.surfaces),
    )


def main_material(model: Model) -> int:
    """Return the index of the material that paint replaces: the most visible opaque one."""
    opaque = [material.opacity >= CLEAR for material in model.materials]
    return int(np.argmax(model.exposed * np.where(opaque, 1.0, 0.01)))


def _item(home: Home, index: int) -> _Built:
    item = home.items[index]
    if "#" in item.model:
        triangles, uv, ids, surfaces = model_parts(item, index)
    else:
        holes = [other for other in home.items if other.support == index and other.label == "sink"]
        triangles, uv, ids, surfaces = procedural_parts(item, index, holes)
    return _Built(_in_world(triangles, item), uv, ids, surfaces)


def _in_world(triangles: Floats, item: Item) -> Floats:
    c, s = np.cos(item.yaw), np.sin(item.yaw)
    turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]], dtype=np.float32)
    return triangles @ turn + np.array([item.centre[0], item.centre[1], item.bottom], dtype=np.float32)


_Parts = tuple[Floats, Floats, NDArray[np.int32], tuple[Surface, ...]]


def model_parts(item: Item, index: int) -> _Parts:
    model = load_model(item.model)
    library = str(installed_pieces()[item.model].library)
    main = main_material(model) if item.paint is not None else -1
    surfaces = tuple(
        Surface(
            role="model",
            rgb=shade(item.paint, item.seed) if item.paint is not None and number == main else material.rgb,
            texture=None if material.texture is None else (library, material.texture),
            painted=number == main,
            opacity=material.opacity,
            shine=material.specular,
            item=index,
        )
        for number, material in enumerate(model.materials)
    )
    scale = (np.array(item.size) / model.size).astype(np.float32)
    return model.triangles * scale, model.uv, model.material_ids, surfaces


def procedural_parts(item: Item, index: int, holes: list[Item]) -> _Parts:
    rgb = shade(item.paint or "white", item.seed)
    solids = BUILDERS[item.model](*item.size, rgb, Random(item.seed))
    if holes:
        solids = _with_holes(solids, item, holes)
    triangles, uv, ids = [], [], []
    surfaces: dict[tuple[str, Rgb], int] = {}
    for part, role in solids:
        own = _solid_triangles(part.shape, part.taper, part.lean) * np.array(part.size) + part.centre
        triangles.append(own.astype(np.float32))
        uv.append(_whole_uv(own, part.centre, part.size) if role in _WHOLE else _metre_uv(own))
        ids.append(np.full(len(own), surfaces.setdefault((role, part.rgb), len(surfaces)), dtype=np.int32))
    made = tuple(_surface(role, own_rgb, index) for role, own_rgb in surfaces)
    return np.concatenate(triangles), np.concatenate(uv), np.concatenate(ids), made


_SHINE: Final = {"metal": 0.6, "ceramic": 0.4, "screen": 0.5, "plastic": 0.2, "stone": 0.3, "wood": 0.1}


def _surface(role: str, rgb: Rgb, index: int) -> Surface:
    if role == "glass":
        return Surface("model", rgb, opacity=0.25, shine=0.6, item=index)
    return Surface(role, rgb, shine=_SHINE.get(role, 0.0), item=index)


def _with_holes(solids: list[Solid], item: Item, holes: list[Item]) -> list[Solid]:
    """Cut the plans of sinks out of a counter's slab; both have the same yaw."""
    (part, role), *rest = solids
    pieces, at = [], -0.5 * item.size[1]
    c, s = np.cos(item.yaw), np.sin(item.yaw)
    for hole in sorted(
        holes, key=lambda hole: -(hole.centre[0] - item.centre[0]) * s + (hole.centre[1] - item.centre[1]) * c
    ):
        dx, dy = hole.centre[0] - item.centre[0], hole.centre[1] - item.centre[1]
        x, y = dx * c + dy * s, dy * c - dx * s
        y0, y1 = y - 0.5 * hole.size[1], y + 0.5 * hole.size[1]
        back, front = x - 0.5 * hole.size[0], x + 0.5 * hole.size[0]
        pieces += [
            (-0.5 * item.size[0], 0.5 * item.size[0], at, y0),
            (-0.5 * item.size[0], back, y0, y1),
            (front, 0.5 * item.size[0], y0, y1),
        ]
        at = y1
    pieces.append((-0.5 * item.size[0], 0.5 * item.size[0], at, 0.5 * item.size[1]))
    cut = [
        Solid(
            part._replace(centre=(0.5 * (a + b), 0.5 * (d + e), part.centre[2]), size=(b - a, e - d, part.size[2])),
            role,
        )
        for a, b, d, e in pieces
        if b - a > 1e-4 and e - d > 1e-4
    ]
    return [*cut, *rest]


@lru_cache(maxsize=256)
def _solid_triangles(shape: str, taper: float, lean: float) -> NDArray[np.float64]:
    """Build a unit solid from -0.5 to 0.5, its top scaled by ``taper``."""
    template = np.array(_shapes()[shape])
    top = template[..., 2] + 0.5
    template[..., :2] *= 1 + top[..., None] * (taper - 1)
    template[..., 0] += top * lean
    return template


@cache
def _shapes() -> dict[str, NDArray[np.float64]]:
    return {**TEMPLATES, "pillow": _pillow(), "sheet": _sheet()}


def _grid(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Triangulate a grid of points (A, B, 3)."""
    a, b, c, d = points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]
    return np.concatenate(
        [np.stack([a, b, c], axis=2).reshape(-1, 3, 3), np.stack([a, c, d], axis=2).reshape(-1, 3, 3)]
    )


def _pillow() -> NDArray[np.float64]:
    """Build a cushion: thick in the middle along its shortest axis, thin at the seams; here that axis is any."""
    u = np.linspace(-np.pi, np.pi, 17)[:, None]
    v = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 9)[None]

    def power(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.sign(x) * np.abs(x) ** 0.55

    points = np.stack(
        [power(np.cos(v)) * power(np.cos(u)), power(np.cos(v)) * power(np.sin(u)), power(np.sin(v)) + 0 * u], axis=2
    )
    return 0.5 * _grid(points)


def _sheet() -> NDArray[np.float64]:
    """Build a hanging sheet with vertical folds."""
    y = np.linspace(-0.5, 0.5, 8 * _FOLDS + 1)
    x = 0.5 * np.sin(2 * np.pi * _FOLDS * (y + 0.5))
    z = np.array([-0.5, 0.5])
    points = np.stack(
        [
            np.broadcast_to(x[:, None], (len(y), 2)),
            np.broadcast_to(y[:, None], (len(y), 2)),
            np.broadcast_to(z, (len(y), 2)),
        ],
        axis=2,
    )
    return _grid(points)


def _whole_uv(triangles: NDArray[np.float64], centre: Rgb, size: Rgb) -> Floats:
    """Compute texture coordinates from 0 to 1 over the front, u to the right as seen from there."""
    own = (triangles - np.array(centre)) / np.array(size) + 0.5
    return np.stack([own[..., 1], own[..., 2]], axis=-1).astype(np.float32)


def _metre_uv(triangles: NDArray[np.float64]) -> Floats:
    """Compute texture coordinates in metres, projected along the largest axis of each triangle's normal."""
    normal = np.abs(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]))
    axis = normal.argmax(axis=1)
    first, second = np.array([1, 0, 0])[axis], np.array([2, 2, 1])[axis]
    rows = np.arange(len(triangles))[:, None]
    corners = np.arange(3)[None]
    return np.stack(
        [triangles[rows, corners, first[:, None]], triangles[rows, corners, second[:, None]]], axis=-1
    ).astype(np.float32)


def _shell(home: Home) -> _Built:
    """Build floor, ceiling and the walls around their openings."""
    quads: list[tuple[int, NDArray[np.float64], NDArray[np.float64]]] = []
    xs, ys = zip(*home.outline, strict=True)
    x1, y1 = max(xs), max(ys)
    plan = [(0.0, 0.0, x1, y1)]
    if len(home.outline) == 6:
        u, v = home.outline[3]
        plan = [(0.0, 0.0, x1, v), (0.0, v, u, y1)]
    for a, b, c, d in plan:
        corners = np.array([(a, b), (c, b), (c, d), (a, d)])
        for surface, z in ((0, 0.0), (1, home.height)):
            quads.append((surface, np.column_stack([corners, np.full(4, z)]), corners))
    for wall, (start, end) in enumerate(zip(home.outline, (*home.outline[1:], home.outline[0]), strict=True)):
        first, along = np.array(start), np.array(end) - np.array(start)
        length = float(np.linalg.norm(along))
        for s0, s1, z0, z1 in _around(home, wall, length):
            p, q = first + along * (s0 / length), first + along * (s1 / length)
            corners = np.array([(*p, z0), (*q, z0), (*q, z1), (*p, z1)])
            quads.append((2, corners, np.array([(s0, z0), (s1, z0), (s1, z1), (s0, z1)])))
    order = [0, 1, 2, 0, 2, 3]
    triangles = np.stack([corners[order].reshape(2, 3, 3) for _, corners, _ in quads]).reshape(-1, 3, 3)
    uv = np.stack([coordinates[order].reshape(2, 3, 2) for _, _, coordinates in quads]).reshape(-1, 3, 2)
    ids = np.repeat(np.array([surface for surface, _, _ in quads], dtype=np.int32), 2)
    surfaces = (
        Surface("floor", (0.6, 0.5, 0.4)),
        Surface("ceiling", (0.95, 0.95, 0.94)),
        Surface("wall", (0.9, 0.88, 0.85)),
    )
    return _Built(triangles.astype(np.float32), uv.astype(np.float32), ids, surfaces)


def _around(home: Home, wall: int, length: float) -> list[tuple[float, float, float, float]]:
    """List the rectangles (start, end, bottom, top) of a wall around its openings."""
    rectangles, at = [], 0.0
    for opening in sorted((o for o in home.openings if o.wall == wall), key=lambda o: o.start):
        rectangles.append((at, opening.start, 0.0, home.height))
        rectangles.append((opening.start, opening.end, 0.0, opening.bottom))
        rectangles.append((opening.start, opening.end, opening.top, home.height))
        at = opening.end
    rectangles.append((at, length, 0.0, home.height))
    return [(s0, s1, z0, z1) for s0, s1, z0, z1 in rectangles if s1 - s0 > 1e-6 and z1 - z0 > 1e-6]
