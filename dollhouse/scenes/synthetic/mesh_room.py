"""Rooms of given triangles, whatever their floor plan: free floor, cameras, lamp, boxes and rendered views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import radians
from typing import Final

import numpy as np
from scipy.ndimage import distance_transform_edt

from dollhouse.errors import SceneError
from dollhouse.geometry import Array, intrinsics_from_fov
from dollhouse.scenes.scene import Box, Scene
from dollhouse.scenes.synthetic.cameras import CLEARANCE, sample_cameras
from dollhouse.scenes.synthetic.layout import Item, MeshPart, RoomLayout
from dollhouse.scenes.synthetic.materials import sample_floor, sample_lighting, sample_walls
from dollhouse.scenes.synthetic.meshes import unit_slab
from dollhouse.scenes.synthetic.raycast import Caster
from dollhouse.scenes.synthetic.render import FLOOR, OBJECT, WALL, Meshes, render
from dollhouse.scenes.synthetic.room_scene import render_views, seeded

_CELL: Final = 0.05  #: metres, of the grid on which free floor is measured
_LARGEST: Final = 60.0  #: metres, of a room
_EYE_LEVEL: Final = 1.9  #: what hangs higher is not in a camera's way
_HEIGHT: Final = 2.6  #: of a room without ceiling
_ATTEMPTS: Final = 8
_IMAGE_SIZE: Final = 252
_CLOSEST: Final = 0.3  #: metres to what fills a twentieth of a view
_KINDS: Final = {None: OBJECT, "floor": FLOOR, "walls": WALL}
_CHECKED: Final = 28  #: pixels of the views by which cameras are checked


def mesh_room_scene(name: str, floor: Array, parts: Sequence[MeshPart], *, views: int = 8) -> Scene:
    """Create the scene of a room with ``views`` square views; a pure function of its arguments.

    ``floor`` holds the triangles (T, 3, 3) of the room's floor. The origin of the scene's world is the middle of the
    floor's bounds; ``metadata["world_from_source"]`` holds the shift. Raises SceneError where there is no space for
    a camera.
    """
    corners = np.asarray(floor, dtype=np.float64).reshape(-1, 3)
    low, high = corners.min(0), corners.max(0)
    if not (np.isfinite([low, high]).all() and (high - low).max() <= _LARGEST):
        raise SceneError(f"{name}: its floor is not finite or larger than {_LARGEST:g} m")
    origin = np.array([*(0.5 * (low + high))[:2], low[2]])
    parts = [replace(part, triangles=part.triangles - origin) for part in parts]
    boxes = tuple(_box(id, part) for id, part in enumerate((part for part in parts if part.label is not None), 1))
    # For cameras and lamp, boxes stand for the objects, whose triangles may be a million.
    shell = [part for part in parts if part.label is None]
    filled = [MeshPart(_filled(box), np.zeros((12, 3)), box.label) for box in boxes]
    plan = _FloorPlan(floor - origin, _join(filled), _join(shell))
    height, lamp = plan.place_lamp()
    layout = _layout(name, (low - origin)[:2], (high - origin)[:2], height, lamp, boxes)
    poses, fov = _sample_poses(name, layout, plan, _meshes([*shell, *filled], layout), views)
    world_from_source = np.eye(4)
    world_from_source[:3, 3] = -origin
    intrinsics = intrinsics_from_fov(fov, _IMAGE_SIZE, _IMAGE_SIZE)
    return Scene(
        name,
        render_views(lambda: _meshes(parts, layout), layout, poses, intrinsics, _IMAGE_SIZE),
        boxes,
        metadata={"height": height, "scale": "metric", "world_from_source": world_from_source.tolist()},
    )


class _FloorPlan:
    """Grid of a room's floor, with the cells that furniture covers."""

    def __init__(self, floor: Array, furniture: Array, shell: Array) -> None:
        corners = floor.reshape(-1, 3)[:, :2]
        self.low = corners.min(0) - _CELL
        shape = np.ceil((corners.max(0) + _CELL - self.low) / _CELL).astype(int)
        self.cells = (np.indices(shape).reshape(2, -1).T + 0.5) * _CELL + self.low
        self.shape = tuple(shape)
        self.inside = self._first_hit(floor, 1e3, -1.0) < np.inf
        self.furniture, self.shell = furniture, shell
        reach = self._first_hit(self.furniture, _EYE_LEVEL, -1.0) < _EYE_LEVEL - 0.02  # a rug is no obstacle
        self.distance = distance_transform_edt(self.inside & ~reach) * _CELL

    def clearance(self, points: Array) -> Array:
        """Compute distances (N,) of floor points (N, 2) to the nearest wall or object; 0 outside the room."""
        cells = np.clip(((points - self.low) / _CELL).astype(int), 0, np.array(self.shape) - 1)
        return self.distance[cells[:, 0], cells[:, 1]]

    def place_lamp(self) -> tuple[float, tuple[float, float, float]]:
        """Return the height of the room and the position of its lamp, off walls and what hangs from the ceiling."""
        above = np.where(self.inside, self._first_hit(self.shell, 1.0, 1.0) + 1.0, np.inf)
        height = float(np.median(above[np.isfinite(above)])) if np.isfinite(above).any() else _HEIGHT
        hanging = self._first_hit(self.furniture, height - 0.02, -1.0) < 0.35 * height
        room = distance_transform_edt(self.inside & ~hanging)
        cell = int(room.argmax())
        ceiling = min(height, float(above.flat[cell]))
        x, y = self.cells[cell]
        return height, (float(x), float(y), ceiling - 0.12)

    def _first_hit(self, triangles: Array, start: float, direction: float) -> Array:
        """Cast a vertical ray from height ``start`` through each cell; returns the grid of distances, else inf."""
        if not len(triangles):
            return np.full(self.shape, np.inf)
        origins = np.column_stack([self.cells, np.full(len(self.cells), start)]).astype(np.float32)
        directions = np.tile(np.array([[0, 0, direction]], np.float32), (len(origins), 1))
        hits = Caster(triangles.astype(np.float32)).first_hit(origins, directions)
        return np.where(hits.triangle >= 0, hits.distance, np.inf).reshape(self.shape)


