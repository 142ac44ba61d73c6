"""The runner: priorities, budget, a resume after a kill with a fake trainer, what it refuses, the page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from dollhouse.errors import ModelError
from dollhouse.evaluation.tables.folder import verify_folder
from dollhouse.training.config import Recipe
from experiments.paper import experiment as experiment_module
from experiments.paper import run as run_module
from experiments.paper.experiment import Experiment, Job
from experiments.paper.run import Outcome, fitting_lines, in_order, main, make_tables, run_jobs
from experiments.paper.spec import Spec, read_spec
from tests.experiments.measurements import model_files, three_of_four, write_measurement

KEPT = ("K = 0", "K = 4, before the question", "K = 4, after the question")
THREE_RUNS = [f"table-III {name}, seed 0" for name in KEPT]


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


def test_a_job_may_need_a_cached_one_of_lower_priority() -> None:
    jobs = [Job("probed", "probe", "probe", 7, 1, print, ("run",)), Job("runs", "run", "run", 8, 1, print)]
    done: list[str] = []
    outcome = run_jobs(jobs, lambda job: job.name == "run", lambda job: done.append(job.name))
    assert (done, outcome.left_out) == (["probe"], {})


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
    """Table III with K = 0 and 4, on the rooms of made-up measurements."""
    scenes = ["compared_scenes=rooms:test/0-11", "run_scenes=rooms:test/0-11", "seeds=[0]"]
    spec = read_spec(overrides=[*scenes, "tables.table-III.scenes=''", *overrides])
    table = spec.tables["table-III"]
    rows = [row.model_copy(update={"oracle_boxes": False}) for row in table.rows if row.name in KEPT]
    return spec.model_copy(update={"tables": spec.tables | {"table-III": table.model_copy(update={"rows": rows})}})


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
        write_measurement(out, three_of_four)

    monkeypatch.setattr(experiment_module, "distill", distill)
    monkeypatch.setattr(experiment_module, "measure", measure)
    monkeypatch.setattr(experiment_module, "write_init", lambda student, init, seed, out: None)
    monkeypatch.setattr(run_module, "rows_figure", lambda *arguments: Figure(figsize=(1, 1)))
    return log


def made_experiment(folder: Path, spec: Spec | None = None) -> Experiment:
    if not (folder / "nano").exists():
        model_files(folder / "nano")
    return Experiment(folder / "out", spec or small_spec(), {"nano": folder / "nano"})


def test_a_table_from_end_to_end(tmp_path: Path, calls: list[str]) -> None:
    results, outcome = make_tables(made_experiment(tmp_path), ["III"])
    assert list(outcome.done) == THREE_RUNS
    table = json.loads((results / "table-III.json").read_text())
    assert [row["name"] for row in table["rows"]] == list(KEPT)
    assert all(row["values"]["spatial"]["value"] == 0.75 for row in table["rows"])
    assert {"spatial"} <= table["rows"][1]["differences"].keys()
    assert "left_out" not in table
    report = json.loads((results / "report.json").read_text())
    assert report["about"]["jobs left out"] == {}
    assert report["models"]["table-III/K = 0, seed 0"]["weights"] == "0123"
    assert (results / "table-III.png").is_file()
    assert "K = 4, after the question" in (results / "report.html").read_text()
    assert "5.21" in (results / "report.html").read_text(), "the paper's table is beside it"
    assert verify_folder(results).findings == []


def test_a_second_call_makes_nothing_whatever_the_budget(tmp_path: Path, calls: list[str]) -> None:
    make_tables(made_experiment(tmp_path), ["III"])
    before, done = (tmp_path / "out/results/table-III.json").read_text(), list(calls)
    _, outcome = make_tables(made_experiment(tmp_path), ["iii"], budget=0.001)
    assert (outcome.done, outcome.left_out, calls) == ({}, {}, done)
    assert (tmp_path / "out/results/table-III.json").read_text() == before


def test_at_most_so_many_jobs(tmp_path: Path, calls: list[str]) -> None:
    _, outcome = make_tables(made_experiment(tmp_path), ["III"], most=1)
    assert list(outcome.done) == THREE_RUNS[:1]
    assert outcome.left_out[THREE_RUNS[1]].endswith("; 1 jobs were run")
    assert list(make_tables(made_experiment(tmp_path), ["III"], most=1)[1].done) == THREE_RUNS[1:2]


def test_a_killed_call_continues(tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of the second run: the same call trains only what is missing."""
    touch: Callable[..., None] = Path.touch

    def killed(path: Path, *arguments: Any, **settings: Any) -> None:
        touch(path, *arguments, **settings)
        if "k-4-before" in path.parent.name and path.name == "step-1":
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "touch", killed)
    with pytest.raises(KeyboardInterrupt):
        make_tables(made_experiment(tmp_path), ["III"])
    monkeypatch.setattr(Path, "touch", touch)
    before = list(calls)
    _, outcome = make_tables(made_experiment(tmp_path), ["III"])
    assert outcome.cached == THREE_RUNS[:1]
    assert list(outcome.done) == THREE_RUNS[1:]
    run = "table-iii-k-4-before-the-question-seed-0"
    assert calls[len(before) :][:2] == [f"{run}: step 2", f"measured {run}"]
    assert len(list((tmp_path / "out/runs").iterdir())) == 3
    assert sorted(calls) == sorted(set(calls)), "no step and no measurement was repeated"


