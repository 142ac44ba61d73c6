"""Open questions about a scene's objects: what is on, next to, above, under or between them, and the like.

An open question has one best answer and a set of accepted ones. The best one satisfies the relation by a margin, and
is asked for only then; what satisfies it narrowly is accepted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dollhouse.geometry import Array
from dollhouse.questions.facts import SIDE_MARGIN, VISIBLE_SHARE, Fact, SceneFacts
from dollhouse.questions.referring import listed, plural, with_article
from dollhouse.scenes.box_relations import FLOOR
from dollhouse.scenes.labels import general_labels
from dollhouse.scenes.scene import Scene

BESIDE, NOT_BESIDE = 0.4, 0.8  #: next to: the plan gap is below the first; wrong above the second (metres)
LEVEL_OVERLAP = 0.05  #: next to: the boxes' heights overlap by this (metres)
WALL_GAP, CEILING_GAP = 0.08, 0.12  #: an object without support is on a wall or the ceiling within these (metres)
OVER_GAP, OVER_REACH = 0.35, 1.6  #: above, under: largest plan gap of what hangs on a wall, and height between (metres)
VERTICAL_SLACK = 0.05  #: above, under: boxes may overlap in height by this (metres)
BETWEEN, BETWEEN_ACCEPTED = (0.25, 0.35), (0.1, 0.7)  #: share of the way, and metres off it: best, accepted
BETWEEN_REACH = (0.8, 4.5)  #: least and largest distance of the objects that something is between (metres)
LARGEST_RATIO = 1.3  #: objects whose size is the largest over this ratio are accepted as largest, too
NEAREST_MARGIN = 0.3  #: likewise, in metres, for the nearest
MOST_COUNTED, MOST_LISTED = 9, 4
UNPLACED = frozenset({"door", "window", "curtain", "shower", "fireplace", "ceiling fan", "rug"})  #: "on" does not fit


class OpenFacts(SceneFacts):
    """Facts of a scene with open questions."""

    def __init__(self, scene: Scene) -> None:
        """Analyse a scene; errors as :class:`SceneFacts`."""
        super().__init__(scene)
        outline, height = scene.metadata.get("floor"), scene.metadata.get("height")
        self.outline = None if outline is None else np.asarray(outline, dtype=np.float64)[:, :2]
        self.height = None if height is None else float(height)
        self.labels = [box.label for box in self.boxes]
        self.places = [self._place(i) for i in range(len(self.boxes))]
        self.partly = (self.shares.max(1, initial=0.0) > 0).tolist()  #: shown at all, perhaps hardly
        self.salience = self.shares.max(1, initial=0.0)
        general = {more for label in self.labels for more in general_labels(label)}
        for i, label in enumerate(self.labels):  # "the chair" may mean the office chair
            if label in general:
                self.references[i] = None
        self.ambiguous_labels = general & set(self.labels)
        self.kinds = [reference.kind if reference else "" for reference in self.references]
        self.subjects = [i for i, name in enumerate(self.references) if name and self.visible[i]]

    @property
    def labels_present(self) -> set[str]:
        """Return the categories that any pixel shows, and the more general ones."""
        shown = {label for label, partly in zip(self.labels, self.partly, strict=True) if partly}
        return shown | {more for label in shown for more in general_labels(label)}

    @property
    def colours_present(self) -> set[tuple[str, str]]:
        """Return the (label, colour) that any pixel shows, unknown colours and more general categories as ""."""
        shown = [box for box, partly in zip(self.boxes, self.partly, strict=True) if partly]
        general = {(more, "") for box in shown for more in general_labels(box.label)}
        return general | {(box.label, box.colour or "") for box in shown}

    def reference_name(self, i: int) -> str:
        """Return the referring expression of a subject."""
        reference = self.references[i]
        assert reference is not None
        return reference.name

    def _place(self, i: int) -> str | None:
        """Return what a box is on: a label, "floor", "wall", "ceiling"; None where unknown."""
        if self.supports[i] >= 0:
            return self.labels[self.supports[i]]
        if self.supports[i] == FLOOR:
            return "floor"
        box = self.boxes[i]
        if self.height is not None and box.top >= self.height - CEILING_GAP:
            return "ceiling"
        if self.outline is not None and _outline_gap(box.corners[:, :2], self.outline) <= WALL_GAP:
            return "wall"
        return None

    def _open(self) -> Iterator[Fact]:
        relations = self.relations
        plan, bottoms, tops = relations.plan_gaps, relations.bottoms, relations.tops
        level = np.minimum(tops[:, None], tops[None]) - np.maximum(bottoms[:, None], bottoms[None]) > LEVEL_OVERLAP
        rests = np.zeros(plan.shape, dtype=bool)
        for i, support in enumerate(self.supports):
            if support >= 0:
                rests[i, support] = rests[support, i] = True
        beside = level & (plan > 0) & ~rests
        for a in self.subjects:
            if self._can_hold(a):
                on = self._on(a)
                if best := self._most_salient(on):
                    yield self._open_fact("open.on", a, best, on)
                    items = [c for c in sorted(on, key=lambda c: -self.salience[c]) if self.visible[c]]
                    yield self._list_fact("open.all_on", items, on, (a,))
                elif not on:
                    yield Fact("open.on_nothing", None, "nothing", (a,))
            near = np.where(beside[a], plan[a], np.inf)
            close = self._shown(level[a] & ~rests[a] & (plan[a] <= NOT_BESIDE) & (np.arange(len(plan)) != a))
            if best := self._best(near, BESIDE):
                yield self._open_fact("open.next_to", a, best, close)
            yield from self._vertical(a)
            yield from self._where(a, near)
        yield from self._between()
        yield from self._superlatives()
        shown = [c for c in np.argsort(-self.salience).tolist() if self.visible[c]]
        if shown:
            yield self._list_fact("open.list", shown, self._shown(np.ones(len(self.boxes), dtype=bool)), ())

    def _vertical(self, a: int) -> Iterator[Fact]:
        relations = self.relations
        reach = np.where([place in ("wall", "ceiling") for place in self.places], OVER_GAP, 0.0)
        aligned = relations.plan_gaps[a] <= np.maximum(reach, reach[a])
        for kind, rise in (
            ("open.above", relations.bottoms - relations.tops[a]),
            ("open.under", relations.bottoms[a] - relations.tops),
        ):
            fits = aligned & (rise >= -VERTICAL_SLACK) & (rise <= OVER_REACH)
            fits[a] = False
            resting = np.array([support == a for support in self.supports]) if kind == "open.above" else False
            accepted = fits | resting | (kind == "open.under") * (np.arange(len(fits)) == self.supports[a])
            if best := self._best(np.where(fits & ~np.asarray(resting), rise, np.inf), OVER_REACH):
                yield self._open_fact(kind, a, best, self._shown(accepted))

    def _where(self, a: int, near: Array) -> Iterator[Fact]:
        beside = [f"next to the {self.labels[c]}" for c in self._shown(near <= NOT_BESIDE)]
        place = self.places[a]
        on = [f"on the {place}"] if place and self.labels[a] not in UNPLACED else []
        best = self._best(near, BESIDE)
        if on and place != "floor":
            answer = on[0]
        elif best:
            answer = f"next to the {self.labels[best[0]]}"
        else:
            return
        if " ".join(answer.split()[-2:]) != f"the {self.labels[a]}":  # "next to the chair" does not find a chair
            yield Fact("open.where", None, answer, (a,), accept=tuple(sorted({*on, *beside} - {answer})))

    def _between(self) -> Iterator[Fact]:
        centers = self.relations.centers[:, :2]
        for first, a in enumerate(self.subjects):
            for b in self.subjects[first + 1 :]:
                line = centers[b] - centers[a]
                length = float(np.linalg.norm(line))
                if not BETWEEN_REACH[0] <= length <= BETWEEN_REACH[1]:
                    continue
                offset = centers - centers[a]
                along = offset @ line / length**2
                off = np.abs(offset[:, 0] * line[1] - offset[:, 1] * line[0]) / length
                low, narrow = BETWEEN
                strict = (
                    (along > low) & (along < 1 - low) & (off < narrow) & ~self._same_place(a) & ~self._same_place(b)
                )
                if best := self._best(np.where(strict, off, np.inf), narrow):
                    low, wide = BETWEEN_ACCEPTED
                    fits = (along > low) & (along < 1 - low) & (off < wide)
                    fits[[a, b]] = False
                    answer, accept = self._items(best, self._shown(fits))
                    yield Fact("open.between", None, answer, (a, b), accept=accept)

    def _same_place(self, a: int) -> NDArray[np.bool_]:
        """Return which boxes are ``a``, on it, or what it is on."""
        same = np.array([support == a for support in self.supports], dtype=bool)
        same[a] = True
        if self.supports[a] >= 0:
            same[self.supports[a]] = True
        return same

    def _superlatives(self) -> Iterator[Fact]:
        visible = np.array(self.visible, dtype=bool)
        relations = self.relations
        for kind, values in (("open.largest", relations.volumes), ("open.tallest", relations.sizes[:, 2])):
            if visible.sum() > 2:
                best = int(np.where(visible, values, -np.inf).argmax())
                if (values[~visible] < values[best]).all():  # nothing hardly visible is larger
                    answer, accept = self._items([best], self._shown(values * LARGEST_RATIO >= values[best]))
                    yield Fact(kind, None, answer, (best,), accept=accept)

    def _sides(self) -> Iterator[Fact]:
        for v, camera in enumerate(self.cameras):
            shown = self.shares[:, v] >= VISIBLE_SHARE
            partly = self.shares[:, v] > 0
            for a in (a for a in self.subjects if shown[a]):
                with np.errstate(invalid="ignore"):
                    right = self.across[:, v] - self.across[a, v]
                for kind, offset in (("open.right_of", right), ("open.left_of", -right)):
                    best = self._best(np.where(shown & (offset >= SIDE_MARGIN), offset, np.inf), 1.0)
                    if best:
                        accepted = self._shown(partly & (offset >= 0.5 * SIDE_MARGIN))
                        answer, accept = self._items(best, accepted)
                        yield Fact(kind, None, answer, (a,), v, accept=accept)
            if len(self.cameras) > 1:
                yield from self._in_view(v)
            if camera is not None and shown.sum() > 2:
                gaps = np.array([self._camera_gap(i, v) for i in range(len(self.boxes))])
                first = int(np.where(shown, gaps, np.inf).argmin())
                if gaps[partly & ~shown].min(initial=np.inf) > gaps[first]:
                    near = self._shown(partly & (gaps <= gaps[first] + NEAREST_MARGIN))
                    answer, accept = self._items([first], near)
                    yield Fact("open.nearest", None, answer, (first,), v, accept=accept)

    def _in_view(self, v: int) -> Iterator[Fact]:
        for label in dict.fromkeys(self.labels):
            members = [i for i, other in enumerate(self.labels) if other == label]
            here = tuple(i for i in members if self.shares[i, v] >= VISIBLE_SHARE)
            hardly = any(0 < self.shares[i, v] < VISIBLE_SHARE for i in members)
            if label in self.ambiguous_labels or (hardly and not here) or not any(self.visible[i] for i in members):
                continue
            words = (("label", with_article(label)), ("labels", plural(label)))
            yield Fact("existence.in_view", ("existence.in_view",), "yes" if here else "no", here, v, words=words)
            if here and not hardly and len(here) <= MOST_COUNTED:
                yield Fact("counting.in_view", None, str(len(here)), here, v, words=words)

    # parts

    def _can_hold(self, i: int) -> bool:
        """Return whether something could be on an object, as far as its size says."""
        return bool(self.boxes[i].size[:2].min() >= 0.25 and self.boxes[i].top <= 1.6)

    def _on(self, a: int) -> list[int]:
        return [c for c, support in enumerate(self.supports) if support == a and self.partly[c]]

    def _shown(self, mask: NDArray[np.bool_]) -> list[int]:
        return [int(c) for c in np.flatnonzero(mask) if self.partly[c]]

    def _most_salient(self, candidates: Sequence[int]) -> list[int]:
        """Return the visible candidate that most pixels show, as a list; [] where none is visible."""
        visible = [c for c in candidates if self.visible[c]]
        return [max(visible, key=lambda c: self.salience[c])] if visible else []

    def _best(self, values: Array, limit: float) -> list[int]:
        """Return the visible box of the least value within ``limit``, as a list; [] where there is none."""
        values = np.where(self.visible, values, np.inf)
        best = int(values.argmin()) if len(values) else 0
        return [best] if len(values) and values[best] <= limit else []

    def _items(self, best: Sequence[int], accepted: Sequence[int]) -> tuple[str, tuple[str, ...]]:
        answer = with_article(self.labels[best[0]])
        return answer, tuple(sorted({with_article(self.labels[c]) for c in accepted} - {answer}))

    def _open_fact(
        self, kind: str, a: int, best: Sequence[int], accepted: Sequence[int], words: tuple[tuple[str, str], ...] = ()
    ) -> Fact:
        answer, accept = self._items(best, accepted)
        return Fact(kind, None, answer, (a,), accept=accept, words=words)

    def _list_fact(self, kind: str, items: Sequence[int], accepted: Sequence[int], objects: tuple[int, ...]) -> Fact:
        labels = [with_article(label) for label in dict.fromkeys(self.labels[c] for c in items)][:MOST_LISTED]
        accept = tuple(sorted({with_article(self.labels[c]) for c in accepted}))
        return Fact(kind, None, listed(labels), objects, accept=accept)

    def _complete_groups(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield each category of which every shown object is well visible, with its objects."""
        for label in dict.fromkeys(self.labels):
            members = tuple(i for i, other in enumerate(self.labels) if other == label and self.partly[i])
            if members and label not in self.ambiguous_labels and all(self.visible[i] for i in members):
                yield label, members

    def _related(self) -> Iterator[tuple[int, str]]:
        """Yield objects with names by another object that fit no other: "the chair next to the table"."""
        plan = self.relations.plan_gaps
        for anchor in self.subjects:
            for label in dict.fromkeys(self.labels):
                same = [i for i, other in enumerate(self.labels) if other == label and i != anchor]
                if label in self.ambiguous_labels or label == self.labels[anchor] or self.labels.count(label) < 2:
                    continue
                near = [i for i in same if 0 < plan[i, anchor] <= NOT_BESIDE]
                if len(near) == 1 and self.visible[near[0]] and plan[near[0], anchor] <= BESIDE:
                    yield near[0], f"the {label} next to {self.reference_name(anchor)}"
                on = [i for i in same if self.supports[i] == anchor]
                if len(on) == 1 and self.visible[on[0]]:
                    yield on[0], f"the {label} on {self.reference_name(anchor)}"

    def _camera_gap(self, i: int, view: int) -> float:
        """Return the distance from a view's camera to the nearest point of a box, metres."""
        camera, box = self.cameras[view], self.boxes[i]
        assert camera is not None
        own = np.array([[np.cos(box.yaw), -np.sin(box.yaw), 0], [np.sin(box.yaw), np.cos(box.yaw), 0], [0, 0, 1]])
        offset = (np.asarray(camera)[:3, 3] - np.asarray(box.center)) @ own
        return float(np.linalg.norm(np.maximum(np.abs(offset) - 0.5 * np.asarray(box.size), 0.0)))


def _outline_gap(corners: Array, outline: Array) -> float:
    """Return the least distance of plan corners (n, 2) from the edges of an outline (m, 2), metres."""
    edges = np.roll(outline, -1, axis=0) - outline
    offset = corners[:, None] - outline[None]
    along = ((offset * edges).sum(-1) / (edges**2).sum(-1)).clip(0, 1)
    return float(np.linalg.norm(offset - along[..., None] * edges, axis=-1).min())
