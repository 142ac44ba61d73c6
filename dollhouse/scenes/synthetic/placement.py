"""Sampling of furnished rooms: which items stand where, without interpenetration and with space left to walk."""

from __future__ import annotations

from math import atan2, cos, pi, sin
from random import Random
from typing import Final

from dollhouse.scenes.synthetic.furniture import KINDS, sample_size, sample_weighted
from dollhouse.scenes.synthetic.layout import RoomLayout, footprint
from dollhouse.scenes.synthetic.materials import Lighting, sample_floor, sample_lighting, sample_walls
from dollhouse.scenes.synthetic.occupancy import WALL_GAP, Occupancy

_TRIES: Final = 14


def sample_layout(rng: Random) -> RoomLayout:
    """Sample one furnished room."""
    length, width = 3.0 + 4.0 * rng.random() ** 1.6, 3.0 + 3.0 * rng.random() ** 1.6
    low, high = (-0.5 * length, -0.5 * width), (0.5 * length, 0.5 * width)
    (x0, y0), (x1, y1) = low, high
    notch: tuple[float, float, float, float] | None = None
    outline: tuple[tuple[float, float], ...] = (low, (x1, y0), high, (x0, y1))
    if rng.random() <= 0.25 and min(length, width) >= 3.6:
        # The missing corner of an L is always at high x and high y; it stays clear of the room's middle.
        u, v = x1 * (0.25 + 0.4 * rng.random()), y1 * (0.25 + 0.4 * rng.random())
        notch, outline = (u, v, x1 + 0.1, y1 + 0.1), ((x0, y0), (x1, y0), (x1, v), (u, v), (u, y1), (x0, y1))
    floor, walls = sample_floor(rng), sample_walls(rng)
    height = 2.4 + 0.6 * rng.random()
    lighting = sample_lighting(rng, low, high, height)
    if notch is not None and notch[0] <= lighting.lamp[0] <= notch[2] and notch[1] <= lighting.lamp[1] <= notch[3]:
        lighting = Lighting((0.0, 0.0, lighting.lamp[2]), lighting.lamp_rgb, lighting.ambient_rgb)
    occupancy = Occupancy(rng, low, high, notch)
    _Furnisher(rng, occupancy, outline).furnish()
    return RoomLayout(low, high, height, notch, outline, tuple(occupancy.items), floor, walls, lighting)


