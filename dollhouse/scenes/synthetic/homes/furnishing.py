"""A room while it is furnished: what an item may be, where it fits, and groups of items placed as a whole."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from math import atan2, cos, hypot, pi, sin
from random import Random
from typing import Final, NamedTuple

from dollhouse.scenes.labels import default_labels, oriented_labels
from dollhouse.scenes.synthetic.furniture import sample_weighted
from dollhouse.scenes.synthetic.homes.catalogue import choose_piece
from dollhouse.scenes.synthetic.homes.layout import FLOOR, WALL, Item, Opening
from dollhouse.scenes.synthetic.layout import Footprint, footprint, gap

Size = tuple[float, float, float]

TOLERANCE: Final = 0.012  #: metres that items may overlap
_FRONTS: Final = frozenset(oriented_labels(default_labels()))


@dataclass(frozen=True)
class Kind:
    """A line of ``kinds.tsv``: a way to make a label's objects of a role."""

    model: str  #: "piece" for a Sweet Home 3D piece
    weight: float
    ranges: tuple[tuple[float, float] | None, ...]  #: of length, width, height; None: equal to the length, or a piece's
    paints: dict[str, float]  #: weights of colour names; "own" keeps a piece's materials


@cache
def kinds() -> dict[tuple[str, str], tuple[Kind, ...]]:
    """Read ``kinds.tsv``, by label and role."""
    read: dict[tuple[str, str], tuple[Kind, ...]] = {}
    for line in files(__package__).joinpath("kinds.tsv").read_text("utf-8").splitlines():
        label, role, model, weight, *spans, paints = line.split("\t")
        ranges = tuple(None if span in "-=" else _range(span) for span in spans)
        weights = {word.rstrip("0123456789"): float(word[len(word.rstrip("0123456789")) :]) for word in paints.split()}
        read[label, role] = (*read.get((label, role), ()), Kind(model, float(weight), ranges, weights))
    return read


def _range(span: str) -> tuple[float, float]:
    low, _, high = span.partition("-")
    return float(low), float(high or low)


class Draft(NamedTuple):
    """An item without a place."""

    label: str
    model: str
    size: Size
    seed: int
    paint: str | None


class Frame(NamedTuple):
    """A place on the floor with a direction: x to the front, y left."""

    x: float
    y: float
    yaw: float

    def at(self, dx: float, dy: float, turn: float = 0.0) -> Frame:
        """Return the frame at (dx, dy) in this one, turned by ``turn``."""
        c, s = cos(self.yaw), sin(self.yaw)
        return Frame(self.x + dx * c - dy * s, self.y + dx * s + dy * c, self.yaw + turn)


class Wall(NamedTuple):
    """An edge of the outline; its frame faces into the room, at the edge's first corner."""

    edge: int  #: from this corner of the outline to the next
    frame: Frame
    length: float

    def at(self, along: float, away: float = 0.0) -> Frame:
        """Return the frame at ``along`` metres from the edge's first corner, facing the room."""
        return self.frame.at(away, -along)


