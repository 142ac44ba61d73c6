"""Object labels: the default list with aliases, and maps from the words of data sets to any list of labels."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from dollhouse.errors import SceneError
from dollhouse.system.read_files import decoding, read_text

TABLE = Path(__file__).with_name("labels.txt")
LABEL_MAPS = "*labels.combined.tsv"  #: ScanNet's table of raw names, which lies in a folder above the scans
#: Parts of the building, which some data sets annotate with boxes: background, and never asked about.
BUILDING = frozenset({"wall", "floor", "ceiling", "room"})


def _listed(words: str) -> list[str]:
    return [word.strip() for word in words.split(",") if word.strip()]


#: Words that name no kind of object.
NAMELESS = frozenset(
    _listed(
        "a, appliance, background, decoration, furniture, item, machine, misc, miscellaneous, n, n a, nan, none, null, "
        "object, other, other furniture, other prop, other structure, otherfurniture, otherprop, otherstructure, "
        "remove, removed, structure, stuff, thing, unannotated, unassigned, undefined, unknown, unlabeled, unlabelled, "
        "void"
    )
)
#: Last words of nouns that "a" and a number do not fit.
UNCOUNTABLE = frozenset(
    _listed(
        "apparel, clothes, clothing, food, glasses, goggles, headphones, jeans, laundry, luggage, pants, paper, "
        "pliers, scissors, shorts, trash, water, wood"
    )
)
_IRREGULAR = {"knives": "knife", "leaves": "leaf", "shoes": "shoe", "stairs": "staircase", "people": "person"}
_SINGULAR_S = ("ss", "us", "is", "gas", "lens", "canvas", "chess", "series")


class _Table(NamedTuple):
    labels: tuple[str, ...]
    oriented: frozenset[str]
    synonym: dict[str, str]  #: word -> the first word of its meaning
    parent: dict[str, str]  #: first word of a meaning -> that of the meaning it is a kind of


def clean_label(name: str) -> str | None:
    """Return a data set's word as a singular noun in lower case; None where it names no kind of object.

    "Kitchen_Cabinets" gives "kitchen cabinet"; "40", "remove" and "otherfurniture" give None. Of synonyms after
    commas, as in ADE20K, the first counts; alternatives after slashes, as in Objects365, name no one kind.
    """
    nouns = next(_alternatives(name), [])
    return nouns[0] if len(nouns) == 1 else None


def is_building(name: str) -> bool:
    """Return whether a name is that of a part of the building, which is background."""
    return clean_label(name) in BUILDING


@lru_cache(maxsize=4096)
def question_noun(name: str) -> str | None:
    """Return the noun by which questions name an object: its default label, else :func:`clean_label`.

    None where "a" or a number before it makes no sense ("clothes").
    """
    label = _default_map().map(name)
    noun = label or clean_label(name)
    return None if noun is None or noun.split()[-1] in UNCOUNTABLE else noun


def default_labels() -> tuple[str, ...]:
    """Return the default labels, sorted."""
    return _table().labels


def oriented_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Return those of ``labels`` whose objects have a front."""
    table = _table()
    return tuple(label for label in labels if table.synonym.get(label, label) in table.oriented)


def general_labels(label: str) -> tuple[str, ...]:
    """Return the default labels that a default label is a kind of: ("chair",) of "office chair"."""
    parent = _table().parent
    found = []
    while label := parent.get(label, ""):
        found.append(label)
    return tuple(found)


def check_labels(labels: Sequence[str]) -> None:
    """Raise ValueError where labels are missing, not clean nouns, or two of them mean the same."""
    if not labels:
        raise ValueError("the list of labels is empty: name at least one, or write default")
    meanings: dict[str, str] = {}
    for label in labels:
        if label != (noun := clean_label(label)):
            hint = f"write {noun!r}" if noun else "give a noun, lower case and singular"
            raise ValueError(f"{label!r} is no label: {hint}")
        meaning = _table().synonym.get(label, label)
        if (other := meanings.get(meaning)) is not None:
            same = "occurs twice" if other == label else f"means the same as {other!r}"
            raise ValueError(f"label {label!r} {same}: leave one of them out")
        meanings[meaning] = label


