"""Questions of a record that remain true and answerable where the student is given fewer views than the teacher had."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import replace

import numpy as np

from dollhouse.questions.facts import VISIBLE_SHARE
from dollhouse.questions.generate import Question
from dollhouse.questions.indexed_scan import IndexedScan
from dollhouse.records.types import TeacherAnswer

_VIEW = re.compile(r"\bview (\d+)\b")


def visible_boxes(scan: IndexedScan, views: Sequence[int]) -> set[int] | None:
    """Return the ids of the boxes that some of ``views`` shows well; None where that is unknown."""
    graph, boxes = scan.graph, scan.scene.boxes
    if graph is None or boxes is None or not set(views) <= set(graph.frames.tolist()):
        return None
    shown = graph.shares[:, np.isin(graph.frames, views)].max(axis=1, initial=0.0) >= VISIBLE_SHARE
    return {box.id for box, visible in zip(boxes, shown, strict=True) if visible}


def renumber(
    question: Question, answer: TeacherAnswer, chosen: Sequence[int], visible: Set[int] | None
) -> tuple[Question, TeacherAnswer] | None:
    """Word a question and its answer for a sample of the teacher's views; None where the sample does not show it.

    A question remains where the view that it names is in the sample and all objects that it is about are visible
    there. Views get their numbers in the sample; an answer that is such a number loses the teacher's tokens.

    Args:
        chosen: numbers of the teacher's views in the sample, from 0.
        visible: ids of the boxes that the sample shows; None where unknown: objects are not checked then.
    """
    if visible is not None and not set(question.objects) <= visible:
        return None
    named = {int(number) - 1 for text in (question.text, answer.text) for number in _VIEW.findall(text)}
    if question.view is not None:
        named.add(question.view)
    if not named <= set(chosen):
        return None

    def word(text: str) -> str:
        return _VIEW.sub(lambda match: f"view {chosen.index(int(match[1]) - 1) + 1}", text)

    view = None if question.view is None else chosen.index(question.view)
    new = replace(question, text=word(question.text), answer=word(question.answer), view=view)
    return new, answer if (text := word(answer.text)) == answer.text else TeacherAnswer(text)
