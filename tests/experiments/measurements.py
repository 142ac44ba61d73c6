"""Made-up measurements and tables of them, so that tables and the runner are tested without a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dollhouse.models.model_folder import NEEDED
from dollhouse.questions.sampling import FAMILIES
from experiments.paper.cache import Cache
from experiments.paper.measure import Measured
from experiments.paper.results import Result, ResultRow
from experiments.paper.spec import Row, read_spec
from experiments.paper.statistics import Estimate
from experiments.paper.tables import FILL

ROOMS = 12


def made_measurement(
    right: Callable[[int, int], bool],
    *,
    description: str = "a room with a bed.",
    depth: Callable[[int], float] = lambda room: 0.2 + 0.01 * (room % 3),
    loss: Callable[[int], float] = lambda room: 1.0 + 0.1 * (room % 2),
    detected: bool = True,
    blind: str | None = "no",
    name: str = "made up",
) -> Measured:
    """Return four yes-or-no questions and a description of each room; ``right(room, family)``: which are answered."""
    rows: list[dict[str, Any]] = []
    for room in range(ROOMS):
        scene = f"rooms:test/{room}"
        for number, family in enumerate(FAMILIES):
            answer = "yes" if right(room, number) else "no"
            rows.append(_row(scene, family, number, "is it?", "yes", answer, blind, answer == "yes"))
        truth = "a room with a bed."
        rows.append(_row(scene, "description", 0, "what is in the room?", truth, description, blind, None))
    rooms = [
        {
            "scene": f"rooms:test/{room}",
            "views": 4,
            "depth": {"abs_rel": 4 * depth(room), "rmse": 8 * depth(room)},
            "boxes": {
                "truths": {"bed": 1, "chair": 1},
                "found": [["bed", 0.9, int(detected)], ["chair", 0.5, room % 2]],
            },
        }
        for room in range(ROOMS)
    ]
    losses = {name: [loss(room) for room in range(8)] for name in ("text", "depth_reg")}
    chance = {"overall": 0.5, "families": dict.fromkeys(FAMILIES, 0.5), "others": {}}
    metrics = {"chance": chance, "blind": None if blind is None else {"model": "blind"}}
    return Measured(name, 7_500_000, rooms, rows, losses, metrics)


def write_measurement(measured: Measured, folder: Path) -> None:
    """Write a measurement as :func:`experiments.paper.measure.measure` does."""
    facts = {name: getattr(measured, name) for name in ("model", "parameters", "rooms", "losses")}
    (folder / "rooms.json").write_text(json.dumps(facts))
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in measured.rows))
    (folder / "metrics.json").write_text(json.dumps(measured.metrics))


def model_files(folder: Path, content: str = "weights") -> Path:
    """Write the files of a model folder, which no model can be loaded from."""
    folder.mkdir(parents=True)
    for name in NEEDED:
        (folder / name).write_text(f"{name} {content}")
    return folder


def _row(
    scene: str, family: str, number: int, question: str, answer: str, text: str, blind: str | None, correct: bool | None
) -> dict[str, Any]:
    form = f"{family}.made"
    predictions = {"prediction": text, "blind_prediction": blind, "correct": correct}
    facts = {"question": question, "answer": answer, "choices": ["yes", "no"]}
    return {"scene": scene, "id": f"{scene}#{form}#{number}", "family": family, "form": form, **facts, **predictions}


def three_of_four(room: int, family: int) -> bool:
    """Return whether a question is answered rightly: three of four of each room."""
    return (room + family) % 4 != 0


SPEC = read_spec(overrides=["compared_scenes=rooms:test/0-11", "run_scenes=rooms:test/0-11"])
GOOD = made_measurement(three_of_four)
TEACHER = made_measurement(lambda room, family: (room, family) != (1, 3), name="teacher", blind=None)


class MadeExperiment:
    """What tables ask of an experiment, from measurements by row name: one a seed, None where a run is missing."""

    spec = SPEC
    student_key, teacher_key = "student", "teacher"
    student = Path("student")

    def __init__(self, measured: Mapping[str, Any] = {}, teacher: Measured | None = TEACHER, **entries: Path) -> None:
        self.by_row = {"student": GOOD, "teacher": teacher, **measured}
        self.teacher = Path("teacher") if teacher else None
        self.entries = entries
        self.cache = Cache(Path("nowhere"))

    def measured(self, row: Row, seed: int = 0) -> Measured | None:
        found = self.by_row.get("student" if row.model == "blind" else row.name)
        return dict(enumerate(found)).get(seed) if isinstance(found, list) else found

    def entry(self, job: Any) -> Path | None:
        return self.entries.get(job.kind)

    def model_key(self, row: Row, seed: int) -> str:
        return row.name

    def row_jobs(self, table: str, row: Row) -> list[Any]:
        return []


def table(key: str, measured: Mapping[str, Any] = {}, teacher: Measured | None = TEACHER, **entries: Path) -> Result:
    described = SPEC.tables[key]
    result = Result(key, described.title, described.columns, described.paper, [described.method])
    FILL[described.kind](MadeExperiment(measured, teacher, **entries), result)  # type: ignore[arg-type]
    return result


def row(result: Result, name: str) -> ResultRow:
    return next(row for row in result.rows if row.name == name)


def value(result: Result, name: str, column: str) -> Estimate:
    found = row(result, name).values[column]
    assert isinstance(found, Estimate)
    return found
