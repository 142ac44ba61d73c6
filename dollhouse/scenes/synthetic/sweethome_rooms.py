"""Synthetic rooms rendered with Sweet Home 3D models as furniture; boxes and cameras stay those of the plain room.

A piece is chosen for each item, stretched to the item's box and painted in the item's colour. Items without a suitable
piece keep their procedural mesh.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import product
from math import log
from random import Random
from typing import Final

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.geometry import Array
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.synthetic.furniture import COLOURS, KINDS, Rgb
from dollhouse.scenes.synthetic.layout import Item, RoomLayout, gap
from dollhouse.scenes.synthetic.meshes import room_meshes
from dollhouse.scenes.synthetic.render import OBJECT, Meshes
from dollhouse.scenes.synthetic.room_scene import render_views, room_layout, room_scene
from dollhouse.scenes.synthetic.sweethome import DEBIAN_FOLDER, Piece, installed_libraries, list_pieces, load_piece

Floats = NDArray[np.float32]

SWEETHOME_VERSION = 1  #: raise it whenever the images of these rooms change
MOST_FACES: Final = 20_000  #: a piece with more is not used, which limits render time
MOST_MISFIT: Final = log(1.6)  #: limit of the ratio between the stretches of two axes
LEAST_LEVEL: Final = 0.75  #: least fraction of a supporting item's top that is level at full height
_LEVEL_UNDER: Final = 0.9  #: the same below each item that stands there
_LEVEL_WITHIN: Final = 0.012  #: metres
_CELLS: Final = 24
_SHORTLIST: Final = 6
#: with one of these words before it, the last word of a name does not give the category
_MISLEADING_WORDS: Final = {
    "abdominal", "baby", "beach", "bedside", "bread", "bunk", "camping", "changing", "corner", "deck", "dressing",
    "flower", "football", "grand", "high", "hospital", "medicine", "mezzanine", "plant", "pool", "punching",
    "relax", "sink", "street", "technical", "television",
}  # fmt: skip
#: excluded by inspection: shaped unlike their category, or with two coincident materials
_EXCLUDED: Final = {
    "Blend Swap CC-0#antiqueChair", "Blend Swap CC-0#bookcase", "Blend Swap CC-0#couch2",
    "Blend Swap CC-0#foldingChair", "Blend Swap CC-0#modernArmchair", "Blend Swap CC-0#stool",
    "Blend Swap CC-BY#plaidChair", "Kator Legaz#mid-century-bench-sofa", "Scopia#box_room", "Scopia#ext_chair",
    "Scopia#kids_desk_table", "Scopia#office_box", "Scopia#rattanTable", "Scopia#ryokanChair",
}  # fmt: skip


def sweethome_room(split: str, number: int, *, image_size: int = 126, views: int = 4) -> Scene:
    """Create the room of :func:`~dollhouse.scenes.synthetic.room_scene.room_scene` with 3D models as furniture.

    Boxes, poses and intrinsics are those of the plain room; ``metadata["source"]`` stays "rooms", so that questions use
    the balance of rooms. ``metadata["furniture"]`` lists the pieces with their box ids, creators and licences.
    Raises SceneError where no library is installed or one is broken, and as ``room_scene``.
    """
    plain = room_scene(split, number, image_size=image_size, views=views)
    layout = room_layout(split, number)
    pieces = choose_pieces(layout)
    poses = np.stack(plain.known_poses)
    intrinsics = plain.views[0].intrinsics
    assert intrinsics is not None
    licences = sorted({piece.licence for piece in pieces.values()})
    furniture = [
        {"box": index + 1, "library": piece.library.name}
        | {name: getattr(piece, name) for name in ("name", "id", "creator", "licence")}
        for index, piece in pieces.items()
    ]
    licence = "; ".join(["Apache-2.0 (the room)", *(f"{licence} (furniture)" for licence in licences)])
    return replace(
        plain,
        name=f"sweethome:{split}/{number}",
        views=render_views(lambda: fitted_meshes(layout, pieces), layout, poses, intrinsics, image_size),
        metadata={**plain.metadata, "licence": licence, "furniture": furniture},
    )


def choose_pieces(layout: RoomLayout) -> dict[int, Piece]:
    """Choose a piece for each item that has a suitable one, by item index; errors as :func:`sweethome_room`.

    The result depends on layout and installed libraries only. Items of one size and category get the same piece.
    """
    by_category = _pieces_by_category()
    chosen = {}
    for index, item in enumerate(layout.items):
        if not _covers_another(layout, index) and (piece := _choose(by_category.get(item.label, ()), layout, index)):
            chosen[index] = piece
    return chosen


def fitted_meshes(layout: RoomLayout, pieces: dict[int, Piece]) -> Meshes:
    """Build the triangles of ``layout`` with ``pieces`` in place of their items' own meshes."""
    built = room_meshes(layout)
    kept = ~np.isin(built.instances, [index + 1 for index in pieces])
    triangles, rgb, instances = [built.triangles[kept]], [built.rgb[kept]], [built.instances[kept]]
    for index, piece in pieces.items():
        item, model = layout.items[index], _unit_model(piece)
        assert model is not None  # _fits excludes such pieces
        cos, sin = np.cos(item.yaw), np.sin(item.yaw)
        world_from_own = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        triangles.append((model.triangles * item.size @ world_from_own.T + item.centre).astype(np.float32))
        rgb.append(_painted(model.light, COLOURS[item.colour]))
        instances.append(np.full(len(model.triangles), index + 1, dtype=np.int32))
    fitted = sum(len(own) for own in triangles[1:])
    return replace(
        built,
        triangles=np.concatenate(triangles),
        rgb=np.concatenate(rgb),
        instances=np.concatenate(instances),
        kinds=np.concatenate([built.kinds[kept], np.full(fitted, OBJECT, dtype=np.uint8)]),
    )


