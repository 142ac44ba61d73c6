"""Doors and windows of a room, with curtains and radiators."""

from __future__ import annotations

from dataclasses import replace

from dollhouse.scenes.synthetic.homes.furnishing import Furnishing, Wall
from dollhouse.scenes.synthetic.homes.groups import between
from dollhouse.scenes.synthetic.homes.layout import WALL, Opening


def _opening(room: Furnishing, label: str, wall: Wall, along: float, size: tuple[float, float], bottom: float) -> bool:
    """Cut an opening of this width and height into a wall and fill it."""
    draft = room.draft(label, width=size[0], height=size[1])
    reach = 0.5 * size[0]
    if any(
        o.wall == wall.edge and along - reach < o.end + 0.1 and along + reach > o.start - 0.1 for o in room.openings
    ):
        return False
    # The item stands partly in the wall, out of the room that ``place`` checks: it is put there afterwards.
    front = 0.02
    index = room.place(
        draft._replace(size=(front, *size)), wall.at(along, 0.5 * front + 0.001), bottom, WALL, free=False
    )
    if index is None:
        return False
    item = room.items[index]
    centre = wall.at(along, front - 0.5 * draft.size[0])
    room.items[index] = replace(item, centre=(centre.x, centre.y, item.centre[2]), size=(draft.size[0], *size))
    room.openings.append(Opening(wall.edge, along - reach, along + reach, bottom, bottom + size[1], index))
    return True


def add_door(room: Furnishing) -> None:
    """Cut a door into some wall, mostly near a corner, and keep the floor before it free."""
    rng, wall = room.rng, room.walls[int(room.rng.random() * len(room.walls))]
    width, height = between(rng, 0.84, 0.98), min(between(rng, 2.0, 2.12), room.height - 0.1)
    if wall.length < width + 0.4:
        return
    margin = 0.5 * width + 0.1
    along = rng.choice((margin, wall.length - margin, between(rng, margin, wall.length - margin)))
    if _opening(room, "door", wall, along, (width, height), 0.0):
        room.reserve(wall.at(along), 0.9, width, 0.0, height)


def add_window(room: Furnishing, small: bool) -> None:
    """Cut a window into some wall and keep tall furniture away from it."""
    rng, wall = room.rng, room.walls[int(room.rng.random() * len(room.walls))]
    if wall.length < 1.3:
        return
    french = not small and rng.random() < 0.15
    bottom = 0.05 if french else between(rng, 1.05, 1.2) if small else between(rng, 0.6, 1.0)
    top = min(room.height - 0.15, between(rng, 2.0, 2.3))
    width = min(wall.length - 0.5, between(rng, 0.6, 1.3) if small else between(rng, 0.8, 2.2))
    along = between(rng, 0.5 * width + 0.2, wall.length - 0.5 * width - 0.2)
    if _opening(room, "window", wall, along, (width, top - bottom), bottom):
        room.reserve(wall.at(along), 0.4, width, bottom + 0.08, top)


def dress_window(room: Furnishing, opening: Opening, blind: bool) -> None:
    """Hang curtains or a blind at a window, and a radiator below it."""
    rng, wall = room.rng, room.walls[opening.wall]
    middle, wide = 0.5 * (opening.start + opening.end), opening.end - opening.start
    if blind and rng.random() < 0.4:
        draft = room.draft("curtain", "blind", width=wide)
        room.place(
            draft, wall.at(middle, 0.035), opening.top - draft.size[2] + 0.02, WALL, through=(opening.item,), free=False
        )
    elif not blind and rng.random() < 0.65:
        draft = room.draft(
            "curtain", height=opening.top + 0.12 if rng.random() < 0.7 else opening.top - opening.bottom + 0.3
        )
        if draft.size[1] < 1.0:
            drawn = rng.random() < 0.15
            for edge, side in ((opening.start, -1), (opening.end, 1)):
                along = edge - side * (0.5 * draft.size[1] - 0.12) if drawn else edge + side * 0.3 * draft.size[1]
                z = opening.top + 0.12 - draft.size[2]
                room.place(
                    draft,
                    wall.at(along, 0.06 + 0.5 * draft.size[0]),
                    max(z, 0.01),
                    WALL,
                    through=(opening.item,),
                    free=False,
                )
    if opening.bottom > 0.7 and rng.random() < 0.45:
        radiator = room.draft("radiator", height=min(0.6, opening.bottom - 0.2))
        if radiator.size[2] < opening.bottom - 0.1:
            room.place(radiator, wall.at(middle, 0.5 * radiator.size[0] + 0.03), 0.1, WALL, free=False)
