"""The budget: in order of worth, kept work for nothing, the rest said to be left out."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.paper.plan import Job, carry_out, foresee, in_order


class Clock:
    """A clock that jobs move on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def made_jobs(clock: Clock, done: list[str], slowness: float = 1.0) -> list[Job]:
    def job(name: str, worth: int, seconds: float, needs: Sequence[str] = (), kept: bool = False) -> Job:
        def do() -> None:
            clock.now += slowness * seconds
            done.append(name)

        return Job(name, "II", worth, seconds, do, lambda: kept or name in done, tuple(needs))

    return [
        job("extra seed", 8, 100, ["all losses"]),
        job("all losses", 3, 100),
        job("without depth", 4, 100, ["all losses"]),
        job("teacher", 1, 50),
        job("known already", 2, 500, kept=True),
        job("small thing", 9, 10),
    ]


def test_worth_decides() -> None:
    clock, done = Clock(), list[str]()
    outcome = carry_out(made_jobs(clock, done), None, clock=clock)
    assert done == ["teacher", "all losses", "without depth", "extra seed", "small thing"]
    assert outcome.kept == ["known already"]
    assert outcome.left_out == {}
    assert outcome.seconds["teacher"] == 50


def test_what_does_not_fit_is_left_out_and_said_so() -> None:
    clock, done = Clock(), list[str]()
    outcome = carry_out(made_jobs(clock, done), 265, clock=clock)
    assert done == ["teacher", "all losses", "without depth", "small thing"], "a small job still gets its chance"
    assert outcome.left_out == {"extra seed": "it takes about 2 min, and 15 s of the budget are left"}
    assert clock.now <= 265


def test_without_its_ground_a_job_is_worth_nothing() -> None:
    clock, done = Clock(), list[str]()
    outcome = carry_out(made_jobs(clock, done), 70, clock=clock)
    assert done == ["teacher", "small thing"]
    assert outcome.left_out["without depth"] == "it needs all losses"
    assert outcome.left_out["all losses"].startswith("it takes about 2 min")


def test_slowness_is_learnt() -> None:
    """On a machine three times as slow the second job is already judged by what the first one took."""
    clock, done = Clock(), list[str]()
    outcome = carry_out(made_jobs(clock, done, slowness=3), 300, clock=clock)
    assert done == ["teacher", "small thing"]
    assert outcome.left_out["all losses"] == "it takes about 5 min, and 2 min of the budget are left"


def test_foreseeing_does_nothing() -> None:
    clock, done = Clock(), list[str]()
    outcome = foresee(made_jobs(clock, done), 265)
    assert done == []
    assert outcome.done == ["teacher", "all losses", "without depth", "small thing"]
    assert outcome.kept == ["known already"]
    assert list(outcome.left_out) == ["extra seed"]


def test_a_job_of_two_tables_is_done_once_at_its_best_worth() -> None:
    clock, done = Clock(), list[str]()
    jobs = made_jobs(clock, done)
    again = Job("all losses", "I", 1, 100, jobs[1].carry_out, jobs[1].kept)
    ordered = in_order([*jobs, again])
    assert [job.name for job in ordered][:2] == ["teacher", "all losses"]
    assert len(ordered) == len(jobs)
