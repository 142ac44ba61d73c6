"""Furnishes a room: which things stand where, without interpenetration and with space left to walk.

Knows nothing of cameras or pictures. Two things of one level (the floor, a table's top, the space under it) either
touch on purpose, with a gap under a centimetre, or stand at least :data:`APART` from each other, so that
"is A touching B" always has a clear answer.
"""

from __future__ import annotations

from math import atan2, cos, pi, sin
from random import Random
from typing import Final

from dollhouse.scenes.synthetic.furniture import COLOURS, KINDS, draw_size, draw_weighted
from dollhouse.scenes.synthetic.layout import Footprint, Item, RoomLayout, footprint, gap
from dollhouse.scenes.synthetic.materials import Lighting, choose_floor, choose_lighting, choose_walls

APART: Final = 0.15  #: metres between things that do not touch
WALL_GAP: Final = 0.004  #: metres kept from the walls
_FLOOR_LEVEL: Final = -1
_TRIES: Final = 14


def furnish(rng: Random) -> RoomLayout:
    """Draw one furnished room."""
    length, width = 3.0 + 4.0 * rng.random() ** 1.6, 3.0 + 3.0 * rng.random() ** 1.6
    low, high = (-0.5 * length, -0.5 * width), (0.5 * length, 0.5 * width)
    notch, outline = _outline(rng, low, high)
    floor, walls = choose_floor(rng), choose_walls(rng)
    height = 2.4 + 0.6 * rng.random()
    lighting = choose_lighting(rng, low, high, height)
    if notch is not None and notch[0] <= lighting.lamp[0] <= notch[2] and notch[1] <= lighting.lamp[1] <= notch[3]:
        lighting = Lighting((0.0, 0.0, lighting.lamp[2]), lighting.lamp_rgb, lighting.ambient_rgb)
    items = _Furnisher(rng, low, high, notch, outline).furnish()
    return RoomLayout(low, high, height, notch, outline, tuple(items), floor, walls, lighting)


def _outline(
    rng: Random, low: tuple[float, float], high: tuple[float, float]
) -> tuple[tuple[float, float, float, float] | None, tuple[tuple[float, float], ...]]:
    (x0, y0), (x1, y1) = low, high
    if rng.random() > 0.25 or min(x1 - x0, y1 - y0) < 3.6:
        return None, ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    # The missing corner is always the one at high x and high y; it stays clear of the room's middle.
    u, v = x1 * (0.25 + 0.4 * rng.random()), y1 * (0.25 + 0.4 * rng.random())
    return (u, v, x1 + 0.1, y1 + 0.1), ((x0, y0), (x1, y0), (x1, v), (u, v), (u, y1), (x0, y1))


