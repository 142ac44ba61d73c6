"""Made-up measurements and model folders, so that tables and the runner are tested without a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dollhouse.models.model_folder import NEEDED
from dollhouse.questions.sampling import FAMILIES

ROOMS = 12


def made_rows(right: Callable[[int, int], bool], description: str = "a room with a bed.") -> list[dict[str, Any]]:
    """Return four yes-or-no questions and a description of each room; ``right(room, family)``: which are answered."""
    rows: list[dict[str, Any]] = []
    for room in range(ROOMS):
        for number, family in enumerate(FAMILIES):
            rows.append(_row(room, family, "is it?", "yes", "yes" if right(room, number) else "no"))
        rows.append(_row(room, "description", "what is in the room?", "a room with a bed.", description))
    return rows


def made_rooms(depth: float = 0.2, detected: bool = True) -> list[dict[str, Any]]:
    """Return four views a room, a bed that is detected or not, and every second chair."""
    return [
        {
            "scene": f"rooms:test/{room}",
            "views": 4,
            "depth": {"abs_rel": 4 * (depth + 0.01 * (room % 3)), "rmse": 8 * depth},
            "boxes": {
                "truths": {"bed": 1, "chair": 1},
                "found": [["bed", 0.9, int(detected)], ["chair", 0.5, room % 2]],
            },
        }
        for room in range(ROOMS)
    ]


def write_measurement(folder: Path, right: Callable[[int, int], bool], losses: bool = True) -> None:
    """Write a measurement as :func:`experiments.paper.measure.measure` does."""
    numbers = {"text": [1.0, 1.5], "depth_reg": [0.1, 0.2]} if losses else None
    facts = {"model": "made@0123", "parameters": 7_500_000, "rooms": made_rooms(), "losses": numbers}
    (folder / "rooms.json").write_text(json.dumps(facts))
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made_rows(right)))
    report = {"model": {"blind": "blind@45"}, "provenance": {"scenes": "rooms:test/0-11", "commit": "c"}}
    (folder / "report.json").write_text(json.dumps(report))


def model_files(folder: Path, content: str = "weights") -> Path:
    """Write the files of a model folder, which no model can be loaded from."""
    folder.mkdir(parents=True)
    for name in NEEDED:
        (folder / name).write_text(f"{name} {content}")
    return folder


def three_of_four(room: int, family: int) -> bool:
    """Return whether a question is answered rightly: three of four of each room."""
    return (room + family) % 4 != 0


def _row(room: int, family: str, question: str, answer: str, text: str) -> dict[str, Any]:
    scene, form = f"rooms:test/{room}", f"{family}.made"
    facts = {"question": question, "answer": answer, "choices": ["yes", "no"] if answer == "yes" else []}
    answers = {"prediction": text, "blind_prediction": "no"}
    return {"scene": scene, "id": f"{scene}#{form}", "family": family, "form": form, **facts, **answers}
