"""Rooms by their use: outline, doors and windows, furniture, what hangs on walls, and small items on tops."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from random import Random
from typing import Final

from dollhouse.scenes.synthetic.furniture import sample_weighted
from dollhouse.scenes.synthetic.homes.furnishing import Draft, Frame, Furnishing, Wall
from dollhouse.scenes.synthetic.homes.groups import (
    bed_group,
    between,
    desk_group,
    dining_group,
    on_top,
    piano_group,
    seats_around,
    sideboard,
    sofa_group,
)
from dollhouse.scenes.synthetic.homes.kitchens import kitchen_run
from dollhouse.scenes.synthetic.homes.layout import CEILING, WALL
from dollhouse.scenes.synthetic.homes.openings import add_door, add_window, dress_window
from dollhouse.scenes.synthetic.homes.procedural import boards

Range = tuple[float, float]

#: Room -> weight, ranges of its sides in metres.
ROOMS: Final[dict[str, tuple[float, Range, Range]]] = {
    "living room": (2.2, (3.8, 6.5), (3.4, 5.2)),
    "kitchen": (1.8, (2.6, 4.8), (2.4, 3.8)),
    "bedroom": (1.6, (3.2, 5.0), (3.0, 4.4)),
    "bathroom": (1.2, (2.0, 3.4), (1.8, 2.8)),
    "office": (1.4, (2.6, 4.6), (2.4, 3.8)),
    "dining room": (1.4, (3.2, 5.2), (3.0, 4.4)),
    "child's room": (0.8, (2.8, 4.2), (2.6, 3.8)),
    "studio": (1.0, (5.0, 7.5), (3.8, 5.5)),
}
#: appliances that stand straight
_SQUARE: Final = ("microwave", "toaster", "oven", "printer")
_WET: Final = ("kitchen", "bathroom")


@cache
def programmes() -> dict[str, tuple[tuple[float, str, str, str, tuple[float, ...]], ...]]:
    """Read ``programmes.tsv``: what a room gets in turn, each as (share, group, label, role, heights of hanging)."""
    read: dict[str, tuple[tuple[float, str, str, str, tuple[float, ...]], ...]] = {}
    for line in files(__package__).joinpath("programmes.tsv").read_text("utf-8").splitlines():
        use, share, group, label, role, *heights = line.split("\t")
        row = (float(share), group, label, role, tuple(float(height) for height in heights if height))
        read[use] = (*read.get(use, ()), row)
    return read


@cache
def small_items() -> dict[str, tuple[int, dict[tuple[str, str], float]]]:
    """Read ``tops.tsv``: for a supporting label the most small items, and the weights of their labels and roles."""
    read: dict[str, tuple[int, dict[tuple[str, str], float]]] = {}
    for line in files(__package__).joinpath("tops.tsv").read_text("utf-8").splitlines():
        below, most, label, role, weight = line.split("\t")
        read.setdefault(below, (int(most), {}))[1][label, role] = float(weight)
    return read


def furnish(rng: Random, split: str) -> tuple[str, Furnishing]:
    """Sample a room and furnish it; returns its use and the furnished room."""
    use = sample_weighted(rng, {name: weight for name, (weight, _, _) in ROOMS.items()})
    _, across, deep = ROOMS[use]
    a, b = between(rng, *across), between(rng, *deep)
    width, depth = (a, b) if rng.random() < 0.5 else (b, a)
    room = Furnishing(rng, split, _outline(rng, width, depth), between(rng, 2.35, 2.9))
    add_door(room)
    if use in ("living room", "studio") and rng.random() < 0.3:
        add_door(room)
    for _ in range(rng.choice((1, 1, 2, 2, 3)) if use != "bathroom" else rng.choice((0, 1))):
        add_window(room, small=use in ("bathroom", "kitchen"))
    _build(room, use)
    _finish(room, use)
    return use, room


def _outline(rng: Random, width: float, depth: float) -> tuple[tuple[float, float], ...]:
    if rng.random() < 0.16 and min(width, depth) > 3.2:
        u, v = width * between(rng, 0.5, 0.72), depth * between(rng, 0.5, 0.72)
        return ((0.0, 0.0), (width, 0.0), (width, v), (u, v), (u, depth), (0.0, depth))
    return ((0.0, 0.0), (width, 0.0), (width, depth), (0.0, depth))


def _build(room: Furnishing, use: str) -> None:
    """Build the groups of a programme, each with its probability."""
    for share, group, label, role, heights in programmes()[use]:
        if room.rng.random() >= share:
            continue
        if group == "wall":
            room.against_wall(room.draft(label, role))
        elif group == "floor":
            room.somewhere(room.draft(label, role), 12, aligned=room.rng.random() < 0.4)
        elif group == "hang":
            draft = room.draft(label, role)
            room.on_wall(draft, min(between(room.rng, *heights), room.height - draft.size[2] - 0.05))
        elif group == "sideboard":
            sideboard(room, label, role)
        elif group == "bed":
            bed_group(room, role)
        else:
            _GROUPS[group](room)


def kitchen(room: Furnishing) -> None:
    """Build a kitchen run along some wall, a long one preferred."""
    rng = room.rng
    longest = 3.6 if max(wall.length for wall in room.walls) > 5 else 4.2
    for wall in sorted(room.walls, key=lambda wall: -wall.length * (0.5 + 0.5 * rng.random())):
        for start, end in _spans(room, wall):
            count = len(room.items)
            if kitchen_run(room, wall, start, min(end, start + longest)):
                return
            room.undo(count)


def _spans(room: Furnishing, wall: Wall) -> list[tuple[float, float]]:
    """List the stretches of a wall without doors and low windows, longest first."""
    blocked = sorted((o.start, o.end) for o in room.openings if o.wall == wall.edge and o.bottom < 0.95)
    edges = [0.02, *(x for start, end in blocked for x in (start - 0.05, end + 0.05)), wall.length - 0.02]
    spans = [(edges[k], edges[k + 1]) for k in range(0, len(edges), 2)]
    return sorted(((a, min(b, a + 4.2)) for a, b in spans if b - a > 1.3), key=lambda span: span[0] - span[1])


def island(room: Furnishing) -> bool:
    """Place an island on the free floor, with bar stools on one side."""
    rng = room.rng
    draft = room.draft("kitchen island")
    if (index := room.somewhere(draft, 24)) is None:
        return False
    if rng.random() < 0.7:
        item, stool = room.items[index], room.draft("stool", "bar")
        frame = Frame(item.centre[0], item.centre[1], item.yaw)
        count = max(1, int(item.size[1] / (stool.size[1] + 0.15)))
        for k in range(count):
            x = -0.5 * item.size[0] - 0.5 * stool.size[0] + 0.12
            room.place(stool, frame.at(x, ((k + 0.5) / count - 0.5) * item.size[1]), through=(index,))
    return True


def washbasin(room: Furnishing) -> None:
    """Place a washbasin with a mirror above."""
    rng = room.rng
    if rng.random() < 0.7:
        index = room.against_wall(room.draft("sink", "stand"))
    else:
        draft = room.draft("sink", "wall")
        index = room.on_wall(draft, 0.9 - draft.size[2])
    if index is not None:
        item = room.items[index]
        mirror = room.draft("mirror", "bath")
        behind = Frame(item.centre[0], item.centre[1], item.yaw).at(
            -0.5 * item.size[0] + 0.5 * mirror.size[0] - 0.008, 0.0
        )
        room.place(mirror, behind, max(1.15, item.top + 0.05), WALL)


def children_group(room: Furnishing) -> bool:
    """Place a small table with small chairs."""
    index = room.somewhere(room.draft("table", "child"))
    if index is not None:
        seats_around(room, index, room.draft("chair", "child"), 0.6)
    return index is not None


_GROUPS: Final[dict[str, Callable[[Furnishing], object]]] = {
    "sofa": sofa_group, "dining": dining_group, "kitchen": kitchen, "island": island, "desk": desk_group,
    "piano": piano_group, "children": children_group, "washbasin": washbasin,
}  # fmt: skip


def _finish(room: Furnishing, use: str) -> None:
    """Add curtains, radiators, pictures, lamps, plants, and small items on tops."""
    rng = room.rng
    for opening in list(room.openings):
        if room.items[opening.item].label == "window":
            dress_window(room, opening, blind=use in _WET)
    for _ in range(rng.choice((0, 0, 1)) if use in _WET else rng.choice((0, 1, 1, 2, 3, 4))):
        draft = room.draft("picture")
        room.on_wall(draft, between(rng, 1.5, 1.75) - 0.5 * draft.size[2], 10)
    middle = Frame(0.5 * (room.low[0] + room.high[0]), 0.5 * (room.low[1] + room.high[1]), 0.0)
    if room.notch is None and rng.random() < 0.6:
        draft = room.draft("ceiling fan") if use not in _WET and rng.random() < 0.25 else room.draft("lamp", "ceiling")
        if room.height - draft.size[2] > 1.9:
            room.place(draft, middle, room.height - draft.size[2], CEILING)
    _build(room, "any")
    if use != "bathroom":
        _build(room, "dry")
    clutter = rng.choice((0.3, 0.7, 1.0))
    for index in range(len(room.items)):
        _clutter(room, index, clutter)
        if room.items[index].model == "bookshelf":
            _fill_bookshelf(room, index, clutter)


def _sample_small(room: Furnishing, below: str) -> Draft:
    weights = small_items()[below][1]
    names = {f"{label}/{role}": weight for (label, role), weight in weights.items()}
    label, _, role = sample_weighted(room.rng, names).partition("/")
    return room.draft(label, role)


def _clutter(room: Furnishing, index: int, share: float) -> None:
    """Put small items on an item."""
    rng, item = room.rng, room.items[index]
    if item.label not in small_items() or item.top > 2.0:
        return
    most = 2 if item.label in ("table", "counter", "cabinet") and item.size[1] < 0.7 else small_items()[item.label][0]
    for _ in range(round(most * share * (0.4 + 0.8 * rng.random()))):
        draft = _sample_small(room, item.label)
        if draft.size[2] < 0.55 or item.top < 0.9:
            on_top(room, draft, index, turn=0.0 if draft.label in _SQUARE else between(rng, -0.6, 0.6))


def _fill_bookshelf(room: Furnishing, index: int, share: float) -> None:
    """Put books and the like between the boards of a procedural bookshelf."""
    rng, item = room.rng, room.items[index]
    frame = Frame(item.centre[0], item.centre[1], item.yaw)
    for height in boards(item.size[2]):
        if rng.random() > 0.4 + 0.5 * share:
            continue
        draft = _sample_small(room, "within bookshelf")
        if draft.label == "book":
            draft = room.draft("book", "row", width=min(0.9, max(0.12, (item.size[1] - 0.1) * between(rng, 0.3, 0.95))))
        spare = 0.5 * (item.size[1] - draft.size[1]) - 0.035
        if draft.size[2] < 0.29 and draft.size[0] < item.size[0] and spare > 0:
            x = max(
                0.5 * (item.size[0] - draft.size[0]) - between(rng, 0.0, 0.05),
                0.5 * (draft.size[0] - item.size[0]) + 0.01,
            )
            room.place(draft, frame.at(x, between(rng, -spare, spare)), item.bottom + height, index, through=(index,))
