"""The runner: priorities, budget, a resume after a kill with a fake trainer, what it refuses, the page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from dollhouse.errors import ModelError
from dollhouse.training.config import Recipe
from experiments.paper import experiment as experiment_module
from experiments.paper import tables
from experiments.paper.experiment import Experiment, Job
from experiments.paper.run import Outcome, in_order, main, make_tables, run_jobs
from experiments.paper.spec import Spec, read_spec
from tests.experiments.measurements import made_measurement, model_files, write_measurement

THREE_RUNS = ["III K = 0, seed 0", "III K = 2, before the question, seed 0", "III K = 2, after the question, seed 0"]


class Clock:
    """A clock that jobs advance."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run_made_jobs(budget: float | None, slowness: float = 1.0) -> tuple[Outcome, list[str]]:
    clock, done = Clock(), list[str]()

    def job(name: str, priority: int, seconds: float, needs: Sequence[str] = ()) -> Job:
        return Job("runs", name, name, priority, seconds, lambda out: None, tuple(needs))

    def run(job: Job) -> None:
        clock.now += slowness * job.seconds
        done.append(job.name)

    jobs = [
        job("extra seed", 8, 100, ["all losses"]),
        job("all losses", 3, 100),
        job("without depth", 4, 100, ["all losses"]),
        job("teacher", 1, 50),
        job("cached", 2, 500),
        job("small", 9, 10),
    ]
    return run_jobs(jobs, lambda job: job.name == "cached", run, budget, clock), done


def test_priority_decides() -> None:
    outcome, done = run_made_jobs(None)
    assert done == ["teacher", "all losses", "without depth", "extra seed", "small"]
    assert (outcome.cached, outcome.left_out) == (["cached"], {})
    assert outcome.done["teacher"] == 50


def test_what_does_not_fit_is_left_out_and_reported() -> None:
    outcome, done = run_made_jobs(265)
    assert done == ["teacher", "all losses", "without depth", "small"], "a small job still fits"
    assert outcome.left_out == {"extra seed": "it takes about 2 min; 15 s of the budget are left"}


def test_a_job_needs_its_base() -> None:
    outcome, done = run_made_jobs(70)
    assert done == ["teacher", "small"]
    assert outcome.left_out["without depth"] == "it needs all losses"


def test_expected_times_are_corrected() -> None:
    """On a machine three times as slow the second job is judged by what the first took."""
    outcome, done = run_made_jobs(300, slowness=3)
    assert done == ["teacher", "small"]
    assert outcome.left_out["all losses"] == "it takes about 5 min; 2 min of the budget are left"


def test_a_job_of_two_tables_runs_once_at_its_best_priority() -> None:
    jobs = [
        Job("runs", "a", "a", 3, 1, print),
        Job("runs", "b", "b", 2, 1, print),
        Job("runs", "a", "again", 1, 1, print),
    ]
    assert [job.name for job in in_order(jobs)] == ["again", "b"]


