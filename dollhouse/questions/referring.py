"""Referring expressions: names that identify exactly one object by label, colour or support."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dollhouse.scenes.box_relations import FLOOR
from dollhouse.scenes.scene import Box


@dataclass(frozen=True)
class Reference:
    """The referring expression of one object."""

    name: str  #: "the chair", "the red chair", "the box on the table"
    kind: str  #: what the name reveals: "chair", "chair*" (one of several), "box@table"

    @property
    def reveals_support(self) -> bool:
        return "@" in self.kind


def referring_expressions(boxes: Sequence[Box], supports: Sequence[int]) -> list[Reference | None]:
    """Name each box by label, colour or support, whichever is unique first; None where none is.

    Sizes and positions are never used, since questions ask for them. ``supports`` as
    :attr:`dollhouse.scenes.box_relations.BoxRelations.supports`.
    """
    places = [_place(boxes, support) for support in supports]
    labels = Counter(box.label for box in boxes)
    coloured = Counter((box.label, box.colour) for box in boxes)
    placed = Counter((box.label, place) for box, place in zip(boxes, places, strict=True))
    # A box of unknown colour or place could be any of its category.
    colourless = {box.label for box in boxes if box.colour is None}
    placeless = {box.label for box, place in zip(boxes, places, strict=True) if place is None}
    expressions: list[Reference | None] = []
    for box, place in zip(boxes, places, strict=True):
        if labels[box.label] == 1:
            expressions.append(Reference(f"the {box.label}", box.label))
        elif box.label not in colourless and coloured[box.label, box.colour] == 1:
            expressions.append(Reference(f"the {box.colour} {box.label}", f"{box.label}*"))
        elif box.label not in placeless and placed[box.label, place] == 1:
            expressions.append(Reference(f"the {box.label} on the {place}", f"{box.label}@{place}"))
        else:
            expressions.append(None)
    return expressions


def _place(boxes: Sequence[Box], support: int) -> str | None:
    if support >= 0:
        return boxes[support].label
    return "floor" if support == FLOOR else None


def plural(noun: str) -> str:
    """Form the regular English plural: "shelf" -> "shelves", "box" -> "boxes", "chair" -> "chairs"."""
    if noun.endswith("shelf"):
        return noun[:-1] + "ves"
    if noun.endswith("s") and not noun.endswith("ss"):
        return noun  # "stairs", "curtains" are plurals already
    if noun.endswith(("ss", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def listed(items: Sequence[str]) -> str:
    """List one or more items in words: "a bed, a lamp and two chairs"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def with_article(noun: str) -> str:
    """Add the indefinite article: "a chair", "an armchair"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
