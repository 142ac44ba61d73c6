"""Table I: teacher and student beside students with something taken away: 3D losses, all tokens but one, the eyes.

Knows measurements, and which recipe makes which row; nothing of how it is carried out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dollhouse.scenes.open import open_scenes
from experiments.paper import ablation, efficiency, paper, thinking
from experiments.paper.bench import ROOM, Bench, Trial
from experiments.paper.comparison import paired_row
from experiments.paper.descriptions import rouge_1
from experiments.paper.drawing import draw_rows
from experiments.paper.measured import Counted, Measured
from experiments.paper.plan import Job
from experiments.paper.table import Column, Result, sentence_of

KEY = "I"
STUDENT = "student"
SHORT, FLAT = "short: all losses", "short: without 3D losses"
MANY, ONE, UNTAUGHT = "short: 16 object tokens a scene", "short: one token a scene", "one token a scene, not taught"
COLUMNS = [
    Column("ROUGE-1", "higher"),
    Column("spatial", "higher", percent=True, digits=1),
    Column("scenes/s", "higher", digits=2),
    Column("parameters", "lower", digits=2, unit=" M"),
]
METHOD = (
    "All rows on the same rooms. “Short” rows are the student learning on for the few steps of this command's runs "
    "and are to be compared with each other, not with the student. Without 3D losses: Table II's recipe with the "
    "losses of text alone (text, and the teacher's token probabilities where it tells them), so that no depth, box, "
    "camera or measure is told any more; beside it the same steps with all losses. One token a scene: the language "
    "model reads the mean of the object tokens, as the paper's reads the mean of VGGT's; not taught: the student as "
    "it stands, its tokens averaged; short: then taught for Table III's steps, beside the same steps with all object "
    "tokens (K = 0 in both). Scenes/s: looked at and asked once, from Table IV's timing."
)


@dataclass(frozen=True)
class Beside:
    """A row of the table, and the row it is fair to compare it with."""

    name: str
    measured: Measured | None
    beside: str | None = None


def trials(bench: Bench) -> dict[str, Trial]:
    """The rows that are trained here; two of them are rows of Tables II and III."""
    seed = bench.extent.seeds[0]
    pooled = bench.recipe("thinking", bench.start(0, prefix="pooled"), seed)
    rows = ablation.trials(bench), thinking.trials(bench)
    return {
        SHORT: rows[0][ablation.ALL][0],
        FLAT: Trial(f"{KEY} without 3D losses, seed {seed}", KEY, _flat(bench, seed)),
        MANY: rows[1][thinking.settings([])[0]][0],
        ONE: Trial(f"{KEY} one token a scene, seed {seed}", KEY, pooled),
    }


def jobs(bench: Bench) -> list[Job]:
    records = bench.records_job(KEY)
    rows = trials(bench)
    needs = [job.name for job in records]
    untaught = bench.start(0, prefix="pooled")
    return [
        *bench.compared_jobs(KEY),
        *records,
        *efficiency.jobs(bench),
        *(bench.trial_job(rows[name], 6, needs) for name in (SHORT, FLAT)),
        *(bench.trial_job(rows[name], 6) for name in (MANY, ONE)),
        Job(
            UNTAUGHT,
            KEY,
            6,
            ROOM * bench.rooms(bench.extent.runs),
            lambda: bench.archive.measure(UNTAUGHT, untaught, bench.judging()),
            lambda: bench.archive.measured(untaught, bench.judging()) is not None,
        ),
    ]


def results(bench: Bench) -> list[Result]:
    student, teacher = bench.student_measured, bench.teacher_measured
    if student is None:
        return []
    rows = trials(bench)
    untaught = bench.archive.measured(bench.start(0, prefix="pooled"), bench.judging())
    names = [scene.name for scene in open_scenes(bench.extent.runs)]
    listed = [
        Beside("teacher", None if teacher is None else teacher.restricted(names)),
        Beside(STUDENT, student.restricted(names), "teacher" if teacher else None),
        Beside(UNTAUGHT, untaught, STUDENT),
        Beside(SHORT, bench.trial_measured(rows[SHORT])),
        Beside(FLAT, bench.trial_measured(rows[FLAT]), SHORT),
        Beside(MANY, bench.trial_measured(rows[MANY])),
        Beside(ONE, bench.trial_measured(rows[ONE]), MANY),
    ]
    result = table(listed, teacher, efficiency.first_answers_a_second(bench))
    result.left_out = [one.name for one in listed if one.measured is None]
    return [result]


def table(listed: Sequence[Beside], teacher: Measured | None, speeds: dict[str, float]) -> Result:
    """The table of measurements, all of the same rooms; the blind control comes from the student's measurement."""
    found = {one.name: one.measured for one in listed}
    rows, sentences = [], []
    for one in listed:
        if one.measured is None:
            continue
        other = found.get(one.beside or "")
        mine = _figures(one.measured, teacher)
        row = paired_row(one.name, COLUMNS, [mine], [] if other is None else [(mine, _figures(other, teacher))])
        row.values.update({"scenes/s": speeds.get(one.name), "parameters": one.measured.parameters / 1e6})
        rows.append(row)
        if other is not None:
            sentences.append(sentence_of(row, COLUMNS, str(one.beside)))
    student = found[STUDENT]
    assert student is not None
    if student.metrics["blind"]:
        blind, seeing = ({"spatial": student.accuracy(said=said)} for said in ("blind_prediction", "prediction"))
        rows.append(paired_row("blind", COLUMNS, [blind], [(blind, seeing)]))
    sentences.append(f"Chance: {100 * student.metrics['chance']['overall']:.1f} %.")
    result = Result(KEY, "Table I: models", COLUMNS, rows, paper.MODELS, sentences, [METHOD])
    result.picture = lambda out: draw_rows(COLUMNS[:2], rows, None, out)
    return result


def _figures(measured: Measured, teacher: Measured | None) -> dict[str, Counted]:
    return {"ROUGE-1": rouge_1(measured, teacher), "spatial": measured.accuracy()}


def _flat(bench: Bench, seed: int) -> Any:
    """Table II's recipe, no longer told anything of three dimensions."""

    def change(tree: dict[str, Any]) -> None:
        stage = tree["stages"]["finetune"]
        if bench.teacher_folder is not None:
            tree["data"]["records"] = str(bench.records)
        stage["losses"] = [loss for loss in stage["losses"] if loss.startswith("text")]

    return bench.recipe("losses", bench.start(0, seed=seed), seed, change)
