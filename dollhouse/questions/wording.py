"""Rewrites questions as people and benchmarks put them into the wording that the student is trained on.

Deterministic, by tables: case, greetings, prompts' suffixes, spelling, contractions, numbers of photos, plurals, other
words for labels, typos of one letter. Nouns that no table has stay as they are.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from dollhouse.questions.nouns import not_typos, nouns
from dollhouse.questions.referring import plural, with_article
from dollhouse.scenes.labels import LabelMap, default_labels, singular
from dollhouse.scenes.synthetic.furniture import COLOURS

TABLE = Path(__file__).with_name("wording.toml")
TEMPLATE_WORDS = Path(__file__).with_name("template_words.txt")  #: of all templates, and colours; a test compares them
LONGEST_NAME = 3  #: words of a label's name
LEAST_TYPO = 4  #: letters of a word that is checked for typos
_ROUNDS = 4  #: of the rules, at most
_VIEW = re.compile(r"\bview (\d+)\b")
_EXISTENCE = re.compile(r"(in view \d+, )?(?:are|is) there (?:any |some |an? )?([a-z][a-z ]*?)( (?:in|on) the .*)?\?*")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
#: words that name no object where they are also another word for a label
_NOT_NAMES = ("light", "range", "fan", "island", "mat", "bath", "tub", "picture", "washer", "dryer")


@lru_cache(maxsize=4096)
def normalise_question(question: str) -> str:
    """Return a question in the wording of the templates."""
    table = _table()
    text = unicodedata.normalize("NFKC", question).lower().translate(str.maketrans("‘’‛“”„`´", "'''\"\"\"''"))
    text = " ".join(re.sub(r"<[a-z_/ ]+>", " ", text).replace("\u200b", "").split(" "))
    text = _without(text, table["instructions"])
    text = " ".join(text.split()).strip(" \"'")
    for pattern, replacement in table["contractions"]:
        text = pattern.sub(replacement, text)
    text = _strip_ends(text, table)
    text = re.sub(r"[a-z]+", lambda match: table["spelling"].get(match[0], match[0]), text)
    text = re.sub(r"[a-z]+", lambda match: _corrected(match[0]), text)
    text = _numbers(text, table)
    for _ in range(_ROUNDS):
        before = text
        for pattern, replacement in table["rules"]:
            text = pattern.sub(replacement, text)
        text = _strip_ends(re.sub(r" +([?.,!:])", r"\1", " ".join(text.split())), table)
        if text == before:
            break
    text = _singular_existence(_renamed(text))
    text = re.sub(r"[?!. ]*\?[?!. ]*$", "?", text)
    return re.sub(r"[!.]{2,}$", ".", text) or question.strip().lower()


def views_named(question: str) -> tuple[int, ...]:
    """Return the numbers of the views that a normalised question names."""
    return tuple(int(number) for number in _VIEW.findall(question))


def _without(text: str, patterns: list[re.Pattern[str]]) -> str:
    """Remove sentences that fit, unless nothing else is left."""
    for pattern in patterns:
        shorter = pattern.sub(r"\1", text)
        if re.search(r"[a-z]{2}", shorter):
            text = shorter
    return text


def _strip_ends(text: str, table: dict[str, Any]) -> str:
    """Remove greetings and requests before a question, and what is appended, unless nothing else is left."""
    for name in ("prefixes", "suffixes"):
        changed = True
        while changed:
            changed = False
            for pattern in table[name]:
                shorter = pattern.sub("", text, count=1)
                if shorter != text and re.search(r"[a-z]{2}.*[a-z]{2}", shorter):
                    text, changed = shorter.strip(), True
    return text


def _numbers(text: str, table: dict[str, Any]) -> str:
    """Write numbers of views and of objects as digits."""
    photo = table["photo"]
    text = re.sub(
        rf"\b(?:the )?({'|'.join(table['ordinals'])}) (?:{photo})\b", lambda m: f"view {table['ordinals'][m[1]]}", text
    )
    text = re.sub(
        rf"\b({photo}) (?:number )?({'|'.join(table['numbers'])})\b",
        lambda m: f"view {table['numbers'][m[2]]}",
        text,
    )
    several = "|".join(number for number in table["numbers"] if number != "one")
    return re.sub(rf"\b({several})(?= [a-z]+s\b)", lambda m: str(table["numbers"][m[1]]), text)


def _renamed(text: str) -> str:
    """Replace other words for labels by the labels, with the article that fits."""
    parts = re.findall(r"[a-z]+|[^a-z]+", text)
    words = [number for number, part in enumerate(parts) if part[0] in _LETTERS]
    place, out, last = 0, [], 0
    while place < len(words):
        for length in range(min(LONGEST_NAME, len(words) - place), 0, -1):
            first, end = words[place], words[place + length - 1] + 1
            phrase = "".join(parts[first:end])
            if all(part == " " for part in parts[first + 1 : end : 2]) and (name := _label_of(phrase)):
                before = parts[first - 2] if first > 1 else ""
                after = parts[end + 1] if end + 1 < len(parts) else ""
                if phrase in _NOT_NAMES and (before not in ("a", "an", "the") or after in COLOURS or _label_of(after)):
                    continue
                out += parts[last:first]
                if before in ("a", "an"):
                    out[-2] = with_article(name).split()[0]
                out.append(name)
                last, place = end, place + length
                break
        else:
            out += parts[last : words[place] + 1]
            last, place = words[place] + 1, place + 1
    return "".join([*out, *parts[last:]])


@lru_cache(maxsize=8192)
def _label_of(phrase: str) -> str | None:
    """Return the label that a phrase is another word for, in the phrase's number; None where it is none."""
    mapping = _mapping()
    if len(phrase) < 2 or phrase in ("photo", "photos", "image", "images"):
        return None
    noun = singular(phrase)
    label = mapping.map(noun)
    if label is None or re.search(r"[^a-z ]", phrase):
        return None
    return label if noun == phrase or label == phrase else plural(label)