@cache
def _pieces_by_category() -> dict[str, tuple[Piece, ...]]:
    libraries = installed_libraries()
    if not libraries:
        raise SceneError(f"no furniture libraries in {DEBIAN_FOLDER}; run: apt-get install sweethome3d-furniture")
    by_category: dict[str, tuple[Piece, ...]] = {}
    for piece in list_pieces(libraries):
        misleading = piece.id in _EXCLUDED or _MISLEADING_WORDS & set(piece.name.lower().split()[:-1])
        if piece.category is not None and not misleading:
            by_category[piece.category] = (*by_category.get(piece.category, ()), piece)
    return by_category


def _choose(pieces: Iterable[Piece], layout: RoomLayout, index: int) -> Piece | None:
    """Choose one of the pieces whose proportions are nearest to the item's; None where none fits."""
    item = layout.items[index]
    near = sorted((misfit, piece.id, piece) for piece in pieces if (misfit := _misfit(piece, item)) < MOST_MISFIT)
    shortlist = [piece for _, _, piece in near[:_SHORTLIST]]
    Random(f"{item.label} {item.size}").shuffle(shortlist)
    return next((piece for piece in shortlist if _fits(piece, layout, index)), None)


def _misfit(piece: Piece, item: Item) -> float:
    """Compute the log of the largest ratio between the stretches that fit a piece to an item's box."""
    stretch = [log(wanted / own) for wanted, own in zip(item.size, piece.size, strict=True)]
    return max(stretch) - min(stretch)


def _fits(piece: Piece, layout: RoomLayout, index: int) -> bool:
    """Return whether a piece has few enough faces, and a level top where items may stand on it."""
    model, item = _unit_model(piece), layout.items[index]
    if model is None or not KINDS[item.label].top:
        return model is not None
    on_top = [other for other in layout.items if other.support == index]
    shares = [float(model.level[_covered_cells(other, item)].mean()) for other in on_top]
    return bool(model.level.mean() >= LEAST_LEVEL) and all(share >= _LEVEL_UNDER for share in shares)


def _covered_cells(above: Item, below: Item) -> NDArray[np.bool_]:
    """Return the cells (_CELLS, _CELLS) of the top of ``below`` under ``above``, at least one."""
    x, y = _cells() * np.array(below.size)[:2, None, None]
    cos, sin = np.cos(below.yaw), np.sin(below.yaw)
    dx = x * cos - y * sin + below.centre[0] - above.centre[0]
    dy = x * sin + y * cos + below.centre[1] - above.centre[1]
    cos, sin = np.cos(above.yaw), np.sin(above.yaw)
    along, across = np.abs(dx * cos + dy * sin), np.abs(dy * cos - dx * sin)
    outside = np.maximum(along / above.size[0], across / above.size[1])
    return outside <= max(0.5, outside.min())


