"""Other forms of Hidden CoT, which still need no written chains of thought, against none and against the paper's.

The paper's tokens learn only from the answers behind them. Here they are also taught geometry that the teacher knows
(the loss ``thoughts``), or gone over several times. Same start, same steps as Table III. Knows nothing of how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from dollhouse.models.dollhouse.special_tokens import PLACEMENTS
from experiments.paper import paper, thinking
from experiments.paper.bench import Bench, Trial
from experiments.paper.comparison import row_of_trials
from experiments.paper.drawing import draw_rows
from experiments.paper.measured import Measured
from experiments.paper.plan import Job
from experiments.paper.table import Result, sentence_of

KEY = "forms"
TAUGHT, GONE_OVER = ", taught geometry", ", gone over"
PASSES = 3
WORTH = 7
METHOD = (
    "Table III's run, with the same newborn tokens. Taught geometry: the loss thoughts beside text and grounding, so "
    "that the hidden states of the thinking tokens must tell what stands in the room (before the question) or how the "
    f"objects that are asked about differ (after it). Gone over: {PASSES} passes over the tokens, each fed with what "
    "the one before made of them. Differences are from K = 0, paired by room and by seed."
)


def trials(bench: Bench) -> dict[str, list[Trial]]:
    """Every row's trials, one a seed: no tokens, the paper's, taught ones, ones gone over several times."""
    count = bench.extent.hidden_cot
    rows: dict[str, list[Trial]] = {thinking.NONE: []}
    for seed in bench.extent.seeds:
        rows[thinking.NONE].append(thinking.trial(bench, (0, PLACEMENTS[0]), seed))
        for placement in PLACEMENTS:
            setting = (count, placement)
            for form, trial in {
                "": thinking.trial(bench, setting, seed),
                TAUGHT: thinking.trial(bench, setting, seed, change=_taught, form=TAUGHT),
                GONE_OVER: thinking.trial(bench, setting, seed, passes=PASSES, form=GONE_OVER),
            }.items():
                rows.setdefault(thinking.name_of(setting) + form, []).append(trial)
    return rows


def jobs(bench: Bench) -> list[Job]:
    rows = trials(bench)
    found = bench.compared_jobs(KEY)
    for name, of_row in rows.items():
        for place, trial in enumerate(of_row):
            needs = [] if name == thinking.NONE else [rows[thinking.NONE][place].name]
            found.append(bench.trial_job(trial, WORTH if place == 0 else thinking.REPEATED_WORTH, needs))
    return found


def results(bench: Bench) -> list[Result]:
    rows = trials(bench)
    measured = {name: [bench.trial_measured(trial) for trial in of_row] for name, of_row in rows.items()}
    if not any(one for name, of_row in measured.items() for one in of_row if name != thinking.NONE):
        return []
    result = table(measured, bench.teacher_measured)
    result.left_out = [
        trial.name
        for name, of_row in rows.items()
        for trial, found in zip(of_row, measured[name], strict=True)
        if found is None
    ]
    return [result]


def table(measured: Mapping[str, Sequence[Measured | None]], teacher: Measured | None) -> Result:
    """The table of measurements by row and seed, None where a run is not there."""
    base = measured[thinking.NONE]
    figures = partial(thinking.figures, teacher=teacher)
    found = [row_of_trials(name, thinking.COLUMNS, of_row, base, figures) for name, of_row in measured.items()]
    rows = [row for row in found if row is not None]
    others = [row for row in rows if row.name != thinking.NONE]
    sentences = [thinking.verdict(others), *(sentence_of(row, thinking.COLUMNS, thinking.NONE) for row in others)]
    result = Result(KEY, "Other forms of Hidden CoT", thinking.COLUMNS, rows, paper.THINKING_FORMS, sentences, [METHOD])
    result.picture = lambda out: draw_rows(thinking.COLUMNS[:2], rows, thinking.NONE, out)
    return result


def _taught(tree: dict[str, Any]) -> None:
    for stage in tree["stages"].values():
        stage["losses"].append("thinking_probe")
