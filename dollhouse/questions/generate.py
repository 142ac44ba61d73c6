"""Question generation: an annotated scene to balanced questions with answers from its boxes."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from dollhouse.questions.answer_balance import AnswerBalance, is_photographic, shipped_balance
from dollhouse.questions.facts import Fact, SceneFacts
from dollhouse.questions.photo_facts import PhotoFacts
from dollhouse.questions.photo_questions import absent_facts, photo_templates, without_view
from dollhouse.questions.referring import listed, plural, with_article
from dollhouse.questions.sampling import AUXILIARY, FAMILIES, sample_facts
from dollhouse.questions.templates import SYMMETRIC, TEMPLATES
from dollhouse.scenes.labels import default_labels
from dollhouse.scenes.scene import Scene

__all__ = ["AUXILIARY", "FAMILIES", "Question", "generate_questions"]

QUESTIONS_VERSION = 1  #: raise it whenever the questions or answers of a scene change
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@dataclass(frozen=True)
class Question:
    """One question about one scene with its geometric answer."""

    id: str  #: "<scene name>#<form>#<running number>", unique in a scene
    scene: str  #: the scene's name
    family: str  #: one of FAMILIES or AUXILIARY
    form: str  #: "size.larger", "contact.stands_on", ...: what is asked, independent of the wording
    text: str
    answer: str  #: short, lower case: "the sofa", "yes", "left", "3", "2.5 m"
    choices: tuple[str, ...]  #: possible answers, so that chance is 1/len; () where the answer is open
    objects: tuple[int, ...]  #: ids of the boxes it refers to, in the order of the text
    view: int | None  #: index from 0 of the view it names ("view 1" in the text is index 0)
    accept: tuple[str, ...] = ()  #: further correct answers, or items of one; not part of records


def generate_questions(
    scene: Scene,
    *,
    balance: AnswerBalance | None = None,
    limit: int | None = None,
    seed: int = 0,
    photos: bool | None = None,
) -> tuple[Question, ...]:
    """Generate questions about ``scene`` in random order, reproducibly.

    Args:
        scene: a metric scene with boxes.
        balance: answer counts of the whole data set; may be left out for synthetic rooms, whose table is shipped.
        limit: at most this many, spread evenly over the families and, within a family, over the kinds of question.
        seed: seed of all random choices.
        photos: also ask as people ask about photos (:mod:`dollhouse.questions.photo_questions`): open questions,
            questions about absent objects, no view's number where there is one photo. None: for scenes of ``homes:``.

    Raises:
        QuestionError: no boxes, not metric, unknown visibility, or missing ``balance``.
    """
    if balance is None:
        balance = shipped_balance(scene)
    photos = is_photographic(scene) if photos is None else photos
    facts = PhotoFacts(scene) if photos else SceneFacts(scene)
    rng = random.Random(f"{scene.name}|{seed}")
    visible = tuple(i for i, visible in enumerate(facts.visible) if visible)
    description = Fact("description.room", None, _describe(facts), visible)
    labels = default_labels() if photos else balance.labels
    possible = [*facts.facts(), *facts.absent(labels, balance.colours), description]
    if isinstance(facts, PhotoFacts):
        possible += absent_facts(facts, rng, held_out=scene.metadata.get("split", "train") != "train")
    chosen = sample_facts(possible, balance, limit, rng)
    rng.shuffle(chosen)
    running: Counter[str] = Counter()
    return tuple(_to_question(fact, facts, balance, rng, running) for fact in chosen)


def _to_question(
    fact: Fact, facts: SceneFacts, balance: AnswerBalance, rng: random.Random, running: Counter[str]
) -> Question:
    """Word a fact as a question; the template and the order of the two objects are drawn uniformly."""
    photos = isinstance(facts, PhotoFacts)
    template = rng.choice((photo_templates() if photos else TEMPLATES)[fact.kind])
    objects, answer = fact.objects, fact.answer
    words: dict[str, str] = dict(fact.words) | {"v": str((fact.view or 0) + 1)}
    choices: tuple[str, ...] = ()
    if fact.words:
        pass
    elif fact.kind.startswith(("counting", "existence")):
        noun = " ".join(reversed(fact.key[1:] if fact.key else ()))
        words = {"label": with_article(noun), "labels": plural(noun)}
    elif not fact.kind.startswith("description"):
        swapped = (template.answers is not None or fact.kind in SYMMETRIC) and rng.random() < 0.5
        if swapped:
            objects = (objects[1], objects[0], *objects[2:])
        names = [reference.name if reference else "" for reference in (facts.references[i] for i in objects)]
        words |= dict(zip("abc", names, strict=False))
        if template.answers is not None:
            choices = (template.answers[0].format(**words), template.answers[1].format(**words))
            answer = choices[swapped]
    if fact.alternatives:
        choices = tuple(rng.sample(fact.alternatives, 2))
        words |= {"first": choices[0], "second": choices[1]}
    elif not choices and fact.key is not None:
        choices = balance.answers(fact.key)
    text = template.text.format(**words)
    if photos and len(facts.cameras) == 1:
        text = without_view(text, rng)
    number = running[template.form]
    running[template.form] += 1
    return Question(
        id=f"{facts.name}#{template.form}#{number}",
        scene=facts.name,
        family=template.form.partition(".")[0],
        form=template.form,
        text=text,
        answer=answer,
        choices=choices,
        objects=tuple(facts.boxes[i].id for i in objects),
        view=fact.view,
        accept=fact.accept,
    )


def _describe(facts: SceneFacts) -> str:
    """List the visible objects by count, then name: "a room with two chairs, a bed and a lamp."."""
    counts = Counter(box.label for box, visible in zip(facts.boxes, facts.visible, strict=True) if visible)
    phrases = [
        with_article(label) if count == 1 else f"{_NUMBERS[count] if count < len(_NUMBERS) else count} {plural(label)}"
        for label, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    return f"a room with {listed(phrases)}." if phrases else "an empty room."
