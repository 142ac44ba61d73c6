"""Which jobs fit the budget: in order of worth, what was done before for nothing, the rest said to be left out.

Expected times are corrected by how long the first jobs really took. Knows nothing of what a job does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

FIRST_PACE = 1.0  #: how many times the expected seconds a job takes, before any was timed


@dataclass(frozen=True)
class Job:
    """Something that takes a while: a run, a measurement, a timing."""

    name: str
    chapter: str  #: the table or figure that it is for
    worth: int  #: 1 is done first; jobs of one worth in the order given
    seconds: float  #: expected, on two cores
    carry_out: Callable[[], object]
    kept: Callable[[], bool]  #: whether it was done before
    needs: tuple[str, ...] = ()  #: names of jobs without which it is worth nothing


@dataclass
class Outcome:
    """How jobs went."""

    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  #: done before
    left_out: dict[str, str] = field(default_factory=dict)  #: job -> why
    seconds: dict[str, float] = field(default_factory=dict)  #: that the jobs done now took

    @property
    def there(self) -> set[str]:
        return {*self.done, *self.kept}


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """By worth; one that several tables name is there once, at its best worth."""
    first: dict[str, Job] = {}
    for job in sorted(jobs, key=lambda job: job.worth):
        first.setdefault(job.name, job)
    return list(first.values())


def foresee(jobs: Sequence[Job], budget: float | None, pace: float = FIRST_PACE) -> Outcome:
    """What would be done, kept and left out within ``budget`` seconds (None: no limit), nothing being done yet."""
    spent = 0.0

    def pretend(job: Job) -> float:
        nonlocal spent
        spent += pace * job.seconds
        return spent

    return _go(jobs, budget, pretend, lambda: spent, pace)


def carry_out(
    jobs: Sequence[Job],
    budget: float | None,
    on_job: Callable[[Job, int, int], None] = lambda job, number, count: None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Do the jobs that fit into ``budget`` seconds (None: all), the worthiest first.

    A job that no longer fits is left out, and smaller ones after it still get their chance. ``on_job`` is told before
    each: the job, its number and the number of all.
    """
    begun = clock()
    ordered = in_order(jobs)

    def do(job: Job) -> float:
        started = clock()
        on_job(job, ordered.index(job) + 1, len(ordered))
        job.carry_out()
        return clock() - started

    return _go(ordered, budget, do, lambda: clock() - begun, FIRST_PACE, learn=True)


def _go(
    jobs: Sequence[Job],
    budget: float | None,
    do: Callable[[Job], float],
    spent: Callable[[], float],
    pace: float,
    learn: bool = False,
) -> Outcome:
    outcome = Outcome()
    expected = taken = 0.0
    for job in in_order(jobs):
        missing = [name for name in job.needs if name not in outcome.there]
        wanted = pace * job.seconds
        if missing:
            outcome.left_out[job.name] = f"it needs {', '.join(missing)}"
        elif job.kept():
            outcome.kept.append(job.name)
        elif budget is not None and wanted > budget - spent():
            left = max(0.0, budget - spent())
            outcome.left_out[job.name] = f"it takes about {_told(wanted)}, and {_told(left)} of the budget are left"
        else:
            seconds = do(job)
            outcome.done.append(job.name)
            outcome.seconds[job.name] = round(seconds, 1)
            if learn:
                expected, taken = expected + job.seconds, taken + seconds
                pace = taken / expected
    return outcome


def _told(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
