"""Kitchen runs: base units and appliances below one counter with a sink, wall cabinets and a range hood above."""

from __future__ import annotations

from math import pi
from typing import Final

from dollhouse.scenes.synthetic.homes.furnishing import Furnishing, Wall
from dollhouse.scenes.synthetic.homes.groups import between, on_top
from dollhouse.scenes.synthetic.homes.layout import WALL

COUNTER_TOP: Final = 0.9  #: metres above the floor


def kitchen_run(room: Furnishing, wall: Wall, start: float, end: float) -> bool:
    """Build a run of units along a wall between two places: counter, sink, stove, oven, dishwasher, wall cabinets."""
    rng = room.rng
    depth, free = 0.62, end - start
    thick = between(rng, 0.03, 0.04)
    base = COUNTER_TOP - thick
    if free < 1.2:
        return False
    paint = room.draft("cabinet", "base").paint
    look = int(rng.random() * 2**31)
    slots: list[str] = []
    left = free
    cold = room.draft("fridge")
    if left > 2.0 + cold.size[1] - 0.7 and rng.random() < 0.8:
        slots, left = ["fridge"], left - cold.size[1] - 0.02
    for slot, share, width in (("stove", 0.92, 0.6), ("dishwasher", 0.45, 0.6), ("washing machine", 0.25, 0.62)):
        if left - width > 0.8 and rng.random() < share:
            slots.append(slot)
            left -= width
    fridge = slots[:1] == ["fridge"]
    inner = slots[1:] if fridge else slots
    rng.shuffle(inner)
    pieces = len(inner) + 1
    shares = [between(rng, 0.5, 1.5) for _ in range(pieces)]
    widths = [left * share / sum(shares) for share in shares]
    order: list[tuple[str, float]] = [("cabinet", widths[0])]
    for slot, width in zip(inner, widths[1:], strict=True):
        order += [(slot, 0.62 if slot == "washing machine" else 0.6), ("cabinet", width)]
    order = [(name, width) for name, width in order if width > 0.05]
    if fridge:
        order.insert(0, ("fridge", cold.size[1] + 0.02))
    if rng.random() < 0.5:
        order.reverse()
    at, counters, hobs, cabinets = start, [], [], []  # type: float, list[list[float]], list[float], list[tuple[float, float]]
    first = len(room.items)
    for name, width in order:
        middle = at + 0.5 * width
        covered = name not in ("fridge", "range")
        if name == "cabinet":
            draft = room.draft("cabinet", "base", length=0.6, width=width, height=base)._replace(paint=paint, seed=look)
            placed = room.place(draft, wall.at(middle, 0.3))
            cabinets.append((at, at + width))
        elif name == "stove":
            hobs.append(middle)
            if rng.random() < 0.45:  # free-standing
                stove = room.draft("stove")
                while stove.size[1] > 0.63:
                    stove = room.draft("stove")
                covered = False
                placed = room.place(stove, wall.at(middle, 0.5 * stove.size[0] + 0.005))
            else:
                placed = room.place(room.draft("oven", height=base), wall.at(middle, 0.3))
        elif name == "fridge":
            covered = False
            placed = room.place(cold, wall.at(middle, 0.5 * cold.size[0] + 0.01))
        elif name == "dishwasher":
            placed = room.place(room.draft("dishwasher", height=base), wall.at(middle, 0.3))
        else:
            machine = room.draft("washing machine")
            placed = room.place(machine, wall.at(middle, 0.5 * machine.size[0]))
        if placed is None and name in ("cabinet", "stove"):
            return False
        if covered and counters and abs(counters[-1][1] - at) < 0.01:
            counters[-1][1] = at + width
        elif covered:
            counters.append([at, at + width])
        at += width
    top = room.draft("counter", length=depth, height=thick)
    for a, b in counters:
        support = next((k for k in range(first, len(room.items)) if room.items[k].label != "fridge"), first)
        index = room.place(top._replace(size=(depth, b - a, thick)), wall.at(0.5 * (a + b), 0.5 * depth), base, support)
        if index is None:
            return False
        for hob in hobs:
            if a < hob < b:
                on_top(room, room.draft("stove", "cooktop"), index, along=0.0, across=0.5 * (a + b) - hob)
    _sink_in(room, wall, cabinets, counters)
    _wall_cabinets(room, wall, order, start, hobs, look, paint)
    return True


def _sink_in(room: Furnishing, wall: Wall, cabinets: list[tuple[float, float]], counters: list[list[float]]) -> None:
    """Set a sink into the counter over the widest cabinet."""
    sink = room.draft("sink", "kitchen")
    a, b = max(cabinets, key=lambda span: span[1] - span[0])
    if b - a < sink.size[1] + 0.06:
        sink = sink._replace(size=(sink.size[0], max(0.34, b - a - 0.08), sink.size[2]))
    if b - a < 0.4:
        return
    for index, item in enumerate(room.items):
        if item.label == "counter" and any(c <= a + 0.01 and b <= d + 0.01 for c, d in counters):
            own = wall.at(0.5 * (a + b), 0.31)
            dx, dy = own.x - item.centre[0], own.y - item.centre[1]
            if abs(dx) + abs(dy) < 0.5 * item.size[1] + 0.3 and abs(item.yaw - ((own.yaw + pi) % (2 * pi) - pi)) < 0.01:
                below = [k for k, other in enumerate(room.items) if other.model == "base_cabinet"]
                room.place(sink, own, item.top - 0.17, index, through=[index, *below])
                return


def _wall_cabinets(
    room: Furnishing,
    wall: Wall,
    order: list[tuple[str, float]],
    start: float,
    hobs: list[float],
    look: int,
    paint: str | None,
) -> None:
    """Hang cabinets above the run, and a range hood over the stove."""
    rng = room.rng
    style = rng.random()
    bottom, at = between(rng, 1.4, 1.5), start
    shelf = room.draft("cabinet", "wall")
    spans: list[list[float]] = []
    for name, width in order:
        if name == "stove":
            hood = room.draft("range hood")
            if rng.random() < 0.8:
                z = min(max(bottom + 0.1, 1.5), room.height - hood.size[2])
                room.place(hood, wall.at(at + 0.5 * width, 0.5 * hood.size[0]), z, WALL)
        elif name != "fridge":
            if spans and abs(spans[-1][1] - at) < 0.01:
                spans[-1][1] = at + width
            else:
                spans.append([at, at + width])
        at += width
    for a, b in spans:
        if style < 0.75 and b - a > 0.35:
            draft = shelf._replace(model="cabinet", size=(0.34, b - a - 0.01, shelf.size[2]), paint=paint, seed=look)
            draft = draft._replace(size=(0.34, b - a - 0.01, min(0.75, shelf.size[2])))
            room.place(draft, wall.at(0.5 * (a + b), 0.17), bottom, WALL)
        elif style < 0.9 and b - a > 0.5:
            plank = room.draft("shelf", "wall", width=min(1.2, b - a - 0.1))
            room.place(plank, wall.at(0.5 * (a + b), 0.5 * plank.size[0]), bottom, WALL)