def small_spec(*overrides: str) -> Spec:
    """Table III with K = 0 and 2, on the rooms of made-up measurements."""
    scenes = ["compared_scenes=rooms:test/0-3", "run_scenes=rooms:test/0-3", "seeds=[0]"]
    spec = read_spec(overrides=[*scenes, *overrides])
    table = spec.tables["III"]
    rows = [row for row in table.rows if row.init.num_thinking_tokens in (0, 2)]
    return spec.model_copy(update={"tables": spec.tables | {"III": table.model_copy(update={"rows": rows})}})


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace trainer and measurement by fakes; the list grows by what they did."""
    log: list[str] = []

    def distill(recipe: Recipe, out: Path, progress: bool) -> Path:
        for step in range(3):
            checkpoint = out / f"step-{step}"
            if not checkpoint.exists():
                log.append(f"{out.name[:-13]}: step {step}")
                checkpoint.touch()
        assert not progress
        return model_files(out / "model", out.name)

    def measure(model: Path, out: Path, *settings: Any) -> None:
        log.append(f"measured {model.parent.name[:-13] if model.name == 'model' else model.name}")
        write_measurement(made_measurement(lambda room, family: (room + family) % 4 != 0), out)

    monkeypatch.setattr(experiment_module, "distill", distill)
    monkeypatch.setattr(experiment_module, "measure", measure)
    monkeypatch.setattr(experiment_module, "write_init", lambda student, init, seed, out: None)
    monkeypatch.setattr(tables, "rows_figure", lambda *arguments: Figure(figsize=(1, 1)))
    return log


def made_experiment(folder: Path, spec: Spec | None = None) -> Experiment:
    for name in ("student", "teacher"):
        if not (folder / name).exists():
            model_files(folder / name, name)
    return Experiment(folder / "out", spec or small_spec(), folder / "student", folder / "teacher")


def test_a_table_from_end_to_end(tmp_path: Path, calls: list[str]) -> None:
    page, outcome = make_tables(made_experiment(tmp_path), ["III"])
    assert list(outcome.done) == ["the student measured", "the teacher measured", *THREE_RUNS]
    results = tmp_path / "out/results"
    table = json.loads((results / "table-III.json").read_text())
    assert [row["name"] for row in table["rows"]] == [
        "K = 0",
        "K = 2, before the question",
        "K = 2, after the question",
    ]
    assert all(row["values"]["spatial"]["value"] == 0.75 for row in table["rows"])
    assert {"text loss", "spatial"} <= table["rows"][1]["differences"].keys()
    assert table["left_out"] == []
    about = json.loads((results / "about.json").read_text())
    assert about["left_out"] == {}
    assert about["weights"]["student"] != about["weights"]["teacher"]
    assert (results / "table-III.png").is_file()
    assert page == results / "report.html"
    assert "K = 2, after the question" in page.read_text()
    assert "5.21" in page.read_text(), "the paper's table is beside it"
    assert "| K = 2, before the question |" in (results / "table-III.md").read_text()


def test_a_second_call_makes_nothing_whatever_the_budget(tmp_path: Path, calls: list[str]) -> None:
    make_tables(made_experiment(tmp_path), ["III"])
    before, done = (tmp_path / "out/results/table-III.json").read_text(), list(calls)
    _, outcome = make_tables(made_experiment(tmp_path), ["iii"], budget=0.001)
    assert (outcome.done, outcome.left_out, calls) == ({}, {}, done)
    assert (tmp_path / "out/results/table-III.json").read_text() == before


def test_a_killed_call_continues(tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of the second run: the same call trains only what is missing."""
    touch: Callable[..., None] = Path.touch

    def killed(path: Path, *arguments: Any, **settings: Any) -> None:
        touch(path, *arguments, **settings)
        if "k-2-before" in path.parent.name and path.name == "step-1":
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "touch", killed)
    with pytest.raises(KeyboardInterrupt):
        make_tables(made_experiment(tmp_path), ["III"])
    monkeypatch.setattr(Path, "touch", touch)
    before = list(calls)
    _, outcome = make_tables(made_experiment(tmp_path), ["III"])
    assert outcome.cached == ["the student measured", "the teacher measured", THREE_RUNS[0]]
    assert list(outcome.done) == THREE_RUNS[1:]
    assert calls[len(before) :][:2] == [
        "iii-k-2-before-the-question-seed-0: step 2",
        "measured iii-k-2-before-the-question-seed-0",
    ]
    assert len(list((tmp_path / "out/runs").iterdir())) == 3
    assert sorted(calls) == sorted(set(calls)), "no step and no measurement was repeated"


def test_a_budget_too_small_says_what_it_leaves_out(tmp_path: Path, calls: list[str]) -> None:
    make_tables(made_experiment(tmp_path), ["III"])
    _, outcome = make_tables(made_experiment(tmp_path, small_spec("seeds=[0,7]")), ["III"], budget=0.0001)
    assert outcome.left_out["III K = 0, seed 7"].startswith("it takes about")
    assert outcome.left_out["III K = 2, after the question, seed 7"] == "it needs III K = 0, seed 7"
    table = json.loads((tmp_path / "out/results/table-III.json").read_text())
    assert "K = 0, seed 7" in table["left_out"]
    assert "Left out: K = 0, seed 7." in (tmp_path / "out/results/report.html").read_text()


def test_without_a_teacher(tmp_path: Path, calls: list[str]) -> None:
    whole = made_experiment(tmp_path)
    _, outcome = make_tables(Experiment(whole.out, whole.spec, whole.student), ["text", "retention"])
    assert list(outcome.done) == ["the student measured"]
    table = json.loads((tmp_path / "out/results/text.json").read_text())
    assert table["left_out"][0].startswith("the teacher: none was given")
    assert not (tmp_path / "out/results/retention.json").exists()


def test_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--out", str(tmp_path / "out"), "--student", str(model_files(tmp_path / "student"))]
    assert main([*folders, "--only", "II,III", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.partition(":")[0] for line in lines]
    assert names[:2] == ["the student measured", "II all losses, seed 0"]
    assert names.index("III K = 0, seed 0") < names.index("II all losses, seed 1")
    assert names.index("II all losses, seed 1") < names.index("III K = 2, before the question, seed 1")
    assert not (tmp_path / "out").exists()


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match="--teacher"):
        Experiment(tmp_path, read_spec(), teacher=tmp_path)
    assert main(["--only", "VI", "--dry-run", "--student", str(model_files(tmp_path / "student"))]) == 1
    assert capsys.readouterr().err.startswith("error: --only: no table vi")
