"""Wordings of questions about photos, and questions about what no photo shows."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import yaml

from dollhouse.questions.facts import Fact
from dollhouse.questions.nouns import HELD_OUT, absent_nouns
from dollhouse.questions.photo_facts import PhotoFacts
from dollhouse.questions.referring import plural, with_article
from dollhouse.questions.refusals import OFF_TOPIC_ANSWER
from dollhouse.questions.templates import NAMES, OPPOSITE, TEMPLATES, Template
from dollhouse.questions.wording import normalise_question
from dollhouse.scenes.labels import default_labels

KEPT_VIEW = 0.15  #: share of the questions about a single photo that name "view 1" nevertheless
ABSENT = 12  #: facts of each kind about absent objects, per scene
PHOTO_QUESTIONS_VERSION = 1  #: raise it whenever the code would give other questions about the same photos
TEMPLATES_FILE = Path(__file__).with_name("photo_templates.yaml")
OFF_TOPIC_FILE = Path(__file__).with_name("off_topic.txt")
FILES = (TEMPLATES_FILE, OFF_TOPIC_FILE)

_VIEW = re.compile(r"^in view \d+, |^view \d+: | in view \d+(?=[ ?.])")


@cache
def photo_templates() -> dict[str, tuple[Template, ...]]:
    """Return the templates of each kind of fact, in the wording that users' questions are rewritten to."""
    table: dict[str, Any] = yaml.safe_load(TEMPLATES_FILE.read_text("utf-8"))
    of_views = {kind: [f"in view {{v}}, {text}" for text in texts] for kind, texts in table.pop("view").items()}
    templates = {kind: tuple(Template(kind, text) for text in texts) for kind, texts in (table | of_views).items()}
    camera = (
        ("which is closer to the camera, {a} or {b}?", NAMES),
        ("which is nearer to the camera, {a} or {b}?", NAMES),
        ("which is farther from the camera, {a} or {b}?", OPPOSITE),
    )
    closer = [Template("proximity.camera", f"in view {{v}}, {text}", answers) for text, answers in camera]
    merged = TEMPLATES | templates | {"orientation.closer": (*TEMPLATES["orientation.closer"], *closer)}
    for kind in ("attribute.colour", "contact.stands_on", "distance.height", "open.on"):  # two steps
        merged[f"{kind}_of_related"] = tuple(Template(f"{kind}_of_related", each.text) for each in merged[kind])
    rewritten = {
        kind: tuple({(new := replace(each, text=_rewritten(each.text))).text: new for each in templates}.values())
        for kind, templates in merged.items()
    }
    return rewritten | {"refusal.off_topic": (Template("refusal.off_topic", "{text}"),)}


#: placeholders -> words that no rule of the wording changes
_STAND_INS = {name: f"the q{name}q" for name in "abc"} | {"v": "77", "n": "88", "label": "a qlq", "labels": "qlqs"}
_STAND_INS |= {"noun": "qnq", "nouns": "qnqs", "place": "the qpq", "colour": "qcq"}
_STAND_INS |= {"first": "the q1q", "second": "the q2q"}


def _rewritten(text: str, a: str = "the qaq") -> str:
    """Return a template in the normalised wording; ``a`` stands for the object {a}."""
    given = _STAND_INS | {"a": a}
    rewritten = normalise_question(text.format(**given))
    for name, word in sorted(given.items(), key=lambda item: -len(item[1])):
        rewritten = rewritten.replace(word, f"{{{name}}}")
    return rewritten


@cache
def off_topic_questions(held_out: bool = False) -> tuple[str, ...]:
    """Return templates of questions that are not about photos: those for training, or those held out from it."""
    lines = OFF_TOPIC_FILE.read_text("utf-8").splitlines()
    split = [line for line in lines if (blake2b(line.encode(), digest_size=1).digest()[0] < 256 * HELD_OUT) is held_out]
    return tuple(dict.fromkeys(_rewritten(line, a="a qaq") for line in split))


def absent_facts(facts: PhotoFacts, rng: random.Random, held_out: bool) -> Iterator[Fact]:
    """Yield facts about objects that the scene lacks, and questions that are not about it.

    ``held_out`` takes nouns and questions that training never uses.
    """
    nouns, lines = absent_nouns(held_out), off_topic_questions(held_out)
    labels = [label for label in default_labels() if label not in facts.labels_present]
    for noun in rng.sample(nouns, ABSENT):
        yield Fact("existence.noun", None, "no", (), words=(("label", with_article(noun)),))
    for number in range(ABSENT):
        noun = rng.choice(labels) if labels and number % 2 else rng.choice(nouns)
        words = [("noun", noun)]
        if facts.subjects:
            words.append(("a", facts.reference_name(rng.choice(facts.subjects))))
            yield Fact("refusal.object", None, f"there is no {noun}", (), words=tuple(words))
        yield Fact("counting.absent", None, "0", (), words=(("labels", plural(noun)),))
        text = rng.choice(lines).format(noun=noun, nouns=plural(noun), a=with_article(noun))
        yield Fact("refusal.off_topic", None, OFF_TOPIC_ANSWER, (), words=(("text", text),))


def without_view(text: str, rng: random.Random) -> str:
    """Remove the view's number from most questions about a single photo."""
    return text if rng.random() < KEPT_VIEW else _VIEW.sub("", text)