def _covers_another(layout: RoomLayout, index: int) -> bool:
    """Return whether an item stands over another, between whose legs only the procedural tables leave space."""
    item = layout.items[index]
    others = [other for k, other in enumerate(layout.items) if k != index and other.support < 0 and item.support < 0]
    return any(gap(other.footprint, item.footprint) < 0 for other in others)


@dataclass(frozen=True, eq=False)
class _UnitModel:
    """A piece scaled to the cube from -0.5 to 0.5, x to its front, z up."""

    triangles: Floats  #: (F, 3, 3), counter-clockwise from outside
    light: Floats  #: (F,) lightness relative to the main material's, in [-1, 1]
    level: NDArray[np.bool_]  #: (_CELLS, _CELLS) where the top is level at full height


@lru_cache(maxsize=256)
def _unit_model(piece: Piece) -> _UnitModel | None:
    """Load and scale a piece; None where it has too many faces."""
    mesh = load_piece(piece)
    if len(mesh.faces) > MOST_FACES:
        return None
    corners = mesh.vertices[mesh.faces]
    triangles = (corners / piece.size - [0.0, 0.0, 0.5]).astype(np.float32)
    caster = EmbreeScene()
    TriangleMesh(caster, triangles)
    ahead, behind = _escapes(triangles, caster)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    lightness = mesh.colours @ np.array([0.299, 0.587, 0.114])
    exposed = np.cumsum((area * (np.maximum(ahead, behind) + 1e-6))[order := np.argsort(lightness)])
    main = lightness[order[np.searchsorted(exposed, 0.5 * exposed[-1])]]  # the median over the outside
    return _UnitModel(
        # Thin sheets have faces of either winding, or of both in one place: the open side becomes the lit one.
        triangles=np.where((behind > ahead)[:, None, None], triangles[:, ::-1], triangles),
        light=(lightness - main).astype(np.float32),
        level=_level(caster, _LEVEL_WITHIN / piece.size[2]),
    )


def _cells() -> Array:
    """Compute the cell centres (2, _CELLS, _CELLS) in the unit square."""
    middle = (np.arange(_CELLS) + 0.5) / _CELLS - 0.5
    return np.stack(np.meshgrid(middle, middle, indexing="ij"))


def _level(caster: EmbreeScene, within: float) -> NDArray[np.bool_]:
    cells = _cells().reshape(2, -1)
    above = np.column_stack([*cells, np.ones(cells.shape[1])]).astype(np.float32)
    hit = caster.run(above, np.tile(np.array([[0, 0, -1]], np.float32), (len(above), 1)), output=1)
    return ((hit["primID"] >= 0) & (hit["tfar"] < 0.5 + within)).reshape(_CELLS, _CELLS)


def _escapes(triangles: Floats, caster: EmbreeScene) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the rays of eight that escape from the fronts and the backs of triangles (F, 3, 3): both (F,)."""
    normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    escaped = []
    for outward in (normal, -normal):
        start = (triangles.mean(axis=1) + 1e-3 * outward).astype(np.float32)
        corners = np.array(list(product((-0.5, 0.5), repeat=3)))
        hits = [caster.run(start, (outward + corner).astype(np.float32)) for corner in corners]
        escaped.append((np.array(hits) < 0).sum(axis=0))
    return escaped[0], escaped[1]


def _painted(light: Floats, rgb: Rgb) -> Floats:
    """Compute colours (F, 3): the main material in ``rgb``, the others in darker or lighter shades of it."""
    paint = np.array(rgb)
    if sum(rgb) < 0.6:  # nearly black allows lighter shades only
        light = np.abs(light) * np.float32(0.6)
    darker, lighter = np.clip(-1.5 * light, 0.0, 0.45)[:, None], np.clip(light, 0.0, 0.25)[:, None]
    return (paint * (1 - darker) + (1 - paint) * lighter).astype(np.float32)
