"""Made rooms whose furniture is drawn with pieces of Sweet Home 3D libraries: the same rooms, boxes and photos' places.

Chooses a piece for each item, stretches it to the item's box and paints it in the item's colour. Knows nothing of how
libraries are read (sweethome), or of how rooms are furnished and photographed (rooms). Where no piece does, the item
stays built from parts, as in the plain room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import product
from math import log
from random import Random
from typing import Any, Final

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from dollhouse.errors import SceneError
from dollhouse.geometry import Array
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.synthetic.furniture import COLOURS, KINDS, Rgb
from dollhouse.scenes.synthetic.layout import Item, RoomLayout, footprint, gap
from dollhouse.scenes.synthetic.meshes import room_surfaces
from dollhouse.scenes.synthetic.render import OBJECT, Rendering, Surfaces, render
from dollhouse.scenes.synthetic.room_scene import room_layout, room_scene
from dollhouse.scenes.synthetic.sweethome import DEBIAN_FOLDER, Piece, installed_libraries, list_pieces, load_piece

Floats = NDArray[np.float32]

SWEETHOME_VERSION = 1  #: raise it whenever the pictures of a furnished room change
MOST_FACES: Final = 20_000  #: a piece of more is not used, so that drawing stays quick
MOST_MISFIT: Final = log(1.6)  #: a piece may be stretched this much more along one axis than along another
LEAST_LEVEL: Final = 0.75  #: share of the top of a thing to stand on that must be level, at its full height
_LEVEL_UNDER: Final = 0.9  #: the same share below each thing that does stand there
_LEVEL_WITHIN: Final = 0.012  #: metres
_CELLS: Final = 24
_SHORTLIST: Final = 6
#: a name with one of these before its last word means something else than the last word says
_MISLEADING_WORDS: Final = {
    "abdominal", "baby", "beach", "bedside", "bread", "bunk", "camping", "changing", "corner", "deck", "dressing",
    "flower", "football", "grand", "high", "hospital", "medicine", "mezzanine", "plant", "pool", "punching",
    "relax", "sink", "street", "technical", "television",
}  # fmt: skip
#: looked at and left out: shaped unlike their category, or speckled by two materials in one place
_LEFT_OUT: Final = {
    "Blend Swap CC-0#antiqueChair", "Blend Swap CC-0#bookcase", "Blend Swap CC-0#couch2",
    "Blend Swap CC-0#foldingChair", "Blend Swap CC-0#modernArmchair", "Blend Swap CC-0#stool",
    "Blend Swap CC-BY#plaidChair", "Kator Legaz#mid-century-bench-sofa", "Scopia#box_room", "Scopia#ext_chair",
    "Scopia#kids_desk_table", "Scopia#office_box", "Scopia#rattanTable", "Scopia#ryokanChair",
}  # fmt: skip


def sweethome_room(split: str, number: int, *, image_size: int = 126, views: int = 4) -> Scene:
    """The room of :func:`dollhouse.scenes.synthetic.room_scene.room_scene` with real models as furniture where there are any.

    Boxes, poses and intrinsics are those of the plain room; its ``source`` stays "rooms", so that questions are asked
    with the rooms' balance. ``metadata["furniture"]`` lists the pieces used, each with the id of its box, its
    creator and licence. Raises SceneError where no library is installed or one is broken, and as ``room_scene`` does.
    """
    plain = room_scene(split, number, image_size=image_size, views=views)
    layout = room_layout(split, number)
    pieces = choose_pieces(layout)
    poses = np.stack([view.world_from_camera for view in plain.views if view.world_from_camera is not None])
    intrinsics = plain.views[0].intrinsics
    assert intrinsics is not None

    @cache
    def drawn() -> Rendering:
        return render(fitted_surfaces(layout, pieces), layout.lighting, poses, intrinsics, image_size, image_size)

    def picture(kind: str, index: int) -> Callable[[], NDArray[Any]]:
        return lambda: getattr(drawn(), kind)[index]

    licences = sorted({piece.licence for piece in pieces.values()})
    return replace(
        plain,
        name=f"sweethome:{split}/{number}",
        views=tuple(
            replace(
                view,
                open_image=picture("images", index),
                open_depth=picture("depths", index),
                open_instances=picture("instances", index),
            )
            for index, view in enumerate(plain.views)
        ),
        metadata={
            **plain.metadata,
            "licence": "; ".join(["Apache-2.0 (the room)", *(f"{licence} (furniture)" for licence in licences)]),
            "furniture": [
                {
                    "box": index + 1,
                    "name": piece.name,
                    "id": piece.id,
                    "library": piece.library.name,
                    "creator": piece.creator,
                    "licence": piece.licence,
                }
                for index, piece in pieces.items()
            ],
        },
    )


def choose_pieces(layout: RoomLayout) -> dict[int, Piece]:
    """The piece for each item (by its position in the layout) that has one. Raises SceneError as :func:`sweethome_room`.

    Pure: depends on the layout and the installed libraries only. Items of one size and category get the same piece.
    """
    shelf = _pieces_by_category()
    chosen = {}
    for index, item in enumerate(layout.items):
        if not _something_under(layout, index) and (piece := _choose(shelf.get(item.label, ()), layout, index)):
            chosen[index] = piece
    return chosen


def fitted_surfaces(layout: RoomLayout, pieces: dict[int, Piece]) -> Surfaces:
    """The triangles of ``layout`` with ``pieces`` in place of those of their items."""
    built = room_surfaces(layout)
    kept = ~np.isin(built.instances, [index + 1 for index in pieces])
    triangles, rgb, instances = [built.triangles[kept]], [built.rgb[kept]], [built.instances[kept]]
    for index, piece in pieces.items():
        item, model = layout.items[index], _model(piece)
        assert model is not None  # or it would not have been chosen
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


# Choosing


@cache
def _pieces_by_category() -> dict[str, tuple[Piece, ...]]:
    libraries = installed_libraries()
    if not libraries:
        raise SceneError(
            f"no furniture libraries in {DEBIAN_FOLDER}; install them with: apt-get install sweethome3d-furniture"
        )
    shelf: dict[str, tuple[Piece, ...]] = {}
    for piece in list_pieces(libraries):
        misleading = piece.id in _LEFT_OUT or _MISLEADING_WORDS & set(piece.name.lower().split()[:-1])
        if piece.category is not None and not misleading:
            shelf[piece.category] = (*shelf.get(piece.category, ()), piece)
    return shelf


def _choose(pieces: Iterable[Piece], layout: RoomLayout, index: int) -> Piece | None:
    """One of the pieces whose proportions are nearest to those of an item, or None where no piece does."""
    item = layout.items[index]
    near = sorted((misfit, piece.id, piece) for piece in pieces if (misfit := _misfit(piece, item)) < MOST_MISFIT)
    shortlist = [piece for _, _, piece in near[:_SHORTLIST]]
    Random(f"{item.label} {item.size}").shuffle(shortlist)
    return next((piece for piece in shortlist if _does(piece, layout, index)), None)


def _misfit(piece: Piece, item: Item) -> float:
    """How differently the axes of a piece must be stretched to fill an item's box: log of the largest ratio."""
    stretch = [log(wanted / own) for wanted, own in zip(item.size, piece.size, strict=True)]
    return max(stretch) - min(stretch)


