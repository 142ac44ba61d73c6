"""Table III: how many thinking tokens, and where they stand; K = 0 is the row that all others are paired with.

The language model alone learns on, from one start, its eyes as they are; K = 0 is the same model in both placements.
Knows nothing of what the tokens hold (``dollhouse probe`` looks into that).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dollhouse.models.dollhouse.special_tokens import PLACEMENTS
from dollhouse.questions.sampling import FAMILIES
from dollhouse.scenes.visualize import INK, save_figure
from experiments.paper import paper
from experiments.paper.bench import Bench, Trial
from experiments.paper.comparison import row_of_trials
from experiments.paper.descriptions import rouge_1
from experiments.paper.drawing import BLUE, GREY, LINE, ORANGE, plain_axes
from experiments.paper.measured import Counted, Measured
from experiments.paper.paired import Estimate
from experiments.paper.plan import Job
from experiments.paper.table import Column, Result, Row, sentence_of

KEY = "III"
NONE = "K = 0"
LOSS, SPATIAL = Column("text loss", "lower"), Column("spatial", "higher", percent=True, digits=1)
COLUMNS = [
    LOSS,
    SPATIAL,
    *(Column(family, "higher", percent=True, digits=1) for family in FAMILIES),
    Column("ROUGE-1", "higher"),
]
METHOD = (
    "A run: the student's language model learns on for a number of steps, its eyes as they are; all K thinking tokens "
    "are newborn, also where the student had as many. The text loss is that of rooms that no run learns from. "
    "Differences are from K = 0, paired by room and by seed; of several seeds the interval includes what seeds vary."
)
REPEATED_WORTH = 9  #: of the seeds after the first
WORTH = {"before_question": 4, "after_question": 5}

Setting = tuple[int, str]  #: K and placement


def name_of(setting: Setting) -> str:
    """ "K = 8, before the question"."""
    count, placement = setting
    return f"K = {count}, {placement.replace('_', ' the ')}" if count else NONE


def settings(counts: Sequence[int]) -> list[Setting]:
    """Every count in both placements; 0 once, and always, since all are compared with it."""
    return [(0, PLACEMENTS[0]), *((count, placement) for placement in PLACEMENTS for count in counts if count)]


def trials(bench: Bench) -> dict[Setting, list[Trial]]:
    """Every setting's trials, one a seed."""
    return {
        setting: [trial(bench, setting, seed) for seed in bench.extent.seeds]
        for setting in settings(bench.extent.thinking_counts)
    }


def trial(
    bench: Bench,
    setting: Setting,
    seed: int,
    *,
    passes: int = 1,
    change: Callable[[dict[str, Any]], None] | None = None,
    form: str = "",
) -> Trial:
    """The run of a setting; another ``form`` of it goes over the tokens in ``passes``, or changes the recipe."""
    count, placement = setting
    start = bench.start(count, placement, passes=passes, seed=seed)
    return Trial(f"{KEY} {name_of(setting)}{form}, seed {seed}", KEY, bench.recipe("thinking", start, seed, change))


def jobs(bench: Bench) -> list[Job]:
    found = bench.compared_jobs(KEY)
    rows = trials(bench)
    none = rows[settings([])[0]]
    for (count, placement), of_row in rows.items():
        for place, trial in enumerate(of_row):
            worth = WORTH[placement] if place == 0 else REPEATED_WORTH
            found.append(bench.trial_job(trial, worth, [none[place].name] if count else []))
    return found


def results(bench: Bench) -> list[Result]:
    rows = trials(bench)
    measured = {setting: [bench.trial_measured(trial) for trial in of_row] for setting, of_row in rows.items()}
    if not any(one for of_row in measured.values() for one in of_row):
        return []
    result = table(measured, bench.teacher_measured)
    result.left_out = [
        trial.name
        for setting, of_row in rows.items()
        for trial, found in zip(of_row, measured[setting], strict=True)
        if found is None
    ]
    return [result]


