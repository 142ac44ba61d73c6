"""A row of a table from the figures of its runs, one a seed, and its differences from the row that it is paired with.

Knows statistics over rooms, nothing of what they are of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from experiments.paper.measured import Counted, Measured
from experiments.paper.paired import Estimate, difference, estimate
from experiments.paper.table import Column, Row, Value

Figures = Mapping[str, Counted]  #: by column, of one run


def paired_row(
    name: str, columns: Sequence[Column], runs: Sequence[Figures], pairs: Sequence[tuple[Figures, Figures]] = ()
) -> Row:
    """The row of ``runs`` (one a seed); ``pairs`` are runs beside what they are compared with, of like seed.

    A figure that does not exist, as the accuracy of a family that was never asked, is None.
    """
    values: dict[str, Value] = {}
    differences: dict[str, Estimate] = {}
    for column in (one for one in columns if one.name in runs[0]):
        counted = [run[column.name] for run in runs]
        values[column.name] = estimate([one.statistic for one in counted], counted[0].rooms, counted[0].n)
        changes = [difference(a[column.name].statistic, b[column.name].statistic) for a, b in pairs]
        change = estimate(changes, counted[0].rooms, counted[0].n) if changes else None
        if change is not None:
            differences[column.name] = change
    return Row(name, values, differences, len(runs))


def row_of_trials(
    name: str,
    columns: Sequence[Column],
    of_row: Sequence[Measured | None],
    base: Sequence[Measured | None],
    figures: Callable[[Measured], Figures],
) -> Row | None:
    """The row of measurements, one a seed and None where a run is not there, paired with those of ``base``.

    The row of ``base`` itself has no differences; None where nothing was measured.
    """
    there = [figures(one) for one in of_row if one is not None]
    both = zip(of_row, base, strict=False)
    pairs = [(figures(a), figures(b)) for a, b in both if of_row is not base and a is not None and b is not None]
    return paired_row(name, columns, there, pairs) if there else None
