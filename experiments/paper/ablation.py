"""Table II: the losses, each taken away in turn; Hidden CoT; uncertainty against static against equal weights.

Every row is the same recipe but for what its name says, judged on the same rooms and paired with the row of all losses.
Knows which losses a row lacks, nothing of what they compute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from experiments.paper import paper
from experiments.paper.bench import Bench, Trial
from experiments.paper.comparison import row_of_trials
from experiments.paper.descriptions import rouge_1
from experiments.paper.drawing import draw_rows
from experiments.paper.measured import Counted, Measured
from experiments.paper.paired import Estimate, estimate
from experiments.paper.plan import Job
from experiments.paper.table import Column, Result, sentence_of

KEY = "II"
ALL = "all losses"
REPEATED_WORTH = 8  #: of the seeds after the first
COLUMNS = [
    Column("val loss", "lower"),
    Column("ROUGE-1", "higher"),
    Column("spatial", "higher", percent=True, digits=1),
    Column("depth AbsRel", "lower"),
    Column("depth RMSE (m)", "lower"),
    Column("mAP@0.25", "higher"),
]


@dataclass(frozen=True)
class Variation:
    """A row: what is different from all losses."""

    name: str
    without: tuple[str, ...] = ()
    weighting: str = "uncertainty"
    hidden_cot: bool = False
    worth: int = 4  #: of its first seed
    repeated: bool = False  #: whether the other seeds are worth their time


VARIATIONS = (
    Variation(ALL, worth=3, repeated=True),
    Variation("+ Hidden CoT", hidden_cot=True),
    # votes too: dense per-patch classes and boxes are how this student detects; with them the row would still be
    # supervised by every box
    Variation("without detection", without=("detection", "voting")),
    Variation("without depth", without=("depth_reg", "depth_ce", "depth_kl")),
    Variation("without spatial", without=("spatial",)),
    Variation("without multi-view", without=("multiview",)),
    Variation("without feature", without=("feature",)),
    Variation("static weights", weighting="static", repeated=True),
    Variation("equal weights", weighting="equal", repeated=True, worth=5),
    Variation("without the match of boxes", without=("detection",), worth=6),
)
METHOD = (
    "A run: the student learns on, its encoder frozen; a row shows what the losses it lacks had kept up, and all rows "
    "what so few steps at so high a learning rate cost: compare them with each other, not with the student. The "
    "validation loss is the plain sum of text, depth_reg, camera, votes and detection on rooms that no run learns "
    "from, the same for every row whatever it learnt with. “Without detection” also lacks votes, the dense classes "
    "and boxes by patch, which are how this student finds objects; “without the match of boxes” lacks the Hungarian "
    "loss alone. “Without depth” lacks depth_reg, depth_ce and depth_kl; the votes still tell each patch its depth. "
    "ROUGE-1 is against the teacher's descriptions. Rows of one seed have intervals over rooms only: what another "
    "seed would give is not in them."
)


def trials(bench: Bench) -> dict[str, list[Trial]]:
    """Every row's trials, one a seed."""
    return {one.name: [_trial(bench, one, seed) for seed in _seeds(bench, one)] for one in VARIATIONS}


def jobs(bench: Bench) -> list[Job]:
    records = bench.records_job(KEY)
    found, needs = [*bench.compared_jobs(KEY), *records], [job.name for job in records]
    rows = trials(bench)
    for variation in VARIATIONS:
        for place, trial in enumerate(rows[variation.name]):
            worth = variation.worth if place == 0 else REPEATED_WORTH
            paired = [] if variation.name == ALL else [rows[ALL][place].name]
            found.append(bench.trial_job(trial, worth, [*needs, *paired]))
    return found


def results(bench: Bench) -> list[Result]:
    rows = trials(bench)
    measured = {name: [bench.trial_measured(trial) for trial in of_row] for name, of_row in rows.items()}
    if not any(measured[ALL]):
        return []
    student = bench.student_measured
    result = table(measured, bench.teacher_measured)
    if student is not None:
        same = student.restricted(next(one for one in measured[ALL] if one is not None).names)
        chance = same.metrics["chance"]["overall"]
        blind = same.accuracy(said="blind_prediction") if same.metrics["blind"] else None
        told = (
            ""
            if blind is None
            else f"the blind student {_percent(estimate([blind.statistic], blind.rooms, blind.n))}, "
        )
        result.sentences.append(f"Beside every accuracy: {told}chance {100 * chance:.1f} %.")
    result.left_out = [
        trial.name
        for name, of_row in rows.items()
        for trial, found in zip(of_row, measured[name], strict=True)
        if found is None
    ]
    return [result]


def table(measured: Mapping[str, Sequence[Measured | None]], teacher: Measured | None) -> Result:
    """The table of measurements by row and seed, None where a run is not there."""
    base = measured[ALL]
    rows = []
    for name, of_row in measured.items():
        row = row_of_trials(name, COLUMNS, of_row, base, partial(figures, teacher=teacher))
        if row is not None:
            rows.append(row)
    sentences = [sentence_of(row, COLUMNS, ALL) for row in rows if row.name != ALL]
    result = Result(KEY, "Table II: the losses", COLUMNS, rows, paper.LOSSES, sentences, [METHOD])
    result.picture = lambda out: draw_rows(COLUMNS, rows, ALL, out)
    return result


def figures(measured: Measured, teacher: Measured | None) -> dict[str, Counted]:
    """What a run is judged by, by column."""
    return {
        "val loss": measured.loss(),
        "ROUGE-1": rouge_1(measured, teacher),
        "spatial": measured.accuracy(),
        "depth AbsRel": measured.depth("abs_rel"),
        "depth RMSE (m)": measured.depth("rmse"),
        "mAP@0.25": measured.boxes(),
    }


def _trial(bench: Bench, variation: Variation, seed: int) -> Trial:
    thinking = bench.extent.hidden_cot if variation.hidden_cot else 0

    def change(tree: dict[str, Any]) -> None:
        tree["loss_weighting"] = variation.weighting
        if bench.teacher_folder is not None:
            tree["data"]["records"] = str(bench.records)
        stage = tree["stages"]["finetune"]
        stage["losses"] = [loss for loss in stage["losses"] if loss not in variation.without]

    recipe = bench.recipe("losses", bench.start(thinking, seed=seed), seed, change)
    return Trial(f"{KEY} {variation.name}, seed {seed}", KEY, recipe)


def _seeds(bench: Bench, variation: Variation) -> list[int]:
    return bench.extent.seeds if variation.repeated else bench.extent.seeds[:1]


def _percent(value: Estimate | None) -> str:
    return COLUMNS[2].told(value)