def _join(parts: Sequence[MeshPart]) -> Array:
    return np.concatenate([np.zeros((0, 3, 3)), *(part.triangles for part in parts)])


def _box(id: int, part: MeshPart) -> Box:
    """Build the smallest upright box with the part's yaw."""
    assert part.label is not None
    cos, sin = np.cos(part.yaw), np.sin(part.yaw)
    world_from_own = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    own = part.triangles.reshape(-1, 3) @ world_from_own
    low, high = own.min(0), own.max(0)
    size = np.maximum(high - low, 1e-3)
    return Box(id, part.label, world_from_own @ (0.5 * (low + high)), size, part.yaw, part.has_front)


def _filled(box: Box) -> Array:
    """Build the triangles (12, 3, 3) of a box."""
    cos, sin = np.cos(box.yaw), np.sin(box.yaw)
    return unit_slab() * box.size @ np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]]) + box.center


def _layout(
    name: str, low: Array, high: Array, height: float, lamp: tuple[float, float, float], boxes: Sequence[Box]
) -> RoomLayout:
    rng = seeded(f"{name} materials")
    lighting = replace(sample_lighting(rng, (low[0], low[1]), (high[0], high[1]), height), lamp=lamp)
    items = tuple(
        Item(box.label, "", tuple(box.size.tolist()), tuple(box.center.tolist()), box.yaw, 0) for box in boxes
    )
    bounds = (float(low[0]), float(low[1])), (float(high[0]), float(high[1]))
    return RoomLayout(*bounds, height, None, (), items, sample_floor(rng), sample_walls(rng), lighting)


def _meshes(parts: Sequence[MeshPart], layout: RoomLayout) -> Meshes:
    triangles = np.concatenate([part.triangles for part in parts]).astype(np.float32)
    # Windings differ from model to model. What faces away from the lamp, but is not hidden from it, is lit as well.
    normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    away = np.einsum("ij,ij->i", normal, np.array(layout.lighting.lamp, np.float32) - triangles[:, 0]) < 0
    labelled = np.cumsum([part.label is not None for part in parts])
    ids = [id if part.label is not None else 0 for part, id in zip(parts, labelled, strict=True)]
    lengths = [len(part.triangles) for part in parts]
    return Meshes(
        triangles=np.where(away[:, None, None], triangles[:, ::-1], triangles),
        rgb=np.concatenate([part.rgb for part in parts]).astype(np.float32),
        instances=np.repeat(np.array(ids, dtype=np.int32), lengths),
        kinds=np.repeat(np.array([_KINDS[part.material] for part in parts], dtype=np.uint8), lengths),
        floor=layout.floor,
        walls=layout.walls,
    )


def _sample_poses(name: str, layout: RoomLayout, plan: _FloorPlan, meshes: Meshes, views: int) -> tuple[Array, float]:
    """Sample cameras several times and choose the first set whose views all show an object and are close to nothing.

    Where there is none, the set with the most such views and objects is chosen.
    """
    rng = seeded(f"{name} cameras")
    fov = radians(68 + 8 * rng.random())
    samples = [sample_cameras(rng, layout, views, fov, plan.clearance) for _ in range(_ATTEMPTS)]
    sets = [np.stack([camera.world_from_camera for camera in cameras]) for cameras in samples if cameras]
    if not sets:
        raise SceneError(f"{name}: has no free floor {2 * CLEARANCE:g} m wide for a camera")
    intrinsics = intrinsics_from_fov(fov, _CHECKED, _CHECKED)
    small = render(meshes, layout.lighting, np.concatenate(sets), intrinsics, _CHECKED, _CHECKED)
    depths, instances = (maps.reshape(len(sets), views, -1) for maps in (small.depths, small.instances))
    near = np.quantile(np.where(depths > 0, depths, np.inf), 0.05, axis=2, method="higher")
    good = ((near > _CLOSEST) & (instances > 0).any(2)).sum(1).tolist()
    scores = [(count, 0 if count == views else len(np.unique(ids))) for count, ids in zip(good, instances, strict=True)]
    return sets[scores.index(max(scores))], fov