def table(measured: Mapping[Setting, Sequence[Measured | None]], teacher: Measured | None) -> Result:
    """The table of measurements by setting and seed, None where a run is not there."""
    base = next(of_row for (count, _), of_row in measured.items() if not count)
    rows: dict[Setting, Row] = {}
    for setting, of_row in measured.items():
        row = row_of_trials(name_of(setting), COLUMNS, of_row, base, partial(figures, teacher=teacher))
        if row is not None:
            rows[setting] = row
    sentences = [sentence_of(row, COLUMNS, NONE) for (count, _), row in rows.items() if count]
    sentences.insert(0, verdict([row for (count, _), row in rows.items() if count]))
    result = Result(
        KEY, "Table III: thinking tokens", COLUMNS, list(rows.values()), paper.THINKING, sentences, [METHOD]
    )
    result.picture = lambda out: draw_counts(rows, out)
    return result


def figures(measured: Measured, teacher: Measured | None) -> dict[str, Counted]:
    """What a run is judged by, by column."""
    families = {family: measured.accuracy((family,)) for family in FAMILIES}
    texts = {LOSS.name: measured.loss("text"), "ROUGE-1": rouge_1(measured, teacher)}
    return texts | {SPATIAL.name: measured.accuracy()} | families


def draw_counts(rows: Mapping[Setting, Row], out: Path) -> None:
    """Text loss and spatial accuracy over K, a line a placement; K = 0 is a band across."""
    figure = Figure(figsize=(7.6, 3.2), dpi=130, layout="constrained")
    panels: Any = figure.subplots(1, 2)
    counts = sorted({count for count, _ in rows})
    for axes, column in zip(panels, (LOSS, SPATIAL), strict=True):
        plain_axes(axes, f"{column.name} ({'%' if column.percent else 'nats'}), {column.better} is better")
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        scale = 100 if column.percent else 1
        for placement, colour, shift in zip(PLACEMENTS, (BLUE, ORANGE), (-0.06, 0.06), strict=True):
            there = [count for count in counts if (count, placement) in rows and count]
            values = [rows[count, placement].values[column.name] for count in there]
            known = [(count, value) for count, value in zip(there, values, strict=True) if isinstance(value, Estimate)]
            places = [counts.index(count) + shift for count, _ in known]
            axes.plot(places, [scale * value.value for _, value in known], "o-", color=colour, markersize=4,
                      label=placement.replace("_", " the "))  # fmt: skip
            for place, (_, value) in zip(places, known, strict=True):
                if value.ci95:
                    axes.plot([place, place], [scale * end for end in value.ci95], color=colour, linewidth=1.2)
        none = next((row.values[column.name] for (count, _), row in rows.items() if not count), None)
        if isinstance(none, Estimate):
            axes.axhline(scale * none.value, color=GREY, linewidth=1, linestyle=":", label="K = 0")
            if none.ci95:
                axes.axhspan(*(scale * end for end in none.ci95), color=GREY, alpha=0.15, linewidth=0)
        axes.set_xticks(range(len(counts)), [f"K = {count}" for count in counts])
    panels[0].legend(fontsize=7.5, frameon=False, labelcolor=INK)
    save_figure(figure, out)


def verdict(asked: Sequence[Row]) -> str:
    """One sentence on whether thinking tokens changed spatial accuracy, of the rows that have some."""
    if not asked:
        return "Only K = 0 was run: nothing is shown about thinking tokens."
    changed = [row for row in asked if (change := row.differences.get(SPATIAL.name)) and change.certain]
    better = [row.name for row in changed if row.differences[SPATIAL.name].value > 0]
    worse = [row.name for row in changed if row.differences[SPATIAL.name].value < 0]
    if not better and not worse:
        return (
            f"No thinking tokens changed spatial accuracy beyond chance: all {len(asked)} intervals of the difference "
            "from K = 0 include none."
        )
    told = [f"higher with {', '.join(better)}"] if better else []
    told += [f"lower with {', '.join(worse)}"] if worse else []
    return f"Spatial accuracy against K = 0 is {' and '.join(told)}; of {len(asked)} settings that were tried."
