"""Facts about a scene: everything that can be asked about its boxes, with the answers.

Facts within a margin of their opposite are left out, and so are objects that no view shows well enough or that no name
identifies. Each fact carries the key under which its answer is balanced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import QuestionError
from dollhouse.geometry import Array, invert_rigid, transform_points
from dollhouse.questions.referring import Reference, referring_expressions
from dollhouse.scenes.box_relations import FLOOR, UNSUPPORTED, BoxRelations
from dollhouse.scenes.labels import BUILDING, question_noun
from dollhouse.scenes.scene import Box, Scene, View
from dollhouse.scenes.visibility import compute_visibility

VISIBLE_SHARE = 55 / 126**2  #: least fraction of a view's pixels for an object to be visible (55 of 126x126)
NEAR, FAR = 0.7, 1.5  #: near: the gap is below the first; not near: above the second (metres)
NEARER_MARGIN = 0.3  #: nearer: both the gap and the centres' distance are smaller by this much (metres)
TOUCHING, APART = 0.02, 0.15  #: touching: the gap is at most the first; not touching: above the second (metres)
MAX_OVERLAP = 0.05  #: boxes that overlap deeper than this (a chair under a table) need not touch (metres)
VOLUME_RATIO = 1.3  #: larger: the boxes' volumes differ by this factor
LENGTH_RATIO, LENGTH_MARGIN = 1.2, 0.1  #: taller, longer: lengths differ by this factor and by this much (metres)
SIDE_MARGIN = 0.12  #: left, right: the mean x of the visible pixels differs by this fraction of the image width
DEPTH_MARGIN, DEPTH_FRACTION = 0.4, 0.15  #: in front: z-depths differ by this (metres) and this fraction of the larger
#: Facing: the angle between the front and the other's centre is within the first; not facing: beyond the second.
FACING, NOT_FACING = np.deg2rad(30.0), np.deg2rad(75.0)
FACING_REACH = 4.0  #: facing is not asked of objects further apart than this (metres)
DISTANCE_STEP, DISTANCE_SLACK = 0.5, 0.18  #: step of distances, and how close to a step they must be (metres)
THIRD_MARGIN = 0.04  #: left, middle, right third: the centre is within the third by this fraction of the width
BEST_VIEW_RATIO = 1.6  #: the best view shows this many times more of an object than any other

Key = tuple[str, ...]


class Fact(NamedTuple):
    """One fact, in no words yet; the templates of its kind say which role each of ``objects`` has."""

    kind: str  #: "size.larger", ...
    key: Key | None  #: (kind, what the words of the question reveal ...); None: nothing to balance
    answer: str  #: as balanced: of a comparison, the winner's reference kind; else the words of the answer
    objects: tuple[int, ...]  #: indices of boxes; of a comparison, the winner first
    view: int | None = None
    alternatives: tuple[str, ...] = ()  #: answers that the question itself offers
    accept: tuple[str, ...] = ()  #: further correct answers, or items of one
    words: tuple[tuple[str, str], ...] = ()  #: placeholders of the template, where not the names of ``objects``


def unanswerable(scene: Scene) -> str | None:
    """Return why the true answers to questions about a scene are unknown; None where they are known."""
    if scene.boxes is None:
        return "no boxes"
    if not scene.metric:
        return "not in metres"
    if not all(map(_has_visibility, scene.views)):
        return "neither instance ids nor posed depth, so what is visible is unknown"
    return None


def _has_visibility(view: View) -> bool:
    needed = (view.open_depth, view.world_from_camera, view.intrinsics_of_depth)
    return view.open_instances is not None or all(value is not None for value in needed)


class SceneFacts:
    """Box relations, visibility and referring expressions of a scene, and the facts derived from them."""

    def __init__(self, scene: Scene) -> None:
        """Analyse a scene; QuestionError where it has no boxes or is not metric, or visibility is unknown."""
        if scene.boxes is None:
            raise QuestionError(f"{scene.name}: its objects are not annotated; questions need a scene with boxes")
        if not scene.metric:
            raise QuestionError(f"{scene.name}: its boxes are not in metres; questions need a metric scene")
        self.name = scene.name
        #: ``world_from_camera`` of each view, or None. The views are not kept, so their images can be freed.
        self.cameras: list[Array | None] = [view.world_from_camera for view in scene.views]
        visibility = compute_visibility(scene)
        nouns = [question_noun(box.label) for box in scene.boxes]
        kept = [i for i, noun in enumerate(nouns) if noun and noun not in BUILDING]
        #: Those that have a noun, which is their label here.
        self.boxes: list[Box] = [replace(scene.boxes[i], label=nouns[i] or "") for i in kept]
        self.shares: Array = visibility.shares[kept]
        self.across: Array = visibility.across[kept]
        floors = [box.top for box, noun in zip(scene.boxes, nouns, strict=True) if noun == "floor"]
        self.relations = BoxRelations.from_boxes(self.boxes, floor=min(floors) if floors else None)
        self.supports = self.relations.supports
        self.references: list[Reference | None] = referring_expressions(self.boxes, self.supports)
        self.visible: list[bool] = (self.shares.max(1, initial=0.0) >= VISIBLE_SHARE).tolist()
        self.kinds: list[str] = [reference.kind if reference else "" for reference in self.references]
        #: Boxes that questions can be about: visible and identified by a name.
        self.subjects: list[int] = [i for i, name in enumerate(self.references) if name and self.visible[i]]

    @property
    def labels_present(self) -> set[str]:
        """Return the categories of all boxes, visible or not."""
        return {box.label for box in self.boxes}

    @property
    def colours_present(self) -> set[tuple[str, str]]:
        """Return the (label, colour) of all boxes; colour "" where it is unknown."""
        return {(box.label, box.colour or "") for box in self.boxes}

    def facts(self) -> Iterator[Fact]:
        """Yield all facts except those of absent objects (:meth:`absent`)."""
        for family in ("proximity", "contact", "size", "orientation", "counting", "distance", "attribute"):
            yield from getattr(self, f"_{family}")()

    def absent(self, labels: Iterable[str], colours: Iterable[tuple[str, str]]) -> Iterator[Fact]:
        """Yield existence facts with the answer no, of those ``labels`` and (label, colour) pairs that are absent."""
        present, coloured = self.labels_present, self.colours_present
        for label in labels:
            if label not in present:
                yield Fact("existence.label", ("existence.label", label), "no", ())
        for label, colour in colours:
            if (label, colour) not in coloured and (label, "") not in coloured:
                yield Fact("existence.colour", ("existence.colour", label, colour), "no", ())

    def _comparison(self, kind: str, winner: int, loser: int, *rest: int, view: int | None = None) -> Fact:
        """Create a comparison; the winner's kind is balanced within the pair, nothing where both kinds are equal."""
        first, second = self.kinds[winner], self.kinds[loser]
        key = None if first == second else (kind, *(self.kinds[i] for i in rest), *sorted((first, second)))
        return Fact(kind, key, first, (winner, loser, *rest), view)

    def _unary(self, kind: str, index: int, answer: str, view: int | None = None) -> Fact:
        return Fact(kind, (kind, self.kinds[index]), answer, (index,), view)

    def _symmetric(self, kind: str, first: int, second: int, answer: str) -> Fact:
        """Create a fact in which both objects have the same role."""
        return Fact(kind, (kind, *sorted((self.kinds[first], self.kinds[second]))), answer, (first, second))

    def _pairs(self, mask: NDArray[np.bool_]) -> list[list[int]]:
        """Return the index pairs (k, 2) of subjects where the mask (n, n) holds."""
        subjects = np.isin(np.arange(len(self.boxes)), self.subjects)
        return np.argwhere(mask & subjects[:, None] & subjects[None]).tolist()

    def _yes_no_pairs(self, yes: NDArray[np.bool_], no: NDArray[np.bool_]) -> Iterator[tuple[int, int, str]]:
        for mask, answer in ((yes, "yes"), (no, "no")):
            for i, j in self._pairs(mask):
                yield i, j, answer

    def _proximity(self) -> Iterator[Fact]:
        gaps, distances = self.relations.separations[0], self.relations.distances
        for i, j, answer in self._yes_no_pairs(np.triu(gaps < NEAR, 1), np.triu(gaps > FAR, 1)):
            yield self._symmetric("proximity.near", i, j, answer)
        nearer = (gaps[:, None] - gaps[:, :, None] > NEARER_MARGIN) & (
            distances[:, None] - distances[:, :, None] > NEARER_MARGIN
        )
        for anchor in self.subjects:
            mask = nearer[anchor]
            mask[anchor] = mask[:, anchor] = False
            for i, j in self._pairs(mask):
                yield self._comparison("proximity.nearer", i, j, anchor)

    def _contact(self) -> Iterator[Fact]:
        gaps, depths = self.relations.separations
        supports, kinds, boxes = self.supports, self.kinds, self.boxes
        supported = np.zeros(gaps.shape, dtype=bool)
        for i, support in enumerate(supports):
            if support >= 0:
                supported[i, support] = supported[support, i] = True
        plain = [reference is not None and not reference.reveals_support for reference in self.references]
        touching = supported | ((gaps <= TOUCHING) & (depths <= MAX_OVERLAP))
        for i, j, answer in self._yes_no_pairs(np.triu(touching, 1), np.triu(gaps > APART, 1)):
            if plain[i] and plain[j]:
                yield self._symmetric("contact.touching", i, j, answer)
        places = sorted({box.label for box in boxes} | {"floor"})
        for i in self.subjects:
            if supports[i] == UNSUPPORTED or not plain[i]:
                continue
            kind = kinds[i]
            place = "floor" if supports[i] == FLOOR else boxes[supports[i]].label
            objects = (i,) if supports[i] == FLOOR else (i, supports[i])
            yield Fact("contact.stands_on", ("contact.stands_on", kind), f"the {place}", objects)
            yield self._unary("contact.floor", i, "yes" if place == "floor" else "no")
            for other in places:
                if other not in (place, boxes[i].label):
                    key = ("contact.either", kind, *sorted((place, other)))
                    offered = (f"the {place}", f"the {other}")
                    yield Fact("contact.either", key, offered[0], (i,), None, offered)
            for j in self.subjects:
                if j != i and plain[j]:
                    answer = "yes" if supports[i] == j else "no"
                    yield Fact("contact.on", ("contact.on", kind, kinds[j]), answer, (i, j))

    def _size(self) -> Iterator[Fact]:
        volumes = self.relations.volumes
        for kind, mask in (
            ("size.larger", volumes[:, None] >= VOLUME_RATIO * volumes[None]),
            ("size.taller", _clearly_longer(self.relations.sizes[:, 2])),
            ("size.longer", _clearly_longer(self.relations.longest_sides)),
        ):
            for i, j in self._pairs(mask):
                yield self._comparison(kind, i, j)

    def _orientation(self) -> Iterator[Fact]:
        relations = self.relations
        for v, camera in enumerate(self.cameras):
            visible = self.shares[:, v] >= VISIBLE_SHARE
            both = visible[:, None] & visible[None]
            across = self.across[:, v]
            with np.errstate(invalid="ignore"):
                left = across[None] - across[:, None] >= SIDE_MARGIN
            for i, j in self._pairs(both & left):
                yield self._comparison("orientation.left", i, j, view=v)
            if camera is None:
                continue
            depths = transform_points(invert_rigid(np.asarray(camera)), relations.centers)[:, 2]
            ahead = depths[None] - depths[:, None] >= np.maximum(DEPTH_MARGIN, DEPTH_FRACTION * depths[None])
            for i, j in self._pairs(both & ahead):
                yield self._comparison("orientation.closer", i, j, view=v)
            turns = relations.front_angles(np.asarray(camera)[None, :3, 3])[:, 0].tolist()
            for i in self.subjects:
                if self.boxes[i].has_front and visible[i] and (turns[i] <= FACING or turns[i] >= NOT_FACING):
                    answer = "yes" if turns[i] <= FACING else "no"
                    yield self._unary("orientation.faces_camera", i, answer, v)
        fronts = np.array([box.has_front for box in self.boxes], dtype=bool)
        angles = relations.front_angles(relations.centers)
        # An object on or under another has no direction to it.
        askable = fronts[:, None] & (relations.distances <= FACING_REACH) & (relations.plan_gaps > 0)
        for i, j, answer in self._yes_no_pairs(askable & (angles <= FACING), askable & (angles >= NOT_FACING)):
            yield Fact("orientation.facing", ("orientation.facing", self.kinds[i], self.kinds[j]), answer, (i, j))

    def _counting(self) -> Iterator[Fact]:
        for label, count in Counter(box.label for box in self.boxes).items():
            ids = tuple(i for i, box in enumerate(self.boxes) if box.label == label)
            if any(self.visible[i] for i in ids):
                yield Fact("existence.label", ("existence.label", label), "yes", ids)
            # A hidden object makes the count ambiguous.
            if all(self.visible[i] for i in ids):
                yield Fact("counting.label", ("counting.label", label), str(count), ids)
        coloured: dict[tuple[str, str], list[int]] = {}
        for i, box in enumerate(self.boxes):
            if box.colour and self.visible[i]:
                coloured.setdefault((box.label, box.colour), []).append(i)
        for (label, colour), members in coloured.items():
            yield Fact("existence.colour", ("existence.colour", label, colour), "yes", tuple(members))

    def _distance(self) -> Iterator[Fact]:
        rounded, certain = _round_distances(self.relations.distances)
        for i, j in self._pairs(np.triu(certain, 1)):
            yield self._symmetric("distance.between", i, j, f"{rounded[i, j]:.1f} m")
        for v, camera in enumerate(self.cameras):
            if camera is None:
                continue
            eye = np.asarray(camera)[:3, 3]
            rounded, certain = _round_distances(np.linalg.norm(self.relations.centers - eye, axis=-1))
            for i in self.subjects:
                if certain[i] and self.shares[i, v] >= VISIBLE_SHARE:
                    yield self._unary("distance.camera", i, f"{rounded[i]:.1f} m", v)

    def _attribute(self) -> Iterator[Fact]:
        thirds = np.nan_to_num(self.across * 3, nan=0.0)
        inner = np.abs(thirds - np.floor(thirds) - 0.5) <= 0.5 - 3 * THIRD_MARGIN
        inner |= (thirds <= 0.5) | (thirds >= 2.5)
        for i in self.subjects:
            kind, colour = self.kinds[i], self.boxes[i].colour
            if colour and not kind.endswith("*"):
                yield self._unary("attribute.colour", i, colour)
            for v in np.flatnonzero(self.shares[i] >= VISIBLE_SHARE).tolist():
                if inner[i, v]:
                    place = ("left", "middle", "right")[min(2, int(thirds[i, v]))]
                    yield self._unary("attribute.where", i, place, v)
            order = np.argsort(-self.shares[i])
            if len(order) > 1 and self.shares[i, order[0]] >= BEST_VIEW_RATIO * self.shares[i, order[1]]:
                key = ("attribute.best_view", str(len(order)))
                yield Fact("attribute.best_view", key, f"view {order[0] + 1}", (i,))


def _clearly_longer(lengths: Array) -> NDArray[np.bool_]:
    """Return (n, n) whether the first is longer than the second by both margins."""
    first, second = lengths[:, None], lengths[None]
    return (first >= LENGTH_RATIO * second) & (first - second >= LENGTH_MARGIN)


def _round_distances(distances: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Round distances to the nearest step, and return whether they are close enough to it to be asked."""
    rounded = np.round(distances / DISTANCE_STEP) * DISTANCE_STEP
    return rounded, (np.abs(distances - rounded) <= DISTANCE_SLACK) & (rounded > 0)