def _singular_existence(text: str) -> str:
    """Rewrite "are there any chairs?" to "is there a chair?"."""
    match = _EXISTENCE.fullmatch(text)
    if match is None:
        return text
    start, noun, rest = match.group(1), match.group(2), (match.group(3) or "").rstrip("?")
    if noun.split()[0] in ("anything", "something", "nothing", "more", "enough", "the", "other") or " in view" in noun:
        return text
    rest = "" if rest.strip() in ("in the room", "in the house", "in the photos") else rest
    return f"{start or ''}is there {with_article(singular(noun))}{rest}?"


@lru_cache(maxsize=8192)
def _corrected(word: str) -> str:
    """Return the only known word one edit from ``word``, which is no English word; else ``word``."""
    targets = _targets()
    if not LEAST_TYPO <= len(word) <= _longest_typo():
        return word
    if word in targets or word in not_typos() or word in nouns() or singular(word) in nouns():
        return word
    near = {edited for edited in _edits(word) if edited in targets}
    if len(near) > 1 and len({singular(each) for each in near}) == 1:  # a noun and its plural
        near = {each for each in near if each.endswith("s") is word.endswith("s")}
    return near.pop() if len(near) == 1 else word


def _edits(word: str) -> Iterator[str]:
    """Yield the words one deletion, exchange, replacement or insertion of letters away."""
    splits = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    for left, right in splits:
        if right:
            yield left + right[1:]
        if len(right) > 1:
            yield left + right[1] + right[0] + right[2:]
        for letter in _LETTERS:
            if right:
                yield left + letter + right[1:]
            yield left + letter + right


@cache
def _targets() -> frozenset[str]:
    """Return the words to which typos are corrected: of labels, their other names, and the templates."""
    mapping = _mapping()
    names = {word for label in default_labels() for word in (label, *mapping.aliases(label))}
    words = {part for name in names for part in (*name.split(), plural(name).split()[-1])}
    words.update(TEMPLATE_WORDS.read_text("utf-8").split())
    return frozenset(word for word in words if len(word) >= LEAST_TYPO)


@cache
def _longest_typo() -> int:
    return max(map(len, _targets())) + 1


@cache
def _mapping() -> LabelMap:
    return LabelMap(default_labels())


@cache
def _table() -> dict[str, Any]:
    """Return the rules, compiled."""
    raw = tomllib.loads(TABLE.read_text("utf-8"))
    lists = raw["lists"]

    def compiled(pattern: str) -> re.Pattern[str]:
        for name, words in lists.items():
            pattern = pattern.replace(f"{{{name}}}", words)
        return re.compile(pattern)

    numbers = {word: number for number, word in enumerate(lists["number"].split("|"), 1)}
    ordinals = {word: number % 10 + 1 for number, word in enumerate(lists["ordinal"].split("|"))}
    return {
        "spelling": raw["spelling"],
        "photo": lists["photo"],
        "numbers": numbers,
        "ordinals": ordinals,
        "contractions": [(compiled(pattern), text) for pattern, text in raw["contractions"]],
        "instructions": [compiled(rf"(^|[.?!\n,:;)] *){pattern}(?:[.?!]+|$)") for pattern in raw["instructions"]],
        "prefixes": [compiled(f"^{pattern}") for pattern in raw["prefixes"]],
        "suffixes": [compiled(pattern) for pattern in raw["suffixes"]],
        "rules": [(compiled(pattern), text) for pattern, text in raw["rules"]],
    }