@dataclass
class Furnishing:
    """The room and what stands in it so far."""

    rng: Random
    split: str
    outline: tuple[tuple[float, float], ...]
    height: float
    items: list[Item] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    #: free space before doors and windows: footprint, bottom, top
    reserved: list[tuple[Footprint, float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        xs, ys = zip(*self.outline, strict=True)
        self.low, self.high = (min(xs), min(ys)), (max(xs), max(ys))
        ends = zip(self.outline, (*self.outline[1:], self.outline[0]), strict=True)
        self.walls = [
            Wall(edge, Frame(*a, atan2(b[1] - a[1], b[0] - a[0]) + 0.5 * pi), hypot(b[0] - a[0], b[1] - a[1]))
            for edge, (a, b) in enumerate(ends)
        ]
        self._plans: list[tuple[Footprint, float]] = []
        self.notch: Footprint | None = None
        if len(self.outline) == 6:  # the missing corner of an L is at high x and y
            (x0, y0) = self.outline[3]
            x1, y1 = self.high
            self.notch = footprint(0.5 * (x0 + x1), 0.5 * (y0 + y1), 0.0, x1 - x0, y1 - y0)

    def draft(self, label: str, role: str = "", **limits: float) -> Draft:
        """Sample a model, size and paint; ``limits`` fix "length", "width" or "height" of procedural kinds."""
        rng = self.rng
        options = kinds()[label, role]
        kind = options[_index(rng, [option.weight for option in options])]
        size: Size
        if kind.model == "piece":
            piece = choose_piece(rng, self.split, label, role)
            model, scale = piece.id, 0.94 + 0.12 * rng.random()
            size = (piece.size[0] * scale, piece.size[1] * scale, piece.size[2] * scale)
        else:
            model = kind.model
            sides: list[float] = []
            for name, span in zip(("length", "width", "height"), kind.ranges, strict=True):
                low, high = span or (sides[0], sides[0])
                sides.append(limits.get(name, low + (high - low) * rng.random()))
            size = (sides[0], sides[1], sides[2])
        paint = sample_weighted(rng, kind.paints)
        return Draft(label, model, size, int(rng.random() * 2**31), None if paint == "own" else paint)

    def place(
        self,
        draft: Draft,
        frame: Frame,
        z: float = 0.0,
        support: int = FLOOR,
        *,
        through: Collection[int] = (),
        free: bool = True,
    ) -> int | None:
        """Place an item centred on ``frame`` with its underside at ``z``; returns its index, None where it collides.

        It may pass ``through`` some items (a chair under a table), and into reserved space where ``free`` is False.
        """
        length, width, height = draft.size
        plan = footprint(frame.x, frame.y, frame.yaw, length, width)
        reach = hypot(plan.half_length, plan.half_width)
        if not self._inside(plan) or z + height > self.height + TOLERANCE:
            return None
        low, high = z + TOLERANCE, z + height - TOLERANCE
        flat = height < 0.03 and support == FLOOR  # a rug lies under others
        for index, (other, (their, their_reach)) in enumerate(zip(self.items, self._plans, strict=True)):
            if index in through or other.top <= low or other.bottom >= high or index == support:
                continue
            if (other.label == "rug") != flat and (flat or other.size[2] < 0.03):
                continue
            near = reach + their_reach - TOLERANCE
            if (their.x - plan.x) ** 2 + (their.y - plan.y) ** 2 < near * near and gap(plan, their) < -TOLERANCE:
                return None
        if free and not flat:
            for space, bottom, top in self.reserved:
                if bottom < high and top > low and gap(plan, space) < 0:
                    return None
        centre = (frame.x, frame.y, z + 0.5 * height)
        yaw = (frame.yaw + pi) % (2 * pi) - pi
        front = draft.label in _FRONTS
        self.items.append(
            Item(draft.label, draft.model, draft.size, centre, yaw, support, draft.seed, front, draft.paint)
        )
        self._plans.append((plan, reach))
        return len(self.items) - 1

    def undo(self, count: int) -> None:
        """Remove the items after the first ``count``."""
        del self.items[count:], self._plans[count:]

    def reserve(self, frame: Frame, length: float, width: float, bottom: float, top: float) -> None:
        """Keep the space ``length`` in front of ``frame`` free, from ``bottom`` to ``top``."""
        centre = frame.at(0.5 * length, 0.0)
        self.reserved.append((footprint(centre.x, centre.y, centre.yaw, length, width), bottom, top))

    def along_walls(self, width: float, depth: float, tries: int) -> list[Frame]:
        """Sample frames where something of this size may stand, its back to a wall, centred on the frame."""
        fitting = [wall for wall in self.walls if wall.length > width + 0.02]
        frames = []
        for _ in range(tries if fitting else 0):
            wall = fitting[_index(self.rng, [wall.length - 0.8 * width for wall in fitting])]
            along = 0.5 * width + 0.01 + (wall.length - width - 0.02) * self.rng.random()
            if self.rng.random() < 0.3:  # into a corner
                along = self.rng.choice((0.5 * width + 0.01, wall.length - 0.5 * width - 0.01))
            frames.append(wall.at(along, 0.5 * depth + 0.01))
        return frames

    def against_wall(self, draft: Draft, tries: int = 16, z: float = 0.0, support: int = FLOOR) -> int | None:
        """Place an item with its back to some wall."""
        for frame in self.along_walls(draft.size[1], draft.size[0], tries):
            if (index := self.place(draft, frame, z, support)) is not None:
                return index
        return None

    def on_wall(self, draft: Draft, z: float, tries: int = 16) -> int | None:
        """Hang an item on some wall with its underside at ``z``."""
        return self.against_wall(draft, tries, z, WALL)

    def somewhere(self, draft: Draft, tries: int = 16, aligned: bool = True) -> int | None:
        """Place an item on the free floor."""
        for frame in self.anywhere(tries, aligned):
            if (index := self.place(draft, frame)) is not None:
                return index
        return None

    def anywhere(self, tries: int, aligned: bool = True) -> list[Frame]:
        """Sample frames over the floor."""
        rng = self.rng
        return [
            Frame(
                self.low[0] + (self.high[0] - self.low[0]) * rng.random(),
                self.low[1] + (self.high[1] - self.low[1]) * rng.random(),
                0.5 * pi * int(4 * rng.random()) if aligned else 2 * pi * rng.random(),
            )
            for _ in range(tries)
        ]

    def depth_before(self, frame: Frame) -> float:
        """Return the distance from a frame to the wall ahead of it."""
        step, at = 0.1, 0.0
        while at < 12:
            ahead = frame.at(at + step, 0.0)
            if not self._inside(footprint(ahead.x, ahead.y, 0.0, 0.01, 0.01)):
                return at
            at += step
        return at

    def _inside(self, plan: Footprint) -> bool:
        dx, dy = plan.reach(1.0, 0.0) - TOLERANCE, plan.reach(0.0, 1.0) - TOLERANCE
        (x0, y0), (x1, y1) = self.low, self.high
        if plan.x - dx < x0 or plan.x + dx > x1 or plan.y - dy < y0 or plan.y + dy > y1:
            return False
        return self.notch is None or gap(plan, self.notch) > -TOLERANCE


def _index(rng: Random, weights: list[float]) -> int:
    at = rng.random() * sum(weights)
    for index, weight in enumerate(weights):
        at -= weight
        if at <= 0:
            return index
    return len(weights) - 1