class _Furnisher:
    """The room while it is being furnished."""

    def __init__(
        self,
        rng: Random,
        low: tuple[float, float],
        high: tuple[float, float],
        notch: tuple[float, float, float, float] | None,
        outline: tuple[tuple[float, float], ...],
    ) -> None:
        self.rng, self.low, self.high, self.outline = rng, low, high, outline
        self.notch = None
        if notch is not None:
            u0, v0, u1, v1 = notch
            self.notch = footprint(0.5 * (u0 + u1), 0.5 * (v0 + v1), 0.0, u1 - u0, v1 - v0)
        self.items: list[Item] = []
        self.prints: list[Footprint] = []
        self.levels: list[int] = []  # -1 floor; k on top of item k; -2 - k under item k
        self.area = (high[0] - low[0]) * (high[1] - low[1])

    def furnish(self) -> list[Item]:
        rng = self.rng
        wanted = 5 + int(8 * rng.random())
        large = 2 + int(min(2.4, 0.15 * self.area) * rng.random())
        for label in self._draw_labels("against_wall", large):
            self._against_wall(label)
        for label in self._draw_labels("free", 1 + int(1.5 * rng.random())):
            if self._free(label) and label in ("table", "desk") and rng.random() < 0.6:
                self._seats(len(self.items) - 1, 1 + int(3 * rng.random() ** 2))
        for label in self._draw_labels("portable", 8):
            if len(self.items) >= wanted:
                break
            self._portable(label)
        if rng.random() < 0.4:
            self._another_of_a_kind()
        return self.items

    # Choosing

    def _draw_labels(self, role: str, count: int) -> list[str]:
        """Different categories not yet in the room, drawn by their weights."""
        present = {item.label for item in self.items}
        weights = {
            label: getattr(kind, role) for label, kind in KINDS.items() if getattr(kind, role) and label not in present
        }
        drawn = []
        for _ in range(min(count, len(weights))):
            chosen = draw_weighted(self.rng, weights)
            drawn.append(chosen)
            del weights[chosen]
        return drawn

    def _draw_colour(self, label: str) -> str:
        """Any colour; seldom one that another thing of the kind has."""
        names = list(COLOURS)
        taken = {item.colour for item in self.items if item.label == label}
        if taken and self.rng.random() < 0.8:
            names = [name for name in names if name not in taken]
        return names[int(self.rng.random() * len(names))]

    def _aim(self, x: float, y: float) -> float:
        """A yaw for something at (x, y): about half the time straight at another thing."""
        on_floor = [p for p, level in zip(self.prints, self.levels, strict=True) if level == _FLOOR_LEVEL]
        if on_floor and self.rng.random() < 0.5:
            other = on_floor[int(self.rng.random() * len(on_floor))]
            return atan2(other.y - y, other.x - x)
        return 2 * pi * self.rng.random() - pi

    # Checking and adding

    def _fits(self, place: Footprint, level: int, partner: int = -1) -> bool:
        if level == _FLOOR_LEVEL:
            ex, ey = place.reach(1.0, 0.0) + WALL_GAP, place.reach(0.0, 1.0) + WALL_GAP
            if not (
                self.low[0] + ex <= place.x <= self.high[0] - ex and self.low[1] + ey <= place.y <= self.high[1] - ey
            ):
                return False
            if self.notch is not None and gap(self.notch, place) < WALL_GAP:
                return False
        for index, (other, its_level) in enumerate(zip(self.prints, self.levels, strict=True)):
            if its_level == level and gap(other, place) < (0.0015 if index == partner else APART):
                return False
        return True

    def _add(
        self,
        label: str,
        size: tuple[float, float, float],
        x: float,
        y: float,
        yaw: float,
        level: int,
        partner: int = -1,
    ) -> bool:
        place = footprint(x, y, yaw, size[0], size[1])
        if not self._fits(place, level, partner):
            return False
        support = level if level >= 0 else -1
        bottom = self.items[support].centre[2] + 0.5 * self.items[support].size[2] if support >= 0 else 0.0
        variant = int(self.rng.random() * 2**31)
        centre = (x, y, bottom + 0.5 * size[2])
        self.items.append(Item(label, self._draw_colour(label), size, centre, yaw, variant, support))
        self.prints.append(place)
        self.levels.append(level)
        return True

    # Placing

    def _against_wall(self, label: str) -> bool:
        """Back to a wall, front to the room."""
        corners = self.outline
        for _ in range(_TRIES):
            size = draw_size(self.rng, label)
            assert size is not None
            start = int(self.rng.random() * len(corners))
            (ax, ay), (bx, by) = corners[start], corners[(start + 1) % len(corners)]
            run = abs(bx - ax) + abs(by - ay)
            if run < size[1] + 0.1:
                continue
            ux, uy = (bx - ax) / run, (by - ay) / run
            inward = (-uy, ux)
            at = 0.5 * size[1] + WALL_GAP + (run - size[1] - 2 * WALL_GAP) * self.rng.random()
            off = 0.5 * size[0] + 0.006 + 0.024 * self.rng.random()
            x, y = ax + at * ux + off * inward[0], ay + at * uy + off * inward[1]
            if self._add(label, size, x, y, atan2(inward[1], inward[0]), _FLOOR_LEVEL):
                return True
        return False

    def _free(self, label: str) -> bool:
        """Somewhere on the floor, turned anyhow."""
        kind = KINDS[label]
        for _ in range(_TRIES):
            size = draw_size(self.rng, label)
            assert size is not None
            x = self.low[0] + (self.high[0] - self.low[0]) * self.rng.random()
            y = self.low[1] + (self.high[1] - self.low[1]) * self.rng.random()
            yaw = (
                self._aim(x, y) if kind.has_front or self.rng.random() < 0.3 else 0.5 * pi * int(4 * self.rng.random())
            )
            if self._add(label, size, x, y, yaw, _FLOOR_LEVEL):
                return True
        return False

    def _seats(self, table: int, count: int) -> None:
        """Chairs or stools around a table: some pushed against it, some facing it, some turned away."""
        around, yaw = self.prints[table], self.items[table].yaw
        label = "stool" if self.rng.random() < 0.2 else "chair"
        size = draw_size(self.rng, label)
        assert size is not None
        for _ in range(3 * count):
            if count == 0:
                return
            side = yaw + 0.5 * pi * int(4 * self.rng.random())
            dx, dy = cos(side), sin(side)
            square = self.rng.random() < 0.75
            turn = (
                side
                + pi
                + (
                    0.5 * pi * (0, 0, 0, 1, 2, 2, 3)[int(7 * self.rng.random())]
                    if square
                    else 2 * pi * self.rng.random()
                )
            )
            touching = square and self.rng.random() < 0.5
            distance = 0.002 + 0.006 * self.rng.random() if touching else 0.17 + 0.35 * self.rng.random()
            seat = footprint(0.0, 0.0, turn, size[0], size[1])
            off = around.reach(dx, dy) + seat.reach(dx, dy) + distance
            slide = (2 * self.rng.random() - 1) * max(0.0, around.reach(-dy, dx) - seat.reach(-dy, dx))
            x, y = around.x + off * dx - slide * dy, around.y + off * dy + slide * dx
            if self._add(label, size, x, y, turn, _FLOOR_LEVEL, partner=table if touching else -1):
                count -= 1

    def _portable(self, label: str) -> bool:
        """On something, under something, beside something or just on the floor, whichever is drawn first and works."""
        places = [*4 * [self._on_top], *2 * [self._under], self._beside, *2 * [self._free]]
        if label == "stool":
            places = [self._beside, self._free]
        while places:
            place = places.pop(int(self.rng.random() * len(places)))
            if place(label):
                return True
        return False

    def _on_top(self, label: str) -> bool:
        tops = [k for k, item in enumerate(self.items) if KINDS[item.label].top and item.size[2] < 1.2]
        if not tops:
            return False
        support = tops[int(self.rng.random() * len(tops))]
        below, base = self.prints[support], self.items[support]
        slack = 0.03
        size = draw_size(
            self.rng, label, (2 * below.half_length - slack, 2 * below.half_width - slack, 1.9 - base.size[2])
        )
        if size is None:
            return False
        return self._inside(label, size, support, support, slack=0.5 * slack)

    def _under(self, label: str) -> bool:
        """Between the legs of a table or desk."""
        roofs = [k for k, item in enumerate(self.items) if item.label in ("table", "desk")]
        if not roofs:
            return False
        roof = roofs[int(self.rng.random() * len(roofs))]
        over, base = self.prints[roof], self.items[roof]
        legs, board = 0.09, 0.18 if base.label == "desk" else 0.07
        size = draw_size(
            self.rng, label, (2 * (over.half_length - legs), 2 * (over.half_width - legs), base.size[2] - board)
        )
        if size is None:
            return False
        return self._inside(label, size, roof, -2 - roof, slack=legs)

    def _inside(self, label: str, size: tuple[float, float, float], host: int, level: int, slack: float) -> bool:
        """Somewhere within the plan of item ``host``."""
        plan, kind = self.prints[host], KINDS[label]
        host_yaw = self.items[host].yaw
        for _ in range(_TRIES):
            square = self.rng.random() < 0.6
            turn = 0.0 if square and kind.has_front else 0.5 * pi * int(4 * self.rng.random())
            yaw = host_yaw + turn + (0.0 if square else 0.5 * pi * (self.rng.random() - 0.5))
            own = footprint(0.0, 0.0, yaw, size[0], size[1])
            a = plan.half_length - slack - own.reach(plan.cos, plan.sin)
            b = plan.half_width - slack - own.reach(-plan.sin, plan.cos)
            if a < 0 or b < 0:
                continue
            u, v = a * (2 * self.rng.random() - 1), b * (2 * self.rng.random() - 1)
            x, y = plan.x + u * plan.cos - v * plan.sin, plan.y + u * plan.sin + v * plan.cos
            if self._add(label, size, x, y, yaw, level):
                return True
        return False

    def _beside(self, label: str) -> bool:
        """On the floor, touching something on one of its sides."""
        others = [k for k, level in enumerate(self.levels) if level == _FLOOR_LEVEL]
        if not others:
            return False
        for _ in range(_TRIES):
            size = draw_size(self.rng, label)
            assert size is not None
            partner = others[int(self.rng.random() * len(others))]
            host = self.prints[partner]
            side = self.items[partner].yaw + 0.5 * pi * int(4 * self.rng.random())
            dx, dy = cos(side), sin(side)
            yaw = self.items[partner].yaw + 0.5 * pi * int(4 * self.rng.random())
            own = footprint(0.0, 0.0, yaw, size[0], size[1])
            off = host.reach(dx, dy) + own.reach(dx, dy) + 0.002 + 0.006 * self.rng.random()
            slide = (2 * self.rng.random() - 1) * host.reach(-dy, dx)
            if KINDS[label].round and KINDS[self.items[partner].label].round:
                slide = 0.0
            x, y = host.x + off * dx - slide * dy, host.y + off * dy + slide * dx
            if self._add(label, size, x, y, yaw, _FLOOR_LEVEL, partner=partner):
                return True
        return False

    def _another_of_a_kind(self) -> None:
        """A second one of something already here."""
        for _ in range(4):
            label = self.items[int(self.rng.random() * len(self.items))].label if self.items else "box"
            kind = KINDS[label]
            placed = (
                self._portable(label)
                if kind.portable
                else self._free(label)
                if kind.free
                else self._against_wall(label)
            )
            if placed:
                return
