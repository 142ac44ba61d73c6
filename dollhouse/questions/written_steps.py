"""A written chain of thought: the objects that a question names and where they are, written before the answer."""

from __future__ import annotations

from collections.abc import Iterable

from dollhouse.geometry import Array

STEPS_END = " => "  #: between steps and answer


def write_steps(objects: Iterable[tuple[str, Array]], answer: str) -> str:
    """Put the steps to an answer before it; the answer alone where there are none.

    Args:
        objects: label and centre of each, (3,) metres; written in whole decimetres: "sofa 12 -4 31 => a lamp".
    """
    steps = ", ".join(
        " ".join([label, *(str(round(10 * float(value))) for value in center)]) for label, center in objects
    )
    return f"{steps}{STEPS_END}{answer}" if steps else answer


def final_answer(text: str) -> str:
    """Return a generated text without the steps before the answer."""
    return text.rpartition(STEPS_END)[2]