def test_a_budget_too_small_says_what_it_leaves_out(tmp_path: Path, calls: list[str]) -> None:
    make_tables(made_experiment(tmp_path), ["III"])
    folder, outcome = make_tables(made_experiment(tmp_path, small_spec("seeds=[0,7]")), ["III"], budget=0.0001)
    assert outcome.left_out["table-III K = 0, seed 7"].startswith("it takes about")
    assert outcome.left_out["table-III K = 4, after the question, seed 7"] == "it needs table-III K = 0, seed 7"
    assert "K = 0 (seed 7)" in json.loads((folder / "table-III.json").read_text())["left_out"]
    assert "Left out: K = 0 (seed 7)." in (folder / "report.html").read_text()


def test_without_its_models_a_table_is_left_out(tmp_path: Path, calls: list[str]) -> None:
    folder, outcome = make_tables(made_experiment(tmp_path), ["text", "retention", "real-photos", "IV"])
    assert outcome.done == {}
    about = json.loads((folder / "report.json").read_text())["about"]
    assert about["not made"] == ["retention", "real-photos", "text", "table-IV"]


def test_lines_of_what_was_not_made_leave_the_page() -> None:
    """Braces of a command are no places; a place whose table is missing takes its line along, and is named."""
    command = "stages={a: {steps: 4, losses: [text]}}"
    kept, left_out = fitting_lines(f"# R\n\n## Speed\n\nIt is {{table-IV:nano|later}}.\n\n## How\n\n{command}\n", [])
    assert kept == f"# R\n\n## How\n\n{command}\n"
    assert left_out == ["It is {table-IV:nano|later}.: there is no table for {table-IV:nano|later}"]


def test_bench_figures_are_read(tmp_path: Path) -> None:
    spread = {"first_ms": {"median": 150.0}, "later_ms": {"median": 10.0}}
    systems = {"nano torch": spread, "nano fp16": {"first_ms": {"median": 75.0}, "later_ms": {"median": 5.0}}}
    (tmp_path / "bench.json").write_text(json.dumps({"systems": systems, "machine": {}, "settings": {}}))
    experiment = Experiment(tmp_path / "out", read_spec(), benches={"nano": tmp_path / "bench.json"})
    folder, _ = make_tables(experiment, ["IV"])
    text = (folder / "table-IV.md").read_text()
    assert "| nano, nano torch | 150.0 ms | 10.0 ms |" in text
    assert verify_folder(folder).findings == []


def test_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--out", str(tmp_path / "out"), "--model", f"nano={model_files(tmp_path / 'nano')}"]
    assert main([*folders, "--only", "II,III", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.partition(":")[0] for line in lines]
    assert names[:2] == ["nano, true boxes", "table-II all losses, seed 0"]
    assert names.index("table-III K = 0, seed 0, true boxes") < names.index("table-II all losses, seed 1")
    assert not (tmp_path / "out").exists()


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match="--model teacher"):
        Experiment(tmp_path, read_spec(), {"teacher": tmp_path})
    with pytest.raises(ModelError, match="--bench"):
        Experiment(tmp_path, read_spec(), benches={"nano": tmp_path / "none.json"})
    assert main(["--only", "VI", "--dry-run"]) == 1
    assert capsys.readouterr().err.startswith("error: --only: no table vi")
    with pytest.raises(SystemExit):
        main(["--model", "nano"])
