"""Groups of furniture as people put them: a sofa facing a television, a table with chairs, a kitchen run, ..."""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from random import Random

from dollhouse.scenes.synthetic.homes.furnishing import Draft, Frame, Furnishing
from dollhouse.scenes.synthetic.homes.layout import CEILING, WALL
from dollhouse.scenes.synthetic.homes.models import seat_height, standing_height


def between(rng: Random, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def _repeat(room: Furnishing, frames: list[Frame], build: Callable[[Frame], bool]) -> bool:
    """Build a group at the first frame where it fits."""
    for frame in frames:
        count = len(room.items)
        if build(frame):
            return True
        room.undo(count)
    return False


def sofa_group(room: Furnishing) -> bool:
    """Place a sofa at a wall or before it, a coffee table, a television opposite, armchairs and side tables."""
    rng = room.rng
    sofa = room.draft("sofa", "corner" if rng.random() < 0.2 else "")
    away = 0.0 if rng.random() < 0.75 else between(rng, 0.3, 1.2)
    frames = [frame.at(away, 0.0) for frame in room.along_walls(sofa.size[1], sofa.size[0], 14)]
    return _repeat(room, frames, lambda frame: _sofa_at(room, sofa, frame))


def _sofa_at(room: Furnishing, sofa: Draft, frame: Frame) -> bool:
    rng = room.rng
    half, wide = 0.5 * sofa.size[0], 0.5 * sofa.size[1]
    ahead = room.depth_before(frame)
    if ahead < half + 1.0 or (seat := room.place(sofa, frame)) is None:
        return False
    pillows(room, seat, int(between(rng, 0, 3.9)))
    coffee = None
    if ahead > half + 1.3 and rng.random() < 0.85:
        table = room.draft("table", "coffee")
        at = frame.at(half + between(rng, 0.3, 0.45) + 0.5 * table.size[0], between(rng, -0.2, 0.2))
        coffee = room.place(table, at)
        if rng.random() < 0.6:
            room.place(room.draft("rug"), at.at(0.0, 0.0, 0.0 if rng.random() < 0.5 else 0.5 * pi))
    if 2.0 < ahead + half < 6.5 and rng.random() < 0.85:
        television_group(room, frame.at(ahead, between(rng, -0.4, 0.4), pi))
    for side in (-1, 1):
        if rng.random() < 0.4:
            table = room.draft("table", "side") if rng.random() < 0.6 else room.draft("lamp", "floor")
            x = -half + 0.5 * table.size[0] + 0.05
            index = room.place(table, frame.at(x, side * (wide + 0.5 * table.size[1] + 0.06)))
            if index is not None and table.label == "table" and rng.random() < 0.6:
                on_top(room, room.draft("lamp", "table"), index)
    chairs = rng.choice((0, 0, 1, 1, 2))
    armchair = room.draft("armchair")
    for side in (rng.choice((-1, 1)), 0)[:1] if chairs == 1 else (-1, 1)[:chairs]:
        reach = (room.items[coffee].size[1] * 0.5 if coffee is not None else 0.5) + 0.5 * armchair.size[0]
        at = frame.at(half + between(rng, 0.5, 1.0), side * (reach + between(rng, 0.35, 0.7)))
        room.place(armchair, at.at(0.0, 0.0, -side * between(rng, 0.9, 1.7)))
    return True


def television_group(room: Furnishing, frame: Frame) -> None:
    """Place a television with its back to the wall behind ``frame``, on a stand or on the wall, with speakers."""
    rng = room.rng
    stand = room.draft("cabinet", "television")
    index = room.place(stand, frame.at(0.5 * stand.size[0] + 0.02, 0.0))
    if index is None or rng.random() < 0.25:
        screen = room.draft("television", "wall")
        room.place(screen, frame.at(0.5 * screen.size[0] + 0.005, 0.0), between(rng, 0.95, 1.15), WALL)
    else:
        top = room.items[index]
        screen = room.draft("television", width=min(1.45, max(0.75, top.size[1] * between(rng, 0.6, 0.95))))
        on_top(room, screen, index, across=0.0)
    if rng.random() < 0.35:
        speaker = room.draft("speaker", rng.choice(("", "floor")))
        for side in (-1, 1):
            room.place(speaker, frame.at(0.5 * speaker.size[0] + 0.05, side * (0.5 * stand.size[1] + 0.25)))


def dining_group(room: Furnishing, chairs: str = "") -> bool:
    """Place a table on the free floor with chairs around, a lamp above and a rug below."""
    rng = room.rng
    table = room.draft("table", "small" if rng.random() < 0.12 else "dining")
    near_wall = room.along_walls(table.size[0] + 1.2, table.size[1] + 1.3, 8)
    return _repeat(room, [*near_wall, *room.anywhere(14)], lambda frame: _table_at(room, table, frame, chairs))


def _table_at(room: Furnishing, table: Draft, frame: Frame, role: str) -> bool:
    rng = room.rng
    if (index := room.place(table, frame)) is None:
        return False
    seats_around(room, index, room.draft("chair", role), between(rng, 0.5, 1.0))
    if rng.random() < 0.35:
        room.place(room.draft("rug"), frame.at(0.0, 0.0, 0.5 * pi * int(2 * rng.random())))
    if rng.random() < 0.6:
        lamp = room.draft("lamp", "ceiling")
        if lamp.size[2] > 0.3:
            room.place(lamp, frame, room.height - lamp.size[2], CEILING)
    return True


def seats_around(room: Furnishing, index: int, seat: Draft, share: float) -> None:
    """Place copies of a chair or stool around a table, some pushed in, each with probability ``share``."""
    rng, table = room.rng, room.items[index]
    frame = Frame(table.centre[0], table.centre[1], table.yaw)
    length, width = table.size[:2]
    under = min(0.3, 0.45 * seat.size[0]) * rng.random() if seat.size[2] > 0.7 else 0.1
    if seat.size[2] * 0.55 > table.size[2] - 0.05:
        under = -0.05
    for sides, along, across in (((0.0, pi), width, length), ((0.5 * pi, -0.5 * pi), length, width)):
        count = max(1, int((along - 0.05) / (seat.size[1] + 0.1)))
        if along < 0.95 and along < across - 0.2 and rng.random() < 0.4:
            count = 0
        for side in sides:
            for k in range(count):
                if rng.random() > share:
                    continue
                offset = ((k + 0.5) / count - 0.5) * along
                pulled = -under if rng.random() < 0.8 else between(rng, 0.0, 0.4)
                at = frame.at(0.0, 0.0, side).at(0.5 * across + pulled + 0.5 * seat.size[0], offset, pi)
                jitter = (rng.random() - 0.5) * (0.15 if pulled < 0 else 0.9)
                room.place(seat, at.at(0.0, 0.0, jitter), through=(index,))


def bed_group(room: Furnishing, role: str) -> bool:
    """Place a bed, head to the wall, with nightstands, lamps, a rug and pillows."""
    rng = room.rng
    bed = room.draft("crib") if role == "crib" else room.draft("bed", role)
    deep, wide = 0.5 * bed.size[0], 0.5 * bed.size[1]

    def build(frame: Frame) -> bool:
        if (index := room.place(bed, frame)) is None:
            return False
        if role == "crib":
            return True
        stand = room.draft("nightstand")
        for side in (-1, 1):
            at = frame.at(-deep + 0.5 * stand.size[0] + 0.02, side * (wide + 0.5 * stand.size[1] + 0.04))
            top = room.place(stand, at) if rng.random() < (0.85 if role == "double" else 0.5) else None
            if top is not None and rng.random() < 0.75:
                on_top(room, room.draft("lamp", "table"), top)
        if rng.random() < 0.4:
            room.place(room.draft("rug"), frame.at(0.5 * deep, 0.0, rng.choice((0.0, 0.5 * pi))))
        if role == "double" and rng.random() < 0.2:
            bench = room.draft("bench")
            room.place(bench, frame.at(deep + 0.5 * bench.size[0] + 0.08, 0.0))
        if rng.random() < 0.5:
            pillow = room.draft("pillow", "bed")
            for y in (-0.5 * wide, 0.5 * wide) if role == "double" else (0.0,):
                on_top(room, pillow, index, along=-deep + 0.45, across=y)
        return True

    return _repeat(room, room.along_walls(2 * wide + (1.0 if role == "double" else 0.0), 2 * deep, 18), build)


def desk_group(room: Furnishing) -> bool:
    """Place a desk at a wall with a screen or laptop, keyboard, lamp, office chair, computer and bin."""
    desk = room.draft("desk")
    frames = room.along_walls(desk.size[1], desk.size[0], 16)
    return _repeat(room, frames, lambda frame: _desk_at(room, desk, frame))


def _desk_at(room: Furnishing, desk: Draft, frame: Frame) -> bool:
    rng = room.rng
    if (index := room.place(desk, frame)) is None:
        return False
    deep, wide = 0.5 * desk.size[0], 0.5 * desk.size[1]
    seat = room.draft("office chair") if rng.random() < 0.8 else room.draft("chair")
    at = frame.at(deep + between(rng, -0.15, 0.35) + 0.3 * seat.size[0], between(rng, -0.1, 0.1) * wide, pi)
    room.place(seat, at.at(0.0, 0.0, (rng.random() - 0.5) * 1.2), through=(index,))
    screens = rng.choice((0, 1, 1, 1, 2))
    middle = between(rng, -0.15, 0.15) * wide
    if screens:
        screen = room.draft("monitor")
        for k in range(screens):
            across = middle + (k - 0.5 * (screens - 1)) * (screen.size[1] + 0.04)
            on_top(room, screen, index, along=-deep + 0.5 * screen.size[0] + 0.08, across=across)
        if screen.model == "monitor":  # the other models have their own
            on_top(room, room.draft("keyboard"), index, along=deep - between(rng, 0.14, 0.2), across=middle)
            if rng.random() < 0.5:
                tower = room.draft("computer")
                if tower.model == "computer":
                    x = -deep + 0.5 * tower.size[0] + 0.05
                    side = rng.choice((-1, 1)) * (wide - 0.2)
                    room.place(tower, frame.at(x, side), through=(index,))
    if not screens or rng.random() < 0.2:
        on_top(room, room.draft("laptop"), index, along=deep - 0.25, across=middle if not screens else -0.6 * wide)
    if rng.random() < 0.5:
        on_top(room, room.draft("lamp", "desk"), index, along=-0.4 * deep, across=rng.choice((-1, 1)) * 0.8 * wide)
    if rng.random() < 0.45:
        on_top(room, room.draft("printer"), index)
    if rng.random() < 0.4:
        waste = room.draft("bin")
        room.place(waste, frame.at(0.0, rng.choice((-1, 1)) * (wide + 0.5 * waste.size[1] + 0.05)))
    return True


def piano_group(room: Furnishing) -> bool:
    """Place a piano at a wall with its bench."""
    piano = room.draft("piano")

    def build(frame: Frame) -> bool:
        if (index := room.place(piano, frame)) is None:
            return False
        bench = room.draft("bench")
        room.place(bench, frame.at(0.5 * piano.size[0] + 0.25 * bench.size[0] + 0.1, 0.0, pi), through=(index,))
        return True

    return _repeat(room, room.along_walls(piano.size[1], piano.size[0], 12), build)


def sideboard(room: Furnishing, label: str, role: str = "") -> bool:
    """Place a dresser or cabinet at a wall, often with a mirror or picture above."""
    rng = room.rng
    draft = room.draft(label, role)
    if (index := room.against_wall(draft)) is None:
        return False
    item = room.items[index]
    if item.top < 1.2 and rng.random() < 0.6:
        above = room.draft("mirror") if rng.random() < 0.5 else room.draft("picture")
        behind = Frame(item.centre[0], item.centre[1], item.yaw).at(
            -0.5 * item.size[0] + 0.5 * above.size[0] - 0.005, 0.0
        )
        room.place(above, behind, max(item.top + 0.12, 1.1), WALL)
    return True


def on_top(
    room: Furnishing,
    draft: Draft,
    index: int,
    *,
    along: float | None = None,
    across: float | None = None,
    turn: float = 0.0,
) -> int | None:
    """Place an item on top of another, at ``along`` and ``across`` metres from its middle or anywhere."""
    rng, below = room.rng, room.items[index]
    frame = Frame(below.centre[0], below.centre[1], below.yaw)
    reach = [0.5 * (below.size[k] - max(draft.size[k] if turn == 0 else max(draft.size[:2]), 0.02)) for k in (0, 1)]
    if min(reach) < -0.03:
        return None
    fixed = along is not None and across is not None
    for _ in range(1 if fixed else 8):
        x = along if along is not None else between(rng, -1, 1) * max(reach[0], 0.0)
        y = across if across is not None else between(rng, -1, 1) * max(reach[1], 0.0)
        z = standing_height(below, x, y, draft.size, turn)
        if z is not None and (placed := room.place(draft, frame.at(x, y, turn), z, index)) is not None:
            return placed
    return None


def pillows(room: Furnishing, index: int, count: int) -> None:
    """Lean pillows against the back of a sofa or armchair."""
    rng, sofa = room.rng, room.items[index]
    frame = Frame(sofa.centre[0], sofa.centre[1], sofa.yaw)
    for _ in range(count):
        pillow = room.draft("pillow")
        x, y = between(rng, -0.12, -0.02) * sofa.size[0], between(rng, -0.38, 0.38) * sofa.size[1]
        z = seat_height(sofa, x, y)
        if z is not None:
            room.place(pillow, frame.at(x, y, between(rng, -0.3, 0.3)), z, index)
