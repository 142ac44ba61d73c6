"""Templates of questions: several short wordings for every kind of fact.

Placeholders: {a} and {b} are the two objects in the order of the text, {c} a third one, {v} the view's number from 1,
{label} and {labels} a category, {first} and {second} two places.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Template:
    """One wording of a question."""

    form: str
    text: str
    #: of a comparison, the answers where {a} wins and where {b} wins; None where the fact itself is the answer
    answers: tuple[str, str] | None = None


Answers = tuple[str, str]
NAMES, OPPOSITE = ("{a}", "{b}"), ("{b}", "{a}")
YES_NO, NO_YES = ("yes", "no"), ("no", "yes")
LEFT_RIGHT, FRONT_BEHIND = ("left", "right"), ("in front", "behind")

#: Kind of fact, which is also the form -> wordings, for facts that are answers themselves.
_DIRECT = {
    "proximity.near": "is {a} near {b}?|is {a} close to {b}?|are {a} and {b} near each other?",
    "contact.touching": "is {a} touching {b}?|do {a} and {b} touch?|is {a} in contact with {b}?",
    "contact.stands_on": "what does {a} stand on?|what is {a} standing on?|what is {a} on?",
    "contact.floor": "is {a} on the floor?|does {a} stand on the floor?|is {a} standing on the floor?",
    "contact.either": "is {a} on {first} or on {second}?|does {a} stand on {first} or {second}?|"
    "what is {a} on, {first} or {second}?",
    "contact.on": "is {a} on {b}?|does {a} stand on {b}?|is {a} on top of {b}?",
    "orientation.facing": "is {a} facing {b}?|does {a} face {b}?|is {a} turned towards {b}?",
    "orientation.faces_camera": "in view {v}, does {a} face the camera?|in view {v}, is {a} facing the camera?|"
    "view {v}: is {a} turned towards the camera?",
    "counting.label": "how many {labels} are there?|how many {labels} are in the room?|count the {labels}.|"
    "how many {labels} do you see?",
    "existence.label": "is there {label}?|is there {label} in the room?|do you see {label}?",
    "existence.colour": "is there {label}?|is there {label} in the room?|do you see {label}?",
    "distance.between": "how far apart are {a} and {b}?|how far is {a} from {b}?|"
    "what is the distance between {a} and {b}?",
    "distance.camera": "in view {v}, how far is {a} from the camera?|how far is {a} from the camera in view {v}?|"
    "view {v}: how far away is {a}?",
    "attribute.colour": "what colour is {a}?|what colour does {a} have?|which colour is {a}?",
    "attribute.where": "where in view {v} is {a}: left, middle or right?|in view {v}, is {a} left, middle or right?|"
    "view {v}: is {a} left, middle or right?",
    "attribute.best_view": "which view shows {a} best?|in which view is {a} seen best?|in which view is most of {a}?",
    "description.room": "describe the room.|what is in the room?|what do you see?",
}


#: Wordings of sizes with the comparative {w}. "Higher" and "lower" are avoided: they also describe positions.
_WHICH_SIZE = "which is {w}, {a} or {b}?|{a} or {b}: which is {w}?"
_IS_SIZE = "is {a} {w} than {b}?|compared to {b}, is {a} {w}?"


def _size(dimension: str, more: str, less: str) -> list[tuple[str, Answers, str]]:
    return [
        (f"size.{form}{dimension}", answers, texts.replace("{w}", word))
        for words, names, truth in ((more, NAMES, YES_NO), (less, OPPOSITE, NO_YES))
        for word in words.split()
        for form, answers, texts in (("", names, _WHICH_SIZE), ("is_", truth, _IS_SIZE))
    ]


#: Kind of fact -> (form, answers, wordings) of its comparisons.
_COMPARISONS: dict[str, list[tuple[str, Answers, str]]] = {
    "proximity.nearer": [
        ("proximity.nearer", NAMES, "which is nearer to {c}, {a} or {b}?|which is closer to {c}, {a} or {b}?"),
        ("proximity.nearer", NAMES, "{a} or {b}: which is nearer to {c}?"),
        ("proximity.nearer", OPPOSITE, "which is farther from {c}, {a} or {b}?"),
        ("proximity.is_nearer", YES_NO, "is {a} nearer to {c} than {b} is?|is {a} closer to {c} than {b}?"),
    ],
    "size.larger": _size("larger", "larger bigger", "smaller"),
    "size.taller": _size("taller", "taller", "shorter"),
    "size.longer": _size("longer", "longer", ""),
    "orientation.left": [
        ("orientation.left_right", LEFT_RIGHT, "in view {v}, is {a} to the left or right of {b}?"),
        ("orientation.left_right", LEFT_RIGHT, "in view {v}, is {a} left or right of {b}?"),
        ("orientation.left_right", LEFT_RIGHT, "view {v}: is {a} on the left or right of {b}?"),
        ("orientation.leftmost", NAMES, "in view {v}, which is further left, {a} or {b}?"),
        ("orientation.leftmost", OPPOSITE, "in view {v}, which is further right, {a} or {b}?"),
    ],
    "orientation.closer": [
        ("orientation.front_behind", FRONT_BEHIND, "in view {v}, is {a} in front of or behind {b}?"),
        ("orientation.front_behind", FRONT_BEHIND, "view {v}: is {a} in front of {b} or behind?"),
        ("orientation.closer", NAMES, "in view {v}, which is closer, {a} or {b}?"),
        ("orientation.closer", NAMES, "in view {v}, what is in front, {a} or {b}?"),
        ("orientation.closer", OPPOSITE, "in view {v}, which is further away, {a} or {b}?"),
    ],
}

#: Kind of fact -> its templates, each equally likely.
TEMPLATES: dict[str, tuple[Template, ...]] = {
    kind: tuple(Template(kind, text) for text in texts.split("|")) for kind, texts in _DIRECT.items()
} | {
    kind: tuple(Template(form, text, answers) for form, answers, texts in forms for text in texts.split("|"))
    for kind, forms in _COMPARISONS.items()
}

#: Facts in which {a} and {b} have the same role, so that either may be named first.
SYMMETRIC = frozenset({"proximity.near", "contact.touching", "distance.between"})
