"""How a question speaks of an object, so that exactly one is meant and nothing else is told.

Knows labels, colours and what stands on what; never sizes or places, which questions ask for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dollhouse.scenes.box_relations import FLOOR
from dollhouse.scenes.scene import Box


@dataclass(frozen=True)
class Reference:
    """The words for one object."""

    name: str  #: "the chair", "the red chair", "the box on the table"
    kind: str  #: what a reader without eyes learns from the name: "chair", "chair*" (one of several), "box@table"

    @property
    def tells_support(self) -> bool:
        return "@" in self.kind


def references(boxes: Sequence[Box], supports: Sequence[int]) -> list[Reference | None]:
    """For each box its reference, or None where label, colour and support do not single it out.

    ``supports`` as :attr:`dollhouse.scenes.box_relations.Layout.supports`.
    """
    places = [_place(boxes, support) for support in supports]
    labels = Counter(box.label for box in boxes)
    coloured = Counter((box.label, box.colour) for box in boxes)
    placed = Counter((box.label, place) for box, place in zip(boxes, places, strict=True))
    # A box whose colour or place is unknown could be any of them.
    colourless = {box.label for box in boxes if box.colour is None}
    placeless = {box.label for box, place in zip(boxes, places, strict=True) if place is None}
    found: list[Reference | None] = []
    for box, place in zip(boxes, places, strict=True):
        if labels[box.label] == 1:
            found.append(Reference(f"the {box.label}", box.label))
        elif box.label not in colourless and coloured[box.label, box.colour] == 1:
            found.append(Reference(f"the {box.colour} {box.label}", f"{box.label}*"))
        elif box.label not in placeless and placed[box.label, place] == 1:
            found.append(Reference(f"the {box.label} on the {place}", f"{box.label}@{place}"))
        else:
            found.append(None)
    return found


def _place(boxes: Sequence[Box], support: int) -> str | None:
    if support >= 0:
        return boxes[support].label
    return "floor" if support == FLOOR else None


def plural(noun: str) -> str:
    """The regular English plural: "shelf" -> "shelves", "box" -> "boxes", "chair" -> "chairs"."""
    if noun.endswith("shelf"):
        return noun[:-1] + "ves"
    if noun.endswith("s") and not noun.endswith("ss"):
        return noun  # "stairs", "curtains" are plurals already
    if noun.endswith(("ss", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def with_article(noun: str) -> str:
    """ "a chair", "an armchair"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
