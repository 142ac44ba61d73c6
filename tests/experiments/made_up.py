"""Measurements made up by hand, so that tables can be tested without a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dollhouse.questions.sampling import FAMILIES
from experiments.paper.measured import Measured

ROOMS = 12


def made_up(
    right: Callable[[int, int], bool],
    *,
    words: str = "a room with a bed.",
    depth: Callable[[int], float] = lambda room: 0.2 + 0.01 * (room % 3),
    loss: Callable[[int], float] = lambda room: 1.0 + 0.1 * (room % 2),
    found: bool = True,
    blind: str | None = "no",
    name: str = "made up",
) -> Measured:
    """Four yes-or-no questions and a description of each room; ``right(room, family)``: which are answered rightly."""
    rows: list[dict[str, Any]] = []
    for room in range(ROOMS):
        scene = f"rooms:test/{room}"
        for number, family in enumerate(FAMILIES):
            said = "yes" if right(room, number) else "no"
            rows.append(_row(scene, family, number, "is it?", "yes", said, blind, said == "yes"))
        rows.append(_row(scene, "description", 0, "what is in the room?", "a room with a bed.", words, blind, None))
    rooms = [
        {
            "scene": f"rooms:test/{room}",
            "views": 4,
            "depth": {"abs_rel": 4 * depth(room), "rmse": 8 * depth(room)},
            "boxes": {"truths": {"bed": 1, "chair": 1}, "found": [["bed", 0.9, int(found)], ["chair", 0.5, room % 2]]},
        }
        for room in range(ROOMS)
    ]
    losses = {name: [loss(room) for room in range(8)] for name in ("text", "depth_reg")}
    told = {"overall": 0.5, "families": dict.fromkeys(FAMILIES, 0.5), "others": {}}
    metrics = {"chance": told, "blind": None if blind is None else {"model": "blind"}}
    return Measured(name, 7_500_000, rooms, rows, losses, metrics, Path("made-up"))


def _row(
    scene: str, family: str, number: int, question: str, answer: str, said: str, blind: str | None, correct: bool | None
) -> dict[str, Any]:
    form = f"{family}.made"
    told = {"prediction": said, "blind_prediction": blind, "correct": correct}
    asked = {"question": question, "answer": answer, "choices": ["yes", "no"]}
    return {"scene": scene, "id": f"{scene}#{form}#{number}", "family": family, "form": form, **asked, **told}
