"""Retention: how much of the teacher's accuracy the student keeps, family by family, both judged by geometry.

Knows two measurements of the same questions, nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence

from dollhouse.errors import ScoreError
from dollhouse.questions.sampling import FAMILIES
from experiments.paper import paper
from experiments.paper.bench import Bench
from experiments.paper.drawing import draw_rows
from experiments.paper.measured import Measured
from experiments.paper.paired import Estimate, estimate, ratio
from experiments.paper.plan import Job
from experiments.paper.table import Column, Result, Row, Value

KEY = "retention"
KEPT = Column("student / teacher", "higher", percent=True, digits=1)
COLUMNS = [
    Column("student", "higher", percent=True, digits=1),
    Column("teacher", "higher", percent=True, digits=1),
    KEPT,
    Column("blind", percent=True, digits=1),
    Column("chance", percent=True, digits=1),
]
METHOD = (
    "Both are asked the same questions about the same rooms and judged by geometry. The interval of the ratio draws "
    "rooms with replacement, both models on the same ones. It is a ratio of two accuracies: it tells what distilling "
    "keeps only where the student learnt from this teacher's records alone, which its model card says."
)


def jobs(bench: Bench) -> list[Job]:
    return bench.compared_jobs(KEY)


def results(bench: Bench) -> list[Result]:
    student, teacher = bench.student_measured, bench.teacher_measured
    if student is None or teacher is None:
        return []
    return [retention(student, teacher)]


def retention(student: Measured, teacher: Measured) -> Result:
    """The table of two measurements. Raises ScoreError where they were asked different questions."""
    if student.names != teacher.names or student.by_id.keys() != teacher.by_id.keys():
        raise ScoreError(f"{student.model} and {teacher.model} were not asked the same questions: measure them again")
    groups: dict[str, Sequence[str]] = {name: (name,) for name in FAMILIES} | {"all four": FAMILIES}
    rows = [Row(name, _values(student, teacher, families, name)) for name, families in groups.items()]
    result = Result(KEY, "Retention", COLUMNS, rows, paper.FAMILIES, [_sentence(rows)], [METHOD])
    result.picture = lambda out: draw_rows(COLUMNS[:3], rows, None, out)
    return result


def _values(student: Measured, teacher: Measured, families: Sequence[str], name: str) -> dict[str, Value]:
    mine, theirs = student.accuracy(families), teacher.accuracy(families)
    chance = student.metrics["chance"]
    values: dict[str, Value] = {
        "student": estimate([mine.statistic], mine.rooms, mine.n),
        "teacher": estimate([theirs.statistic], theirs.rooms, theirs.n),
        KEPT.name: estimate([ratio(mine.statistic, theirs.statistic)], mine.rooms, mine.n),
        "chance": chance["overall"] if name == "all four" else chance["families"].get(name),
    }
    if student.metrics["blind"]:
        blind = student.accuracy(families, "blind_prediction")
        values["blind"] = estimate([blind.statistic], blind.rooms, blind.n)
    return values


def _sentence(rows: Sequence[Row]) -> str:
    kept = {row.name: row.values[KEPT.name] for row in rows}
    told = {name: KEPT.told(value) for name, value in kept.items() if isinstance(value, Estimate)}
    if "all four" not in told:
        return "Nothing of the four families was asked."
    overall = told.pop("all four")
    families = ", ".join(f"{name} {text}" for name, text in told.items())
    return f"The student keeps {overall} of the teacher's accuracy ({families}). The paper says 64 %."
