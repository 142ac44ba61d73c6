"""Answers of the committee's detections and depth by simple rules: what its models reach without a language model.

    PYTHONPATH=. dollhouse benchmark real-photos --data real/ \\
        --teacher examples.committee_answers:CommitteeTeacher --teacher-arg weights=WEIGHTS --out committee
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dollhouse.questions.generate import Question
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.labels import LabelMap, default_labels
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.protocol import Teacher
from examples import committee
from examples.onnx_models import resized

_LABELS = LabelMap(default_labels())
_VIEW = re.compile(r"^in (?:view|photo|image) (\d+), ")
_ARTICLE = re.compile(r"^(?:the|an?|any) ")
#: name -> RGB in [0, 1]
COLOURS = {
    "white": (0.85, 0.85, 0.85), "black": (0.1, 0.1, 0.1), "grey": (0.5, 0.5, 0.5), "brown": (0.4, 0.26, 0.15),
    "beige": (0.8, 0.7, 0.55), "red": (0.65, 0.15, 0.12), "orange": (0.85, 0.45, 0.15), "yellow": (0.85, 0.75, 0.25),
    "green": (0.25, 0.45, 0.25), "blue": (0.2, 0.35, 0.6), "purple": (0.45, 0.25, 0.5), "pink": (0.85, 0.55, 0.6),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Found:
    """An object in one photo; places are shares of its width and height."""

    label: str
    score: float
    view: int
    box: tuple[float, float, float, float]  #: left, top, right, bottom
    area: float  #: of the mask, share of the photo
    depth: float  #: metres, median over the mask
    colour: str

    @property
    def x(self) -> float:
        return 0.5 * (self.box[0] + self.box[2])

    @property
    def height(self) -> float:
        return (self.box[3] - self.box[1]) * self.depth

    @property
    def surface(self) -> float:
        return self.area * self.depth**2


class CommitteeTeacher(Teacher):
    """Answer questions about existence, counts, sides, distance, size, support, colour and neighbours."""

    def __init__(self, weights: str, threshold: str = "0.3") -> None:
        self.weights, self.threshold = weights, float(threshold)

    def provenance(self) -> dict[str, Any]:
        settings = {"threshold": self.threshold, "rules": "examples/committee_answers.py"}
        return {"teacher": "committee", "weights": None, "licence": "Apache-2.0 and MIT", "settings": settings}

    def answer(self, scene: Scene, questions: Sequence[Question]) -> list[TeacherAnswer]:
        found = [each for number, view in enumerate(scene.views, 1) for each in self._find(view.image, number)]
        return [TeacherAnswer(answer(question.text, found)) for question in questions]

    def _find(self, image: np.ndarray, number: int) -> list[Found]:
        detections = committee.detect(image, self.weights, str(self.threshold))
        metres = committee.depth(image, self.weights)
        height, width = metres.shape
        colours = resized(image, width, height).astype(np.float64) / 255
        objects = []
        assert detections.masks is not None
        for label, score, mask in zip(detections.labels, detections.scores, detections.masks, strict=True):
            small = resized(mask.astype(np.uint8) * 255, width, height) > 127
            if score < self.threshold or not small.any():
                continue
            rows, columns = np.nonzero(small.any(1))[0], np.nonzero(small.any(0))[0]
            box = columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height
            mean = np.median(colours[small], axis=0)
            colour = min(COLOURS, key=lambda name: float(np.linalg.norm(mean - np.array(COLOURS[name]))))
            objects.append(
                Found(label, score, number, box, float(small.mean()), float(np.median(metres[small])), colour)
            )
        return objects


def answer(question: str, found: Sequence[Found]) -> str:
    """Answer a question from the objects of its photos."""
    text = question.lower().strip(" ?")
    if view := _VIEW.match(text):
        text, found = text[view.end() :], [each for each in found if each.view == int(view[1])]
    for pattern, rule in RULES:
        if match := re.match(pattern, text):
            return rule(found, *match.groups())
    return "yes" if re.match("is|are", text) else "not sure"


def named(found: Sequence[Found], noun: str) -> list[Found]:
    """Return the objects that a noun names, best first; where none has its label, words before it are left out."""
    words = _ARTICLE.sub("", noun).split()
    for start in range(len(words)):
        phrase = " ".join(words[start:])
        if (label := _LABELS.map(phrase)) is not None:
            same = [each for each in found if committee._kind(each.label) == committee._kind(label)]
            return sorted(same, key=lambda each: -each.score)
    return []


def _exists(found: Sequence[Found], noun: str) -> str:
    return "yes" if named(found, noun) else "no"


def _count(found: Sequence[Found], noun: str) -> str:
    objects = named(found, noun)
    return str(max((sum(each.view == view for each in objects) for view in {each.view for each in objects}), default=1))


def _side(found: Sequence[Found], a: str, b: str) -> str:
    pairs = [(p, q) for p in named(found, a) for q in named(found, b) if p.view == q.view and p is not q]
    return "left" if pairs and pairs[0][0].x < pairs[0][1].x else "right"


def _either(key: Callable[[Found], float]) -> Callable[..., str]:
    def choose(found: Sequence[Found], a: str, b: str) -> str:
        first, second = named(found, a), named(found, b)
        if not first or not second:
            return a if first else b
        return a if key(first[0]) >= key(second[0]) else b

    return choose


def _colour(found: Sequence[Found], noun: str) -> str:
    return next((each.colour for each in named(found, noun)), "white")


def _rests(top: Found, base: Found) -> bool:
    left, upper, right, lower = base.box
    return top is not base and top.view == base.view and left < top.x < right and upper - 0.03 < top.box[3] < lower


def _is_on(found: Sequence[Found], a: str, b: str) -> str:
    return "yes" if any(_rests(p, q) for p in named(found, a)[:1] for q in named(found, b)) else "no"


def _support(found: Sequence[Found], noun: str) -> str:
    bases = [q for p in named(found, noun)[:1] for q in found if _rests(p, q) and q.area > p.area]
    return max(bases, key=lambda each: each.score).label if bases else "floor"


def _neighbour(found: Sequence[Found], where: str, noun: str) -> str:
    best = next(iter(named(found, noun)), None)
    others = [each for each in found if best and each is not best and each.view == best.view]
    if best is None or not others:
        return "not sure"
    across, below = (lambda e: abs(e.x - best.x)), (lambda e: e.box[1] + e.box[3] - best.box[1] - best.box[3])
    if where.startswith("on"):
        others = [each for each in others if _rests(each, best)] or others
    elif where in ("above", "under", "below"):
        others = [e for e in others if (below(e) < 0) == (where == "above")] or others
    return min(others, key=lambda each: across(each) + abs(below(each))).label


RULES: tuple[tuple[str, Callable[..., str]], ...] = (
    (r"(?:is|are) there (.+)", _exists),
    (r"how many (.+?) (?:are|hang|stand)", _count),
    (r"(?:is|are) (.+?) to the left or (?:to the )?right of (.+)", _side),
    (r"which is closer to the camera, (.+) or (.+)", _either(lambda each: -each.depth)),
    (r"which is (?:taller|higher), (.+) or (.+)", _either(lambda each: each.height)),
    (r"which is .+?, (.+) or (.+)", _either(lambda each: each.surface)),
    (r"what colour (?:is|are) (.+)", _colour),
    (r"(?:is|are) (.+) on (.+)", _is_on),
    (r"what (?:is|are) (on top of|on|above|under|below|next to|beside|between) (.+)", _neighbour),
    (r"what (?:is|are) (.+?) (?:standing |lying |hanging )?on$", _support),
)
