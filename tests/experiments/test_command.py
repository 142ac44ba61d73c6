"""The command: a whole table in seconds, kept the second time; what it refuses; the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dollhouse.errors import ModelError, RecipeError
from experiments.paper import paper
from experiments.paper.command import CHAPTERS, choose, foretell, reproduce
from experiments.paper.extent import read_extent
from experiments.paper.paired import Estimate
from experiments.paper.report import page, write_results
from experiments.paper.table import Column, Result, Row

SMALL = [
    "compared=rooms:test/0-2",
    "runs=rooms:test/0-1",
    "validation=rooms:validation/0-1",
    "training=rooms:train/0-3",
    "questions=12",
    "seeds=[0]",
    "thinking_counts=[0,2]",
    "steps.thinking=1",
    "steps.losses=1",
    "timing.rooms=1",
    "timing.tokens=2",
]


@pytest.fixture(scope="module")
def made(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table III, made with three runs of one step."""
    out = tmp_path_factory.mktemp("paper")
    shown, outcome = reproduce(out, student=tiny_student, teacher=tiny_student, only=["III"], settings=SMALL)
    assert shown == out / "results/report.html"
    assert [name for name in outcome.done if name.startswith("III")] == [
        "III K = 0, seed 0",
        "III K = 2, before the question, seed 0",
        "III K = 2, after the question, seed 0",
    ]
    return out


def test_table_three_end_to_end(made: Path) -> None:
    told = json.loads((made / "results/table-III.json").read_text())
    assert [row["name"] for row in told["rows"]] == ["K = 0", "K = 2, before the question", "K = 2, after the question"]
    assert all(row["values"]["text loss"]["n"] == 2 for row in told["rows"])
    assert {"text loss", "spatial"} <= told["rows"][1]["differences"].keys()
    assert told["left_out"] == []
    assert (made / "results/table-III.png").is_file()
    assert "K = 2, after the question" in (made / "results/table-III.md").read_text()
    assert len(list((made / "results/runs").glob("*.json"))) == 3
    run = json.loads(next((made / "results/runs").glob("*.json")).read_text())
    assert run["recipe"]["stages"]["think"]["steps"] == 1
    about = json.loads((made / "results/about.json").read_text())
    assert about["left_out"] == {}
    assert about["machine"]["cores"] >= 1


def test_nothing_is_made_twice(made: Path, tiny_student: Path) -> None:
    before = (made / "results/table-III.json").read_text()
    _, outcome = reproduce(made, student=tiny_student, teacher=tiny_student, only=["iii"], settings=SMALL, budget=0.001)
    assert outcome.done == []
    assert outcome.left_out == {}, "what is kept costs nothing, whatever the budget"
    assert (made / "results/table-III.json").read_text() == before


def test_a_budget_too_small_says_what_it_leaves_out(made: Path, tiny_student: Path) -> None:
    settings = [*SMALL, "seeds=[0,7]"]
    _, outcome = reproduce(
        made, student=tiny_student, teacher=tiny_student, only=["III"], settings=settings, budget=0.0001
    )
    assert outcome.left_out["III K = 0, seed 7"].startswith("it takes about")
    assert outcome.left_out["III K = 2, after the question, seed 7"] == "it needs III K = 0, seed 7"
    told = json.loads((made / "results/table-III.json").read_text())
    assert "III K = 0, seed 7" in told["left_out"]
    assert "Left out" in (made / "results/report.html").read_text()


def test_timing_and_diagnosis(made: Path, tiny_student: Path) -> None:
    """Two processes asked in turn; figures of both, and their ratios."""
    reproduce(made, student=tiny_student, teacher=tiny_student, only=["IV", "fig2", "fig4"], settings=SMALL)
    told = json.loads((made / "results/table-IV.json").read_text())
    rows = {row["name"]: row["values"] for row in told["rows"]}
    again = "teacher, looking again"
    assert list(rows) == ["teacher", again, "student", "teacher / student", f"{again} / student"]
    assert rows[again] == {"later answer": rows["teacher"]["first answer"]}
    student = rows["student"]
    assert 0 < student["later answer"]["value"] < student["first answer"]["value"]
    assert student["peak memory"] > student["of it for the model"] > 0
    assert told["ratios"]["parameters"] == 1.0
    assert (made / "results/fig-2.png").is_file()
    words = json.loads((made / "results/fig-4.json").read_text())
    assert [row["name"] for row in words["rows"]] == ["<think_1>", "<think_2>"]
    assert "in diagnostic mode" in words["sentences"][0]


def test_foretelling_makes_nothing(tiny_student: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "seeds=[0,1,2]"]
    jobs, outcome = foretell(
        tmp_path, budget=None, only=None, teacher=tiny_student, student=tiny_student, settings=settings
    )
    names = [job.name for job in jobs]
    assert names[:2] == ["the student measured", "the teacher measured"]
    assert (
        names.index("II all losses, seed 0") < names.index("III K = 0, seed 0") < names.index("II all losses, seed 1")
    )
    assert names.index("II all losses, seed 1") < names.index("III K = 2, before the question, seed 1")
    assert outcome.left_out == {}
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "results").exists()


def test_keys_are_forgiving_but_known() -> None:
    assert choose(["Fig. 3", "iii", "TEXT"]) == ["text", "III", "fig3"]
    assert choose(None) == list(CHAPTERS)
    with pytest.raises(RecipeError, match="--only VI"):
        choose(["VI"])


def test_settings_are_checked() -> None:
    assert read_extent(["steps.losses=7", "seeds=[4]"]).steps.losses == 7
    with pytest.raises(RecipeError, match=r"steps\.losses"):
        read_extent(["steps.losses=0"])
    with pytest.raises(RecipeError, match="known are compared"):
        read_extent(["rooms=3"])


def test_a_folder_that_is_no_model_is_refused_at_once(tmp_path: Path, tiny_student: Path) -> None:
    with pytest.raises(ModelError, match="--teacher"):
        reproduce(tmp_path / "out", teacher=tmp_path, student=tiny_student, only=["III"], settings=SMALL)


def test_page_sets_both_beside_each_other(tmp_path: Path) -> None:
    """Ours, the paper's, what may be compared, what was left out; nothing that users write is taken for markup."""
    row = Row(
        "<b>row</b>", {"spatial": Estimate(0.5, (0.4, 0.6), 100, 10)}, {"spatial": Estimate(-0.1, (-0.2, 0.0), 100, 10)}
    )
    result = Result(
        "II",
        "Table II: the losses",
        [Column("spatial", "higher", percent=True, digits=1)],
        [row],
        paper.LOSSES,
        ["A sentence."],
        left_out=["static weights, seed 2"],
    )
    about = {"left_out": {"III K = 16": "it takes about 2 min"}, "jobs": {}, "student": "<nano>"}
    text = page([result], about, {})
    assert "<b>row</b>" not in text
    assert "&lt;b&gt;row&lt;/b&gt;" in text
    assert "50.0 %<small>40.0 to 60.0</small>" in text
    assert "-10.0<small>-20.0 to +0.0</small>" in text
    assert "6.45" in text
    assert "Comparable? The sign of each difference may be compared" in text
    assert "static weights, seed 2" in text
    assert "III K = 16: it takes about 2 min" in text
    written = write_results([result], about, tmp_path / "results")
    assert written.read_text(encoding="utf-8") == text
