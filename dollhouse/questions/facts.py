"""Everything that could be asked about a scene, with the answers that its boxes give.

A candidate is a fact, not yet a sentence. Facts within a margin of their opposite are left out, and so
are objects that no view shows well or that no name singles out. Knows nothing of wording or of balance:
each candidate carries the key under which its answer is to be balanced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from dollhouse.errors import QuestionError
from dollhouse.geometry import Array, invert_rigid, transform_points
from dollhouse.questions.referring import Reference, references
from dollhouse.scenes.box_relations import FLOOR, UNSUPPORTED, BoxRelations
from dollhouse.scenes.scene import Box, Scene
from dollhouse.scenes.visibility import Visibility, compute_visibility

#: An object counts as seen in a view from this part of the view's pixels (55 of 126x126).
SEEN_SHARE = 55 / 126**2
#: Near: the gap is below the first; not near: above the second (metres).
NEAR, FAR = 0.7, 1.5
#: Nearer: both the gap and the centres' distance must be smaller by this much (metres).
NEARER_MARGIN = 0.3
#: Touching: the gap is at most the first; not touching: above the second (metres).
TOUCHING, APART = 0.02, 0.15
#: Boxes sunk into each other further than this (a chair under a table) need not touch (metres).
SUNK = 0.05
#: Larger: the boxes' volumes differ by this factor.
VOLUME_RATIO = 1.3
#: Taller, longer: lengths differ by this factor and by this much (metres).
LENGTH_RATIO, LENGTH_MARGIN = 1.2, 0.1
#: Left or right: the seen parts' middles differ by this part of the image's width.
SIDE_MARGIN = 0.12
#: In front: z-depths of the centres differ by this much (metres) and this part of the larger.
DEPTH_MARGIN, DEPTH_PART = 0.4, 0.15
#: Facing: the front points to the other's centre within the first; not facing: beyond the second (radians).
FACING, NOT_FACING = np.deg2rad(30.0), np.deg2rad(75.0)
#: Nothing faces what is further away than this (metres).
FACING_REACH = 4.0
#: Distances are answered in steps of this, and asked only within the second of a step (metres).
DISTANCE_STEP, DISTANCE_SLACK = 0.5, 0.18
#: Left, middle and right third of a view: a centre must be within the third by this part of the width.
THIRD_MARGIN = 0.04
#: A view shows an object best if it shows this many times more of it than any other view.
BEST_VIEW_RATIO = 1.6
#: Parts of the building, which some data sets annotate with boxes; never asked about.
BUILDING = frozenset({"wall", "floor", "ceiling", "room", "object", "unknown", "void"})

Key = tuple[str, ...]


class Candidate(NamedTuple):
    """One fact. Which of ``objects`` plays which part is told with the words of its kind in ``phrasings``."""

    kind: str  #: "size.larger", ...: which fact
    key: Key | None  #: (kind, what a reader without eyes knows ...); None: nothing to balance
    answer: str  #: as balanced: of a comparison, the winner's reference kind; else the answer's words
    objects: tuple[int, ...]  #: indices of boxes; of a comparison, the winner first
    view: int | None = None
    alternatives: tuple[str, ...] = ()  #: answers offered by the question itself, where it offers some


class SceneFacts:
    """A scene looked at once: layout, visibility and references, from which candidates are read."""

    def __init__(self, scene: Scene) -> None:
        """QuestionError where the scene has no boxes, no metres, or views whose visibility nobody can tell."""
        if scene.boxes is None:
            raise QuestionError(f"{scene.name}: nobody annotated its objects; questions need a scene with boxes")
        if not scene.metric:
            raise QuestionError(f"{scene.name}: its boxes are not in metres; questions need a metric scene")
        self.name = scene.name
        #: ``world_from_camera`` of each view, or None. The views themselves are let go, and their pictures with them.
        self.cameras: list[Array | None] = [view.world_from_camera for view in scene.views]
        visibility: Visibility = compute_visibility(scene)
        asked = [i for i, box in enumerate(scene.boxes) if box.label not in BUILDING]
        self.boxes: list[Box] = [scene.boxes[i] for i in asked]
        self.shares: Array = visibility.shares[asked]
        self.across: Array = visibility.across[asked]
        floors = [box.top for box in scene.boxes if box.label == "floor"]
        self.layout = BoxRelations.from_boxes(self.boxes, floor=min(floors) if floors else None)
        self.supports = self.layout.supports
        self.references: list[Reference | None] = references(self.boxes, self.supports)
        best = self.shares.max(1, initial=0.0)
        self.seen: list[bool] = (best >= SEEN_SHARE).tolist()
        self.kinds: list[str] = [reference.kind if reference else "" for reference in self.references]
        #: Boxes that questions can be about.
        self.subjects: list[int] = [i for i, name in enumerate(self.references) if name and self.seen[i]]

    @property
    def labels_present(self) -> set[str]:
        """Categories that are there, seen or not."""
        return {box.label for box in self.boxes}

    @property
    def colours_present(self) -> set[tuple[str, str]]:
        """(label, colour) that are there or, the colour being unknown, may be: then with colour ""."""
        return {(box.label, box.colour or "") for box in self.boxes}

    def candidates(self) -> Iterator[Candidate]:
        """All facts worth asking, but for the things that are not there (:meth:`absent`)."""
        yield from self._proximity()
        yield from self._contact()
        yield from self._size()
        yield from self._orientation()
        yield from self._counting()
        yield from self._distance()
        yield from self._attribute()

    def absent(self, labels: Iterable[str], colours: Iterable[tuple[str, str]]) -> Iterator[Candidate]:
        """Existence questions whose answer is no, of those ``labels`` and (label, colour) pairs."""
        here, coloured = self.labels_present, self.colours_present
        for label in labels:
            if label not in here:
                yield Candidate("existence.label", ("existence.label", label), "no", ())
        for label, colour in colours:
            if (label, colour) not in coloured and (label, "") not in coloured:
                yield Candidate("existence.colour", ("existence.colour", label, colour), "no", ())

    def _comparison(self, kind: str, winner: int, loser: int, *rest: int, view: int | None = None) -> Candidate:
        """The winner's kind is balanced within the pair; two of one kind differ by nothing a blind reader knows."""
        kinds = self.kinds
        first, second = kinds[winner], kinds[loser]
        if first == second:
            return Candidate(kind, None, first, (winner, loser, *rest), view)
        pair = (first, second) if first < second else (second, first)
        return Candidate(kind, (kind, *(kinds[i] for i in rest), *pair), first, (winner, loser, *rest), view)

    def _pair(self, kind: str, first: int, second: int, answer: str) -> Candidate:
        """A fact in which the two play the same part."""
        a, b = self.kinds[first], self.kinds[second]
        return Candidate(kind, (kind, a, b) if a < b else (kind, b, a), answer, (first, second))

    def _pairs(self, mask: np.ndarray) -> list[list[int]]:
        """Index pairs (k, 2) of subjects where the mask (n, n) holds."""
        subjects = np.zeros(len(self.boxes), dtype=bool)
        subjects[self.subjects] = True
        return np.argwhere(mask & subjects[:, None] & subjects[None]).tolist()

    def _proximity(self) -> Iterator[Candidate]:
        gaps, distances = self.layout.separations[0], self.layout.distances
        upper = np.triu(np.ones(gaps.shape, dtype=bool), 1)
        for i, j in self._pairs(upper & (gaps < NEAR)):
            yield self._pair("proximity.near", i, j, "yes")
        for i, j in self._pairs(upper & (gaps > FAR)):
            yield self._pair("proximity.near", i, j, "no")
        nearer = (gaps[:, None] - gaps[:, :, None] > NEARER_MARGIN) & (
            distances[:, None] - distances[:, :, None] > NEARER_MARGIN
        )
        for anchor in self.subjects:
            mask = nearer[anchor]
            mask[anchor] = mask[:, anchor] = False
            for i, j in self._pairs(mask):
                yield self._comparison("proximity.nearer", i, j, anchor)

    def _contact(self) -> Iterator[Candidate]:
        gaps, depths = self.layout.separations
        supports, kinds, boxes = self.supports, self.kinds, self.boxes
        carried = np.zeros(gaps.shape, dtype=bool)
        for i, support in enumerate(supports):
            if support >= 0:
                carried[i, support] = carried[support, i] = True
        upper = np.triu(np.ones(gaps.shape, dtype=bool), 1)
        plain = [reference is not None and not reference.tells_support for reference in self.references]
        for mask, answer in ((carried | ((gaps <= TOUCHING) & (depths <= SUNK)), "yes"), (gaps > APART, "no")):
            for i, j in self._pairs(upper & mask):
                if plain[i] and plain[j]:
                    yield self._pair("contact.touching", i, j, answer)
        places = sorted({box.label for box in boxes} | {"floor"})
        for i in self.subjects:
            if supports[i] == UNSUPPORTED or not plain[i]:
                continue
            kind = kinds[i]
            place = "floor" if supports[i] == FLOOR else boxes[supports[i]].label
            objects = (i,) if supports[i] == FLOOR else (i, supports[i])
            yield Candidate("contact.stands_on", ("contact.stands_on", kind), f"the {place}", objects)
            yield Candidate("contact.floor", ("contact.floor", kind), "yes" if place == "floor" else "no", (i,))
            for other in places:
                if other not in (place, boxes[i].label):
                    key = ("contact.either", kind, *sorted((place, other)))
                    offered = (f"the {place}", f"the {other}")
                    yield Candidate("contact.either", key, offered[0], (i,), None, offered)
            for j in self.subjects:
                if j != i and plain[j]:
                    answer = "yes" if supports[i] == j else "no"
                    yield Candidate("contact.on", ("contact.on", kind, kinds[j]), answer, (i, j))

    def _size(self) -> Iterator[Candidate]:
        heights, lengths = self.layout.sizes[:, 2], self.layout.longest_sides
        volumes = self.layout.volumes
        for kind, mask in (
            ("size.larger", volumes[:, None] >= VOLUME_RATIO * volumes[None]),
            ("size.taller", _clearly_longer(heights)),
            ("size.longer", _clearly_longer(lengths)),
        ):
            for i, j in self._pairs(mask):
                yield self._comparison(kind, i, j)

    def _orientation(self) -> Iterator[Candidate]:
        layout = self.layout
        for v, camera in enumerate(self.cameras):
            seen = self.shares[:, v] >= SEEN_SHARE
            both = seen[:, None] & seen[None]
            across = self.across[:, v]
            with np.errstate(invalid="ignore"):
                left = across[None] - across[:, None] >= SIDE_MARGIN
            for i, j in self._pairs(both & left):
                yield self._comparison("orientation.left", i, j, view=v)
            if camera is None:
                continue
            depths = transform_points(invert_rigid(np.asarray(camera)), layout.centers)[:, 2]
            ahead = depths[None] - depths[:, None] >= np.maximum(DEPTH_MARGIN, DEPTH_PART * depths[None])
            for i, j in self._pairs(both & ahead):
                yield self._comparison("orientation.closer", i, j, view=v)
            turns = layout.front_angles(np.asarray(camera)[None, :3, 3])[:, 0].tolist()
            for i in self.subjects:
                if self.boxes[i].has_front and seen[i] and (turns[i] <= FACING or turns[i] >= NOT_FACING):
                    answer = "yes" if turns[i] <= FACING else "no"
                    key = ("orientation.faces_camera", self.kinds[i])
                    yield Candidate("orientation.faces_camera", key, answer, (i,), v)
        fronts = np.array([box.has_front for box in self.boxes], dtype=bool)
        angles = layout.front_angles(layout.centers)
        # What stands on or under something has no direction from it.
        askable = fronts[:, None] & (layout.distances <= FACING_REACH) & (layout.plan_gaps > 0)
        for mask, answer in ((angles <= FACING, "yes"), (angles >= NOT_FACING, "no")):
            for i, j in self._pairs(askable & mask):
                pair = ("orientation.facing", self.kinds[i], self.kinds[j])
                yield Candidate("orientation.facing", pair, answer, (i, j))

    def _counting(self) -> Iterator[Candidate]:
        counts = Counter(box.label for box in self.boxes)
        for label, count in counts.items():
            ids = tuple(i for i, box in enumerate(self.boxes) if box.label == label)
            if any(self.seen[i] for i in ids):
                yield Candidate("existence.label", ("existence.label", label), "yes", ids)
            # One that no view shows may not be counted, nor may it be left out.
            if all(self.seen[i] for i in ids):
                yield Candidate("counting.label", ("counting.label", label), str(count), ids)
        seen_colours: dict[tuple[str, str], list[int]] = {}
        for i, box in enumerate(self.boxes):
            if box.colour and self.seen[i]:
                seen_colours.setdefault((box.label, box.colour), []).append(i)
        for (label, colour), found in seen_colours.items():
            yield Candidate("existence.colour", ("existence.colour", label, colour), "yes", tuple(found))

    def _distance(self) -> Iterator[Candidate]:
        rounded, certain = _round_distances(self.layout.distances)
        for i, j in self._pairs(certain & np.triu(np.ones(rounded.shape, dtype=bool), 1)):
            yield self._pair("distance.between", i, j, f"{rounded[i, j]:.1f} m")
        for v, camera in enumerate(self.cameras):
            if camera is None:
                continue
            eye = np.asarray(camera)[:3, 3]
            rounded, certain = _round_distances(np.linalg.norm(self.layout.centers - eye, axis=-1))
            for i in self.subjects:
                if certain[i] and self.shares[i, v] >= SEEN_SHARE:
                    key = ("distance.camera", self.kinds[i])
                    yield Candidate("distance.camera", key, f"{rounded[i]:.1f} m", (i,), v)

    def _attribute(self) -> Iterator[Candidate]:
        thirds = np.nan_to_num(self.across * 3, nan=0.0)
        inner = np.abs(thirds - np.floor(thirds) - 0.5) <= 0.5 - 3 * THIRD_MARGIN
        inner |= (thirds <= 0.5) | (thirds >= 2.5)
        names = ("left", "middle", "right")
        for i in self.subjects:
            kind, colour = self.kinds[i], self.boxes[i].colour
            if colour and not kind.endswith("*"):
                yield Candidate("attribute.colour", ("attribute.colour", kind), colour, (i,))
            for v in np.flatnonzero(self.shares[i] >= SEEN_SHARE).tolist():
                if inner[i, v]:
                    place = names[min(2, int(thirds[i, v]))]
                    yield Candidate("attribute.where", ("attribute.where", kind), place, (i,), v)
            order = np.argsort(-self.shares[i])
            if len(order) > 1 and self.shares[i, order[0]] >= BEST_VIEW_RATIO * self.shares[i, order[1]]:
                key = ("attribute.best_view", str(len(order)))
                yield Candidate("attribute.best_view", key, f"view {order[0] + 1}", (i,))


def _clearly_longer(lengths: Array) -> np.ndarray:
    """(n, n): whether the first is longer than the second by both margins."""
    first, second = lengths[:, None], lengths[None]
    return (first >= LENGTH_RATIO * second) & (first - second >= LENGTH_MARGIN)


def _round_distances(distances: Array) -> tuple[Array, np.ndarray]:
    """Distances to the nearest step, and whether they are close enough to it to be asked for."""
    rounded = np.round(distances / DISTANCE_STEP) * DISTANCE_STEP
    return rounded, (np.abs(distances - rounded) <= DISTANCE_SLACK) & (rounded > 0)