def _does(piece: Piece, layout: RoomLayout, index: int) -> bool:
    """Whether a piece has few enough faces, and is level wherever things may and do stand on it."""
    model, item = _model(piece), layout.items[index]
    if model is None or not KINDS[item.label].top:
        return model is not None
    shares = [float(model.level[_covers(other, item)].mean()) for other in layout.items if other.support == index]
    return bool(model.level.mean() >= LEAST_LEVEL) and all(share >= _LEVEL_UNDER for share in shares)


def _covers(above: Item, below: Item) -> NDArray[np.bool_]:
    """The cells (_CELLS, _CELLS) of the top of ``below`` that ``above`` stands on, at least one."""
    x, y = _cells() * np.array(below.size)[:2, None, None]
    cos, sin = np.cos(below.yaw), np.sin(below.yaw)
    dx, dy = (
        x * cos - y * sin + below.centre[0] - above.centre[0],
        x * sin + y * cos + below.centre[1] - above.centre[1],
    )
    cos, sin = np.cos(above.yaw), np.sin(above.yaw)
    along, across = np.abs(dx * cos + dy * sin), np.abs(dy * cos - dx * sin)
    outside = np.maximum(along / above.size[0], across / above.size[1])
    return outside <= max(0.5, outside.min())


def _something_under(layout: RoomLayout, index: int) -> bool:
    """Whether something stands between the legs of an item: only the built tables are sure to leave it space."""
    prints = [footprint(*item.centre[:2], item.yaw, *item.size[:2]) for item in layout.items]
    return any(
        other.support < 0 and layout.items[index].support < 0 and k != index and gap(prints[k], prints[index]) < 0
        for k, other in enumerate(layout.items)
    )


