"""Facts about photos beside open questions: places on walls, groups, sizes, two-step questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from dollhouse.questions.facts import DEPTH_MARGIN, Fact
from dollhouse.questions.open_facts import MOST_COUNTED, UNPLACED, OpenFacts
from dollhouse.questions.referring import plural

HEIGHT_STEP, HEIGHT_TOLERANCE = 0.1, 0.2  #: of heights and widths: step in metres, accepted relative error
ROOM_STEP = 0.5  #: of a room's sides (metres)


class PhotoFacts(OpenFacts):
    """Facts of a scene as people ask for them about photos."""

    def facts(self) -> Iterator[Fact]:
        """Yield all facts except those of absent objects."""
        yield from super().facts()
        yield from self._open()
        yield from self._sides()

    def _contact(self) -> Iterator[Fact]:
        rugs = [i for i, label in enumerate(self.labels) if label == "rug"]
        for fact in super()._contact():
            first = fact.objects[0]
            if fact.kind != "contact.touching" and self.labels[first] in UNPLACED:
                continue
            if fact.kind == "contact.stands_on" and fact.answer == "the floor":
                on_rug = any(self.relations.plan_gaps[first, rug] == 0 for rug in rugs)
                fact = fact._replace(accept=("the rug",) if on_rug else ())
            yield fact
        for i in self.subjects:
            if self.labels[i] in UNPLACED or self.places[i] is None:
                continue
            yield self._unary("contact.wall", i, "yes" if self.places[i] == "wall" else "no")
            if self.places[i] in ("wall", "ceiling"):
                yield Fact("contact.stands_on", ("contact.stands_on", self.kinds[i]), f"the {self.places[i]}", (i,))
                yield self._unary("contact.floor", i, "no")
                for j in self.subjects:
                    if j != i:
                        yield Fact("contact.on", ("contact.on", self.kinds[i], self.kinds[j]), "no", (i, j))
        for label, members in self._complete_groups():
            places = {self.places[i] for i in members}
            if len(members) > 1 and len(places) == 1 and None not in places and label not in UNPLACED:
                answer, words = f"the {places.pop()}", (("labels", plural(label)),)
                yield Fact("contact.stands_on_all", ("contact.stands_on", label), answer, members, words=words)

    def _orientation(self) -> Iterator[Fact]:
        for fact in super()._orientation():
            if fact.kind == "orientation.closer" and fact.view is not None:
                near, far = (self._camera_gap(i, fact.view) for i in fact.objects)
                if far - near < 0.5 * DEPTH_MARGIN:  # of a long object the centre and the nearest point differ
                    continue
            yield fact

    def _counting(self) -> Iterator[Fact]:
        yield from (fact for fact in super()._counting() if fact.kind != "counting.label")
        for label, members in self._complete_groups():
            if len(members) > MOST_COUNTED:
                continue
            yield Fact("counting.label", ("counting.label", label), str(len(members)), members)
            for n in range(max(1, len(members) - 1), len(members) + 2):
                words = (("n", str(n)), ("labels", plural(label)))
                answer = "yes" if n == len(members) else "no"
                if n > 1:
                    yield Fact("counting.check", ("counting.check",), answer, members, words=words)
            colours = Counter(self.boxes[i].colour for i in members)
            for colour, count in colours.items():
                if colour and None not in colours and len(members) > 1:
                    words = (("colour", colour), ("labels", plural(label)))
                    of_colour = tuple(i for i in members if self.boxes[i].colour == colour)
                    yield Fact("counting.coloured", None, str(count), of_colour, words=words)
            places = Counter(self.places[i] for i in members)
            for place, count in places.items():
                if place and None not in places and len(members) > 1 and self.labels.count(place) <= 1:
                    words = (("labels", plural(label)), ("place", f"the {place}"))
                    there = tuple(i for i in members if self.places[i] == place)
                    yield Fact("counting.label_on", None, str(count), there, words=words)
        for i in self.subjects:
            if self._can_hold(i):
                on = [c for c, support in enumerate(self.supports) if support == i and self.partly[c]]
                if all(self.visible[c] for c in on):
                    named, answer = (("a", self.reference_name(i)),), "yes" if on else "no"
                    yield Fact("counting.on", None, str(len(on)), (i, *on), words=named)
                    yield Fact("existence.on", ("existence.on", self.kinds[i]), answer, (i, *on), words=named)

    def _distance(self) -> Iterator[Fact]:
        yield from super()._distance()
        for i in self.subjects:
            for kind, length in (("height", self.boxes[i].size[2]), ("width", max(self.boxes[i].size[:2]))):
                answer, accept = _length_answers(float(length))
                yield Fact(f"distance.{kind}", None, answer, (i,), accept=accept)
        if self.outline is not None and len(self.cameras) > 2:
            sides = np.sort(np.ptp(self.outline, axis=0))
            steps = [[max(1.0, round(s / ROOM_STEP) * ROOM_STEP + d * ROOM_STEP) for d in (0, -1, 1)] for s in sides]
            answers = [f"{a:.1f} m by {b:.1f} m" for a in steps[0] for b in steps[1]]
            yield Fact("distance.room", None, answers[0], (), accept=tuple(answers[1:]))

    def _attribute(self) -> Iterator[Fact]:
        yield from super()._attribute()
        for label, members in self._complete_groups():
            colours = {self.boxes[i].colour for i in members}
            if len(members) > 1 and len(colours) == 1 and None not in colours:
                words = (("labels", plural(label)),)
                yield Fact("attribute.colours", ("attribute.colour", label), colours.pop() or "", members, words=words)
        for i, name in self._related():  # two steps
            words, label = (("a", name),), self.labels[i]
            if colour := self.boxes[i].colour:
                yield Fact("attribute.colour_of_related", ("attribute.colour", label), colour, (i,), words=words)
            answer, accept = _length_answers(float(self.boxes[i].size[2]))
            yield Fact("distance.height_of_related", None, answer, (i,), accept=accept, words=words)
            if " next to " in name and self.places[i] and label not in UNPLACED:
                key = ("contact.stands_on", label)
                yield Fact("contact.stands_on_of_related", key, f"the {self.places[i]}", (i,), words=words)
            if " next to " in name and self._can_hold(i):
                on = self._on(i)
                if best := self._most_salient(on):
                    yield self._open_fact("open.on_of_related", i, best, on, words)


def _length_answers(length: float) -> tuple[str, tuple[str, ...]]:
    """Return a length in steps as an answer, and the others within the tolerance."""
    step = max(1, round(length / HEIGHT_STEP))
    slack = max(1, round(HEIGHT_TOLERANCE * length / HEIGHT_STEP))
    others = [n for n in range(max(1, step - slack), step + slack + 1) if n != step]
    return f"{step * HEIGHT_STEP:.1f} m", tuple(f"{n * HEIGHT_STEP:.1f} m" for n in others)
