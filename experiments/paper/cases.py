"""Table V: one success and one failure of the student, with the room, the teacher's answer and geometry's.

The cases are chosen by rule, not by eye: the first rows that fit. Knows rows of predictions, nothing of models.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dollhouse.questions.sampling import FAMILIES
from dollhouse.scenes.open import open_scenes
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.visualize import INK, draw_image, draw_plan, save_figure
from experiments.paper import paper
from experiments.paper.bench import Bench
from experiments.paper.measured import Measured
from experiments.paper.plan import Job
from experiments.paper.table import Column, Result, Row

KEY = "V"
COLUMNS = [Column(name) for name in ("room", "question", "student", "teacher", "geometry", "blind")]
METHOD = (
    "Chosen by rule: the success is the first question of the four families that the student answers rightly and its "
    "blind control wrongly; the failure the first, in another room, that the student answers wrongly and the teacher "
    "(where there is one) rightly. Below each stands how both describe that room."
)

Case = Mapping[str, Any]  #: a row of predictions.jsonl


def jobs(bench: Bench) -> list[Job]:
    return bench.compared_jobs(KEY)


def results(bench: Bench) -> list[Result]:
    student, teacher = bench.student_measured, bench.teacher_measured
    if student is None or (bench.teacher_folder is not None and teacher is None):
        return []
    cases = choose(student, teacher)
    rows = [row for name, case in cases.items() for row in _rows(name, case, student, teacher)]
    result = Result(KEY, "Table V: a success and a failure", COLUMNS, rows, paper.CASES, [], [METHOD])
    result.left_out = [f"a {name}: no question fits" for name in ("success", "failure") if name not in cases]
    scenes = open_scenes(bench.extent.compared)
    shown = [(name, case, scenes[student.names.index(case["scene"])]) for name, case in cases.items()]
    if shown:
        result.picture = lambda out: draw_cases(shown, teacher, out)
    return [result]


def choose(student: Measured, teacher: Measured | None) -> dict[str, Case]:
    """The success and the failure; one that no row fits is absent."""

    def teacher_is_right(row: Case) -> bool:
        return teacher is None or bool(teacher.by_id[row["id"]]["correct"])

    asked = [row for row in student.rows if row["family"] in FAMILIES]
    success = _first(asked, lambda row: row["correct"] and row["blind_prediction"] != row["prediction"])
    failure = _first(
        asked,
        lambda row: not row["correct"] and teacher_is_right(row) and (not success or row["scene"] != success["scene"]),
    )
    return {name: case for name, case in (("success", success), ("failure", failure)) if case is not None}


def draw_cases(shown: Sequence[tuple[str, Case, Scene]], teacher: Measured | None, out: Path) -> None:
    """The photos of each room, its plan, and what was said."""
    figure = Figure(figsize=(11.5, 3.6 * len(shown)), dpi=120, layout="constrained")
    for part, (name, case, scene) in zip(_subfigures(figure, len(shown)), shown, strict=True):
        told = "" if teacher is None else f"   teacher: {teacher.by_id[case['id']]['prediction']}"
        title = f"{name}: {case['question']}\nstudent: {case['prediction']}{told}   geometry: {case['answer']}"
        part.suptitle("\n".join(textwrap.fill(line, 130) for line in title.splitlines()), fontsize=10, color=INK)
        photos, plan = part.subfigures(1, 2, width_ratios=[2.1, 1])
        axes: Any = photos.subplots(1, len(scene.views), squeeze=False)
        for place, view in enumerate(scene.views):
            draw_image(axes[0, place], view.image, f"view {place + 1}")
        cameras = [view.world_from_camera for view in scene.views if view.world_from_camera is not None]
        draw_plan(plan.subplots(), scene.boxes or (), cameras, scene.metadata.get("floor"), title=scene.name)
    save_figure(figure, out)


def _subfigures(figure: Figure, count: int) -> list[Any]:
    parts: Any = figure.subfigures(count, 1)
    return [parts] if count == 1 else list(parts)


def _first(rows: Sequence[Case], fits: Callable[[Case], Any]) -> Case | None:
    return next((row for row in rows if fits(row)), None)


def _rows(name: str, case: Case, student: Measured, teacher: Measured | None) -> list[Row]:
    described = next((row for row in student.described() if row["scene"] == case["scene"]), None)
    rows = [_row(name, case, teacher)]
    return rows if described is None else [*rows, _row("the same room", described, teacher)]


def _row(name: str, row: Case, teacher: Measured | None) -> Row:
    told = None if teacher is None else str(teacher.by_id[row["id"]]["prediction"])
    said = [row["scene"], row["question"], row["prediction"], told, row["answer"], row["blind_prediction"]]
    return Row(name, {column.name: value for column, value in zip(COLUMNS, said, strict=True)})