class LabelMap:
    """Map from names of objects, in any data set's words, to a list of labels.

    Args:
        labels: the labels in use. Where they are coarser than the default ones, words map through what they are a kind
            of: an office chair is a "chair" where there is no label "office chair".
        aliases: label -> further words for it.
    """

    def __init__(self, labels: Sequence[str], aliases: Mapping[str, Sequence[str]] | None = None) -> None:
        self.labels = tuple(labels)
        self._synonym, self._parent = _table().synonym, _table().parent
        self._of_word = {word: label for label, words in (aliases or {}).items() for word in words}
        self._of_word |= {label: label for label in labels}
        self._of_meaning: dict[str, str] = {}
        for label in labels:
            self._of_meaning.setdefault(self._synonym.get(label, label), label)

    def map(self, name: str) -> str | None:
        """Return the label of a name; None where it has none, or where alternatives ("monitor/tv") disagree."""
        for nouns in _alternatives(name):
            if known := [labels for noun in nouns if (labels := self._general(noun))]:
                return next((label for label in known[0] if all(label in labels for labels in known)), None)
        return None

    def aliases(self, label: str) -> tuple[str, ...]:
        """Return all words of the table, other than the label itself, that map to a label."""
        return tuple(word for word in self._words.get(label, ()) if word != label)

    @cached_property
    def _words(self) -> dict[str | None, list[str]]:
        """The words of the table, sorted, by label."""
        words: dict[str | None, list[str]] = {}
        for word in sorted(self._synonym):
            words.setdefault(self.map(word), []).append(word)
        return words

    def _general(self, noun: str) -> list[str]:
        """Return the labels that apply to a noun, the most special first."""
        found = [self._of_word[noun]] if noun in self._of_word else []
        meaning: str | None = self._synonym.get(noun, noun)
        while meaning is not None:
            if (label := self._of_meaning.get(meaning)) is not None and label not in found:
                found.append(label)
            meaning = self._parent.get(meaning)
        return found


def unmapped_words(folder: Path) -> dict[str, str]:
    """Return NYU40 classes of ScanNet's raw names that have no default label, from its table above a scan's folder.

    Empty where no such table lies in ``folder`` or in one of the three folders above it.
    """
    for above in [folder, *folder.resolve().parents[:3]]:
        for path in sorted(above.glob(LABEL_MAPS)):
            return _nyu40_words(path)
    return {}


@lru_cache(maxsize=4)
def _nyu40_words(path: Path) -> dict[str, str]:
    text = read_text(path, SceneError)
    with decoding(path, "a table", SceneError):
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t")
        rows = [(row.get("raw_category"), row.get("nyu40class")) for row in table]
    known = _default_map().map
    return {
        raw.strip().lower(): nyu40
        for raw, nyu40 in rows
        if raw and nyu40 and not known(raw) and (known(nyu40) or is_building(nyu40))
    }


def list_counts(counts: Mapping[str, int]) -> str:
    """Write the five most frequent names with their numbers: "whiteboard (12), rack (3)"."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    named = [f"{name} ({count})" for name, count in ordered[:5]]
    return ", ".join([*named, "..."] if len(ordered) > 5 else named)


def singular(noun: str) -> str:
    """Return the singular of a regular English plural, of its head: "stacks of chairs" -> "stack of chairs"."""
    if " of " in noun:
        head, _, rest = noun.partition(" of ")
        return f"{singular(head)} of {rest}"
    start, space, word = noun.rpartition(" ")
    if word in _IRREGULAR:
        word = _IRREGULAR[word]
    elif word in UNCOUNTABLE or word.endswith(_SINGULAR_S) or len(word) < 3:
        pass
    elif word.endswith("shelves"):
        word = f"{word[:-3]}f"
    elif word.endswith(("ches", "shes", "sses", "xes", "oes")):
        word = word[:-2]
    elif word.endswith("ies") and len(word) > 4:
        word = f"{word[:-3]}y"
    elif word.endswith("s"):
        word = word[:-1]
    return f"{start}{space}{word}"


def _alternatives(name: str) -> Iterator[list[str]]:
    """Yield the synonyms in a name, each as the nouns of its alternatives."""
    for synonym in name.lower().split(","):
        nouns = []
        for part in synonym.split("/"):
            words = re.sub(r"\(.*?\)|-(?:other|stuff|merged)\b", " ", part)
            words = " ".join(re.sub(r"[\W_]+", " ", words).split())
            words = singular(re.sub(r"(?: \d+)+$", "", words))
            if re.search(r"[^\W\d]", words) and words not in NAMELESS:
                nouns.append(words)
        if nouns:
            yield nouns


@cache
def _default_map() -> LabelMap:
    return LabelMap(default_labels())


@cache
def _table() -> _Table:
    labels, oriented = [], set()
    synonym: dict[str, str] = {}
    parent: dict[str, str] = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        line, _, kinds = line.partition(">")
        line, _, words = line.partition("=")
        name, _, general = line.partition("<")
        label = name.strip(" *")
        labels.append(label)
        synonym |= dict.fromkeys((label, *_listed(words)), label)
        for kind in _listed(kinds):
            synonym[kind], parent[kind] = kind, label
        if general.strip():
            parent[label] = general.strip()
        if "*" in name:
            oriented.add(label)
    return _Table(tuple(labels), frozenset(oriented), synonym, parent)