# Making a piece ready to be stretched and painted


@dataclass(frozen=True, eq=False)
class _Model:
    """A piece that fills the cube from -0.5 to 0.5, x to its front, z up."""

    triangles: Floats  #: (F, 3, 3), corners counter-clockwise as seen from outside
    light: Floats  #: (F,) lightness in [-1, 1] beside the main material's
    level: NDArray[np.bool_]  #: (_CELLS, _CELLS) where the top, seen from above, is level at full height


@lru_cache(maxsize=256)
def _model(piece: Piece) -> _Model | None:
    """The piece, made ready once; None where it has too many faces."""
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
    seen = np.cumsum((area * (np.maximum(ahead, behind) + 1e-6))[order := np.argsort(lightness)])
    main = lightness[order[np.searchsorted(seen, 0.5 * seen[-1])]]  # the median of what is seen from outside
    return _Model(
        # Models of thin sheets wind their faces either way, or both ways in one place: light falls on the open side.
        triangles=np.where((behind > ahead)[:, None, None], triangles[:, ::-1], triangles),
        light=(lightness - main).astype(np.float32),
        level=_level(caster, _LEVEL_WITHIN / piece.size[2]),
    )


def _cells() -> Array:
    """x and y (2, _CELLS, _CELLS) of the cells' middles in the unit square."""
    middle = (np.arange(_CELLS) + 0.5) / _CELLS - 0.5
    return np.stack(np.meshgrid(middle, middle, indexing="ij"))


def _level(caster: EmbreeScene, within: float) -> NDArray[np.bool_]:
    cells = _cells().reshape(2, -1)
    above = np.column_stack([*cells, np.ones(cells.shape[1])]).astype(np.float32)
    hit = caster.run(above, np.tile(np.array([[0, 0, -1]], np.float32), (len(above), 1)), output=1)
    return ((hit["primID"] >= 0) & (hit["tfar"] < 0.5 + within)).reshape(_CELLS, _CELLS)


def _escapes(triangles: Floats, caster: EmbreeScene) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of eight rays from the fronts and from the backs of triangles (F, 3, 3) meet nothing: both (F,)."""
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
    """Colours (F, 3): the main material in ``rgb``, the others a shade darker or lighter, never another colour."""
    paint = np.array(rgb)
    if sum(rgb) < 0.6:  # nearly black shows lighter shades only
        light = np.abs(light) * np.float32(0.6)
    darker, lighter = np.clip(-1.5 * light, 0.0, 0.45)[:, None], np.clip(light, 0.0, 0.25)[:, None]
    return (paint * (1 - darker) + (1 - paint) * lighter).astype(np.float32)