class _Furnisher:
    """Places items by category and role. Every placing method returns whether it found a place."""

    def __init__(self, rng: Random, occupancy: Occupancy, outline: tuple[tuple[float, float], ...]) -> None:
        self.rng, self.occupancy, self.outline = rng, occupancy, outline
        self.low, self.high = occupancy.low, occupancy.high
        self.items, self.footprints = occupancy.items, occupancy.footprints

    def furnish(self) -> None:
        rng = self.rng
        wanted = 5 + int(8 * rng.random())
        area = (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
        large = 2 + int(min(2.4, 0.15 * area) * rng.random())
        for label in self._sample_labels("against_wall", large):
            self._place_against_wall(label)
        for label in self._sample_labels("free", 1 + int(1.5 * rng.random())):
            if self._place_free(label) and label in ("table", "desk") and rng.random() < 0.6:
                self._place_seats(len(self.items) - 1, 1 + int(3 * rng.random() ** 2))
        for label in self._sample_labels("portable", 8):
            if len(self.items) >= wanted:
                break
            self._place_portable(label)
        if rng.random() < 0.4:
            self._place_duplicate()

    def _sample_labels(self, role: str, count: int) -> list[str]:
        """Sample different categories that are not yet in the room, by their weights for a role."""
        present = {item.label for item in self.items}
        weights = {label: getattr(kind, role) for label, kind in KINDS.items() if label not in present}
        weights = {label: weight for label, weight in weights.items() if weight}
        labels: list[str] = []
        while weights and len(labels) < count:
            labels.append(sample_weighted(self.rng, weights))
            del weights[labels[-1]]
        return labels

    def _sample_size(self, label: str) -> tuple[float, float, float]:
        size = sample_size(self.rng, label)
        assert size is not None  # unbounded space
        return size

    def _sample_yaw(self, x: float, y: float) -> float:
        """Sample a yaw at (x, y): about half the time towards another item."""
        on_floor = self.occupancy.on_floor
        if on_floor and self.rng.random() < 0.5:
            other = self.footprints[on_floor[int(self.rng.random() * len(on_floor))]]
            return atan2(other.y - y, other.x - x)
        return 2 * pi * self.rng.random() - pi

    def _place_against_wall(self, label: str) -> bool:
        """Place an item with its back to a wall."""
        corners = self.outline
        for _ in range(_TRIES):
            size = self._sample_size(label)
            start = int(self.rng.random() * len(corners))
            (ax, ay), (bx, by) = corners[start], corners[(start + 1) % len(corners)]
            run = abs(bx - ax) + abs(by - ay)
            if run < size[1] + 0.1:
                continue
            ux, uy = (bx - ax) / run, (by - ay) / run
            at = 0.5 * size[1] + WALL_GAP + (run - size[1] - 2 * WALL_GAP) * self.rng.random()
            off = 0.5 * size[0] + 0.006 + 0.024 * self.rng.random()
            x, y = ax + at * ux + off * -uy, ay + at * uy + off * ux
            if self.occupancy.add(label, size, x, y, atan2(ux, -uy)):
                return True
        return False

    def _place_free(self, label: str) -> bool:
        """Place an item anywhere on the floor with any yaw."""
        kind = KINDS[label]
        for _ in range(_TRIES):
            size = self._sample_size(label)
            x = self.low[0] + (self.high[0] - self.low[0]) * self.rng.random()
            y = self.low[1] + (self.high[1] - self.low[1]) * self.rng.random()
            turned = kind.has_front or self.rng.random() < 0.3
            yaw = self._sample_yaw(x, y) if turned else 0.5 * pi * int(4 * self.rng.random())
            if self.occupancy.add(label, size, x, y, yaw):
                return True
        return False

    def _place_seats(self, table: int, count: int) -> None:
        """Place chairs or stools around a table: some pushed against it, some facing it, some turned away."""
        around, yaw = self.footprints[table], self.items[table].yaw
        label = "stool" if self.rng.random() < 0.2 else "chair"
        size = self._sample_size(label)
        for _ in range(3 * count):
            if count == 0:
                return
            side = yaw + 0.5 * pi * int(4 * self.rng.random())
            dx, dy = cos(side), sin(side)
            square, quarters = self.rng.random() < 0.75, (0, 0, 0, 1, 2, 2, 3)
            turn = 0.5 * pi * quarters[int(7 * self.rng.random())] if square else 2 * pi * self.rng.random()
            turn = side + pi + turn
            touching = square and self.rng.random() < 0.5
            distance = 0.002 + 0.006 * self.rng.random() if touching else 0.17 + 0.35 * self.rng.random()
            seat = footprint(0.0, 0.0, turn, size[0], size[1])
            off = around.reach(dx, dy) + seat.reach(dx, dy) + distance
            slide = (2 * self.rng.random() - 1) * max(0.0, around.reach(-dy, dx) - seat.reach(-dy, dx))
            x, y = around.x + off * dx - slide * dy, around.y + off * dy + slide * dx
            if self.occupancy.add(label, size, x, y, turn, partner=table if touching else -1):
                count -= 1

    def _place_portable(self, label: str) -> bool:
        """Place an item on, under or beside another or on the floor: ways are tried in random order."""
        ways = [*4 * [self._place_on_top], *2 * [self._place_under], self._place_beside, *2 * [self._place_free]]
        if label == "stool":
            ways = [self._place_beside, self._place_free]
        while ways:
            if ways.pop(int(self.rng.random() * len(ways)))(label):
                return True
        return False

    def _place_on_top(self, label: str) -> bool:
        tops = [k for k, item in enumerate(self.items) if KINDS[item.label].top and item.size[2] < 1.2]
        if not tops:
            return False
        support = tops[int(self.rng.random() * len(tops))]
        return self._place_within(label, support, support, slack=0.015, height=1.9 - self.items[support].size[2])

    def _place_under(self, label: str) -> bool:
        """Place an item between the legs of a table or desk."""
        hosts = [k for k, item in enumerate(self.items) if item.label in ("table", "desk")]
        if not hosts:
            return False
        host = hosts[int(self.rng.random() * len(hosts))]
        board = 0.18 if self.items[host].label == "desk" else 0.07
        return self._place_within(label, host, -2 - host, slack=0.09, height=self.items[host].size[2] - board)

    def _place_within(self, label: str, host: int, level: int, slack: float, height: float) -> bool:
        """Place an item within the plan of item ``host``, ``slack`` from its edges, at most ``height`` high."""
        plan, kind, host_yaw = self.footprints[host], KINDS[label], self.items[host].yaw
        size = sample_size(self.rng, label, (2 * (plan.half_length - slack), 2 * (plan.half_width - slack), height))
        if size is None:
            return False
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
            if self.occupancy.add(label, size, x, y, yaw, level):
                return True
        return False

    def _place_beside(self, label: str) -> bool:
        """Place an item on the floor, touching one side of another."""
        others = self.occupancy.on_floor
        if not others:
            return False
        for _ in range(_TRIES):
            size = self._sample_size(label)
            partner = others[int(self.rng.random() * len(others))]
            host, host_item = self.footprints[partner], self.items[partner]
            side = host_item.yaw + 0.5 * pi * int(4 * self.rng.random())
            dx, dy = cos(side), sin(side)
            yaw = host_item.yaw + 0.5 * pi * int(4 * self.rng.random())
            own = footprint(0.0, 0.0, yaw, size[0], size[1])
            off = host.reach(dx, dy) + own.reach(dx, dy) + 0.002 + 0.006 * self.rng.random()
            slide = (2 * self.rng.random() - 1) * host.reach(-dy, dx)
            slide = 0.0 if KINDS[label].round and KINDS[host_item.label].round else slide
            x, y = host.x + off * dx - slide * dy, host.y + off * dy + slide * dx
            if self.occupancy.add(label, size, x, y, yaw, partner=partner):
                return True
        return False

    def _place_duplicate(self) -> None:
        """Place a second item of a category that is already here."""
        for _ in range(4):
            label = self.items[int(self.rng.random() * len(self.items))].label if self.items else "box"
            floor = self._place_free if KINDS[label].free else self._place_against_wall
            if (self._place_portable if KINDS[label].portable else floor)(label):
                return
