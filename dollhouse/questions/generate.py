"""An annotated scene -> balanced questions whose answers are read off its boxes.

What can be asked is found by :mod:`dollhouse.questions.facts`, how often by :mod:`dollhouse.questions.answer_balance`,
in which words by :mod:`dollhouse.questions.templates`, which of them by
:mod:`dollhouse.questions.sampling`; here they meet. Knows nothing of models.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from dollhouse.errors import QuestionError
from dollhouse.questions.answer_balance import AnswerBalance, rooms_balance
from dollhouse.questions.facts import Candidate, SceneFacts
from dollhouse.questions.referring import plural, with_article
from dollhouse.questions.sampling import AUXILIARY, FAMILIES, select
from dollhouse.questions.templates import PHRASINGS, SYMMETRIC
from dollhouse.scenes.scene import Scene

__all__ = ["AUXILIARY", "FAMILIES", "Question", "generate_questions"]

QUESTIONS_VERSION = 1  #: raise it whenever a scene is asked other questions or gets other answers
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@dataclass(frozen=True)
class Question:
    """One question about one scene, with the answer that the geometry gives."""

    id: str  #: "<scene name>#<form>#<running number>", unique in a scene
    scene: str  #: the scene's name
    family: str  #: one of FAMILIES or AUXILIARY
    form: str  #: "size.larger", "contact.stands_on", ...: what is asked, however it is worded
    text: str
    answer: str  #: short, lower case: "the sofa", "yes", "left", "3", "2.5 m"
    choices: tuple[str, ...]  #: answers possible beforehand, so that chance is 1/len; () where the answer is open
    objects: tuple[int, ...]  #: ids of the boxes it speaks of, in the order in which it names them
    view: int | None  #: index from 0 of the view it names ("view 1" in the text is index 0)


def generate_questions(
    scene: Scene, *, balance: AnswerBalance | None = None, limit: int | None = None, seed: int = 0
) -> tuple[Question, ...]:
    """Questions about ``scene``, always the same for the same scene, balance, limit and seed; in random order.

    ``balance`` may be left out for rooms, whose table ships with the package; for scenes of another source give
    ``AnswerBalance.measure(scenes)`` of the whole data set, since one scene cannot tell what is common. ``limit`` keeps
    at most that many, spread evenly over the families and, within a family, over the kinds of question.

    QuestionError where the scene has no boxes or no metres, where visibility cannot be told, or where no balance
    is known for its source.
    """
    if balance is None:
        if scene.metadata.get("source") != "rooms":
            raise QuestionError(f"{scene.name}: not a procedural room; give balance=AnswerBalance.measure(scenes)")
        balance = rooms_balance()
    survey = SceneFacts(scene)
    rng = random.Random(f"{scene.name}|{seed}")
    chosen = select(list(_candidates(survey, balance)), balance, limit, rng)
    rng.shuffle(chosen)
    running: Counter[str] = Counter()
    return tuple(_worded(candidate, survey, balance, rng, running) for candidate in chosen)


def _candidates(survey: SceneFacts, balance: AnswerBalance) -> Iterator[Candidate]:
    yield from survey.candidates()
    yield from survey.absent(balance.labels, balance.colours)
    seen = tuple(i for i, seen in enumerate(survey.seen) if seen)
    yield Candidate("description.room", None, _description(survey), seen)


def _worded(
    candidate: Candidate, survey: SceneFacts, balance: AnswerBalance, rng: random.Random, running: Counter[str]
) -> Question:
    """The candidate as a question; who is named first, and in which words, is drawn evenly."""
    phrasing = rng.choice(PHRASINGS[candidate.kind])
    objects = candidate.objects
    words: dict[str, str] = {}
    answer = candidate.answer
    choices: tuple[str, ...] = ()
    if candidate.kind.startswith(("counting", "existence")):
        nouns = candidate.key[1:] if candidate.key else ()
        noun = " ".join(reversed(nouns))
        words = {"label": with_article(noun), "labels": plural(noun)}
    elif not candidate.kind.startswith("description"):
        swapped = (phrasing.answers is not None or candidate.kind in SYMMETRIC) and rng.random() < 0.5
        if swapped:
            objects = (objects[1], objects[0], *objects[2:])
        names = [reference.name if reference else "" for reference in (survey.references[i] for i in objects)]
        words = dict(zip("abc", names, strict=False)) | {"v": str((candidate.view or 0) + 1)}
        if phrasing.answers is not None:
            choices = (phrasing.answers[0].format(**words), phrasing.answers[1].format(**words))
            answer = choices[swapped]
    if candidate.alternatives:
        choices = tuple(rng.sample(candidate.alternatives, 2))
        words |= {"first": choices[0], "second": choices[1]}
    elif not choices and candidate.key is not None:
        choices = balance.answers(candidate.key)
    number = running[phrasing.form]
    running[phrasing.form] += 1
    return Question(
        id=f"{survey.name}#{phrasing.form}#{number}",
        scene=survey.name,
        family=phrasing.form.partition(".")[0],
        form=phrasing.form,
        text=phrasing.text.format(**words),
        answer=answer,
        choices=choices,
        objects=tuple(survey.boxes[i].id for i in objects),
        view=candidate.view,
    )


def _description(survey: SceneFacts) -> str:
    """ "a room with a bed, two chairs and a lamp.": what is seen, the most numerous first, then by name."""
    counts = Counter(box.label for box, seen in zip(survey.boxes, survey.seen, strict=True) if seen)
    things = [
        with_article(label) if count == 1 else f"{_NUMBERS[count] if count < len(_NUMBERS) else count} {plural(label)}"
        for label, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    if not things:
        return "an empty room."
    listed = things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"
    return f"a room with {listed}."
