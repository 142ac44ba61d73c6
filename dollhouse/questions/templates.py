"""The words of questions: for every kind of fact, several short ways to ask for it.

Knows nothing of geometry or of balance. In a template {a} and {b} are the two objects, in the order in
which they are spoken of, {c} a third one, {v} the view's number from 1 up, {label} and {labels} a category.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phrasing:
    """One way to ask.

    For a comparison ``answers`` are the templates to answer with where {a} wins and where {b} wins;
    for other facts it is None, since the fact is the answer.
    """

    form: str
    text: str
    answers: tuple[str, str] | None = None


NAMES, OPPOSITE = ("{a}", "{b}"), ("{b}", "{a}")
YES_NO, NO_YES = ("yes", "no"), ("no", "yes")


def _phrasings(form: str, answers: tuple[str, str] | None, *texts: str) -> tuple[Phrasing, ...]:
    return tuple(Phrasing(form, text, answers) for text in texts)


def _comparatives(dimension: str, more: tuple[str, ...], less: tuple[str, ...]) -> tuple[Phrasing, ...]:
    """Which is more or less, and is it. ("Higher" and "lower" are avoided: they are said of places, too.)"""
    found: tuple[Phrasing, ...] = ()
    for words, names, truth in ((more, NAMES, YES_NO), (less, OPPOSITE, NO_YES)):
        for word in words:
            found += _phrasings(
                f"size.{dimension}", names, f"which is {word}, {{a}} or {{b}}?", f"{{a}} or {{b}}: which is {word}?"
            )
            found += _phrasings(
                f"size.is_{dimension}", truth, f"is {{a}} {word} than {{b}}?", f"compared to {{b}}, is {{a}} {word}?"
            )
    return found


#: Kind of candidate -> the ways to ask for it. Each way is equally likely.
PHRASINGS: dict[str, tuple[Phrasing, ...]] = {
    "proximity.near": _phrasings(
        "proximity.near", None, "is {a} near {b}?", "is {a} close to {b}?", "are {a} and {b} near each other?"
    ),
    "proximity.nearer": _phrasings(
        "proximity.nearer",
        NAMES,
        "which is nearer to {c}, {a} or {b}?",
        "which is closer to {c}, {a} or {b}?",
        "{a} or {b}: which is nearer to {c}?",
    )
    + _phrasings("proximity.nearer", OPPOSITE, "which is farther from {c}, {a} or {b}?")
    + _phrasings("proximity.is_nearer", YES_NO, "is {a} nearer to {c} than {b} is?", "is {a} closer to {c} than {b}?"),
    "contact.touching": _phrasings(
        "contact.touching", None, "is {a} touching {b}?", "do {a} and {b} touch?", "is {a} in contact with {b}?"
    ),
    "contact.stands_on": _phrasings(
        "contact.stands_on", None, "what does {a} stand on?", "what is {a} standing on?", "what is {a} on?"
    ),
    "contact.floor": _phrasings(
        "contact.floor", None, "is {a} on the floor?", "does {a} stand on the floor?", "is {a} standing on the floor?"
    ),
    "contact.either": _phrasings(
        "contact.either",
        None,
        "is {a} on {first} or on {second}?",
        "does {a} stand on {first} or {second}?",
        "what is {a} on, {first} or {second}?",
    ),
    "contact.on": _phrasings("contact.on", None, "is {a} on {b}?", "does {a} stand on {b}?", "is {a} on top of {b}?"),
    "size.larger": _comparatives("larger", ("larger", "bigger"), ("smaller",)),
    "size.taller": _comparatives("taller", ("taller",), ("shorter",)),
    "size.longer": _comparatives("longer", ("longer",), ()),
    "orientation.left": _phrasings(
        "orientation.left_right",
        ("left", "right"),
        "in view {v}, is {a} to the left or right of {b}?",
        "in view {v}, is {a} left or right of {b}?",
        "view {v}: is {a} on the left or right of {b}?",
    )
    + _phrasings("orientation.leftmost", NAMES, "in view {v}, which is further left, {a} or {b}?")
    + _phrasings("orientation.leftmost", OPPOSITE, "in view {v}, which is further right, {a} or {b}?"),
    "orientation.closer": _phrasings(
        "orientation.front_behind",
        ("in front", "behind"),
        "in view {v}, is {a} in front of or behind {b}?",
        "view {v}: is {a} in front of {b} or behind?",
    )
    + _phrasings(
        "orientation.closer",
        NAMES,
        "in view {v}, which is closer, {a} or {b}?",
        "in view {v}, what is in front, {a} or {b}?",
    )
    + _phrasings("orientation.closer", OPPOSITE, "in view {v}, which is further away, {a} or {b}?"),
    "orientation.facing": _phrasings(
        "orientation.facing", None, "is {a} facing {b}?", "does {a} face {b}?", "is {a} turned towards {b}?"
    ),
    "orientation.faces_camera": _phrasings(
        "orientation.faces_camera",
        None,
        "in view {v}, does {a} face the camera?",
        "in view {v}, is {a} facing the camera?",
        "view {v}: is {a} turned towards the camera?",
    ),
    "counting.label": _phrasings(
        "counting.label",
        None,
        "how many {labels} are there?",
        "how many {labels} are in the room?",
        "count the {labels}.",
        "how many {labels} do you see?",
    ),
    "existence.label": _phrasings(
        "existence.label", None, "is there {label}?", "is there {label} in the room?", "do you see {label}?"
    ),
    "existence.colour": _phrasings(
        "existence.colour", None, "is there {label}?", "is there {label} in the room?", "do you see {label}?"
    ),
    "distance.between": _phrasings(
        "distance.between",
        None,
        "how far apart are {a} and {b}?",
        "how far is {a} from {b}?",
        "what is the distance between {a} and {b}?",
    ),
    "distance.camera": _phrasings(
        "distance.camera",
        None,
        "in view {v}, how far is {a} from the camera?",
        "how far is {a} from the camera in view {v}?",
        "view {v}: how far away is {a}?",
    ),
    "attribute.colour": _phrasings(
        "attribute.colour", None, "what colour is {a}?", "what colour does {a} have?", "which colour is {a}?"
    ),
    "attribute.where": _phrasings(
        "attribute.where",
        None,
        "where in view {v} is {a}: left, middle or right?",
        "in view {v}, is {a} left, middle or right?",
        "view {v}: is {a} left, middle or right?",
    ),
    "attribute.best_view": _phrasings(
        "attribute.best_view",
        None,
        "which view shows {a} best?",
        "in which view is {a} seen best?",
        "in which view is most of {a}?",
    ),
    "description.room": _phrasings(
        "description.room", None, "describe the room.", "what is in the room?", "what do you see?"
    ),
}

#: Facts in which {a} and {b} play the same part, so that either may be named first.
SYMMETRIC = frozenset({"proximity.near", "contact.touching", "distance.between"})
