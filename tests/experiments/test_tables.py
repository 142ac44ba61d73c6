"""Tables from made-up measurements: exact numbers, and sentences that say where nothing is shown."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dollhouse.errors import ScoreError
from dollhouse.evaluation.probing.accuracy import BASELINE
from dollhouse.questions.sampling import FAMILIES
from experiments.paper import hidden_cot
from experiments.paper.efficiency import NO_MEMORY, STAND_IN_NOTE
from experiments.paper.results import Result, show
from experiments.paper.run import write_results
from experiments.paper.spec import Column
from experiments.paper.statistics import Estimate
from experiments.paper.tables import FILL, choose_cases
from tests.experiments.measurements import (
    GOOD,
    ROOMS,
    SPEC,
    TEACHER,
    MadeExperiment,
    made_measurement,
    row,
    table,
    three_of_four,
    value,
)

WORSE = made_measurement(lambda room, family: family == 0, loss=lambda room: 2.0, detected=False, description="a room.")


@pytest.fixture(scope="module")
def losses() -> Result:
    no_depth = made_measurement(three_of_four, depth=lambda room: 0.6 + 0.01 * (room % 2))
    three = {"all losses": [GOOD, GOOD], "without depth": [no_depth], "static weights": [WORSE, WORSE]}
    return table("II", three)


def test_exact_numbers_of_a_row(losses: Result) -> None:
    names = ("spatial", "depth AbsRel", "val loss", "mAP@0.25")
    base = {name: value(losses, "all losses", name).value for name in names}
    assert base["spatial"] == 0.75
    assert base["depth AbsRel"] == pytest.approx(0.21)
    assert base["val loss"] == pytest.approx(2 * 1.05)
    assert base["mAP@0.25"] == pytest.approx((1 + 0.25) / 2), "every bed; every second chair, all of one score"
    spatial = value(losses, "static weights", "spatial")
    assert (spatial.value, spatial.n, spatial.rooms, spatial.seeds) == (0.25, 4 * ROOMS, ROOMS, 2)


def test_a_changed_row_says_what_changed(losses: Result) -> None:
    sentence = next(text for text in losses.sentences if text.startswith("without depth against all losses"))
    assert "depth AbsRel +0.395 (" in sentence
    assert "(worse); no change shown in val loss, ROUGE-1, spatial, mAP@0.25: the interval includes 0." in sentence
    change = row(losses, "without depth").differences["depth AbsRel"]
    assert change.value == pytest.approx(0.605 - 0.21)
    assert change.excludes_zero
    assert change.seeds == 1, "only the seed that both rows have is compared"


def test_every_figure_of_a_worse_row_is_worse(losses: Result) -> None:
    sentence = next(text for text in losses.sentences if text.startswith("static weights"))
    assert sentence.count("(worse)") == 4
    assert "no change shown in depth AbsRel, depth RMSE (m)" in sentence


def test_no_change_is_stated() -> None:
    result = table("II", {"all losses": [GOOD], "+ Hidden CoT": [GOOD]})
    assert result.sentences[0] == (
        "+ Hidden CoT against all losses: no change shown in val loss, ROUGE-1, spatial, depth AbsRel, depth RMSE (m), "
        "mAP@0.25: the interval includes 0."
    )
    assert result.sentences[-1] == "Beside every accuracy: blind student 0.0 % (0.0 to 0.0), chance 50.0 %."
    assert "without depth, seed 0" in result.left_out
    assert "static weights, seed 2" in result.left_out


def test_json_markdown_and_page(losses: Result, tmp_path: Path) -> None:
    page = write_results([losses], {"student": "<nano>", "left_out": {}}, tmp_path).read_text()
    stored = json.loads((tmp_path / "table-II.json").read_text())
    assert stored["rows"][0]["values"]["spatial"]["n"] == 4 * ROOMS
    assert stored["rows"][1]["differences"]["depth AbsRel"]["ci95"][0] > 0
    assert stored["paper"]["rows"][0] == ["all losses", 6.45, 0.119, 0.64, 0.23]
    text = (tmp_path / "table-II.md").read_text()
    assert "| all losses | 2.100 (" in text
    change = stored["rows"][1]["differences"]["depth AbsRel"]["ci95"]
    assert f"<br>+0.395 (+{change[0]:.3f} to +{change[1]:.3f}) |" in text, "the difference is below its value"
    assert f"<small>+0.395 (+{change[0]:.3f} to +{change[1]:.3f})</small>" in page
    assert "![Table II: the losses](table-II.png)" in text
    assert "| without depth | 6.92 | 0.095 | 0.52 | 0.31 |" in text, "the paper's row is below"
    assert "&lt;nano&gt;" in page
    assert "6.45" in page
    assert (tmp_path / "table-II.png").stat().st_size > 10_000


def test_thinking_tokens_that_change_nothing() -> None:
    before, after = "K = 8, before the question", "K = 8, after the question"
    result = table("III", {"K = 0": [GOOD, GOOD], before: [GOOD], after: [GOOD]})
    assert result.sentences[0].startswith(f"{before} against K = 0: no change shown in text loss, spatial")
    assert [row.name for row in result.rows] == ["K = 0", before, after]
    assert (row(result, "K = 0").seeds, row(result, before).seeds) == (2, 1)


def test_models_are_compared_with_their_neighbours(tmp_path: Path) -> None:
    flat = made_measurement(lambda room, family: family < 2)
    times = {"models": {"teacher": {"first": [0.5, 1.5]}, "student": {"first": [0.25, 0.25]}}}
    (tmp_path / "times.json").write_text(json.dumps(times))
    result = table("I", {"short: all losses": GOOD, "short: without 3D losses": flat}, timing=tmp_path)
    names = ["teacher", "student", "short: all losses", "short: without 3D losses", "blind"]
    assert [row.name for row in result.rows] == names
    assert [row(result, name).values["scenes/s"] for name in ("teacher", "student")] == [1.0, 4.0]
    assert row(result, "short: without 3D losses").differences["spatial"].value == pytest.approx(-0.25)
    assert row(result, "blind").differences["spatial"].value == pytest.approx(-0.75)
    assert row(result, "student").values["parameters"] == 7.5
    assert any(text.startswith("short: without 3D losses against short: all losses") for text in result.sentences)
    assert result.left_out == ["one token a scene, untrained", "short: 16 object tokens a scene, seed 0",
                               "short: one token a scene, seed 0"]  # fmt: skip


def test_retention_is_a_paired_ratio() -> None:
    result = table("retention")
    kept = value(result, "all four", "student / teacher")
    assert kept.value == pytest.approx(0.75 / (47 / 48))
    assert kept.ci95 is not None
    assert kept.ci95[0] < kept.value < kept.ci95[1]
    assert value(result, "proximity", "blind").value == 0.0
    assert row(result, "proximity").values["chance"] == 0.5
    assert "all four 76.6 %" in result.sentences[0]
    assert table("retention", teacher=None).rows == []


def test_retention_of_other_questions_is_refused() -> None:
    with pytest.raises(ScoreError, match="different questions"):
        table("retention", teacher=TEACHER.restricted(TEACHER.names[:5]))


def test_cases_are_chosen_by_rule() -> None:
    chosen = choose_cases(GOOD, TEACHER)
    assert chosen["success"]["id"] == "rooms:test/0#contact.made#1"
    assert chosen["failure"]["id"] == "rooms:test/2#size.made#2", "in room 1 the teacher is wrong too"
    assert choose_cases(made_measurement(lambda room, family: True, blind="yes"), None) == {}, "no question fits"
    result = table("V")
    assert [row.name for row in result.rows] == ["success", "the same room", "failure", "the same room"]
    cells = {"room": "rooms:test/2", "question": "is it?", "student": "no", "teacher": "yes", "geometry": "yes"}
    assert row(result, "failure").values == cells | {"blind": "no"}


def test_text_scores_of_equal_descriptions_are_one() -> None:
    result = table("text")
    assert value(result, "ROUGE-L recall", "as they are").value == 1.0
    assert value(result, "BLEU-4", "length-normalised").value == pytest.approx(1.0)
    assert (value(result, "words, student", "as they are").value, row(result, "words, student").seeds) == (5.0, 1)
    assert result.left_out == []
    assert table("text", teacher=None).left_out[0].startswith("the teacher: none was given")


def test_descriptions_need_the_teacher_of_the_same_rooms() -> None:
    assert GOOD.figure("rouge_1", TEACHER).statistic(np.ones((1, ROOMS)))[0] == 1.0
    with pytest.raises(ScoreError, match="was not asked"):
        GOOD.texts(TEACHER.restricted(TEACHER.names[:3]))


def test_what_was_not_measured_is_refused() -> None:
    with pytest.raises(ScoreError, match="rooms:test/99"):
        GOOD.restricted(["rooms:test/99"])
    with pytest.raises(ScoreError, match="figure colour"):
        GOOD.figure("colour", None)
    assert GOOD.restricted(GOOD.names[2:4]).accuracy().n == 8


def times_of(factor: float) -> dict[str, Any]:
    seconds = {"first": [0.010 * factor, 0.030 * factor], "later": [0.002 * factor, 0.006 * factor]}
    sizes = {"parameters": 1_000_000 * factor, "bytes": 2e6 * factor, "peak": 4e8, "model_memory": 1e8 * factor}
    return {**seconds, "all": [0.1 * factor, 0.3 * factor], "questions": [10, 10], **sizes}


@pytest.fixture
def timed(tmp_path: Path) -> Path:
    models = {"teacher": times_of(4), "student": times_of(1)}
    times = {"models": models, "tokens": 8, "rooms": 2, "threads": 2, "machine": {}, "packages": {}}
    (tmp_path / "times.json").write_text(json.dumps(times))
    return tmp_path


def test_efficiency_is_like_for_like_first(timed: Path) -> None:
    result = table("IV", timing=timed)
    names = ["teacher", NO_MEMORY, "student", "teacher / student", f"{NO_MEMORY} / student"]
    assert [row.name for row in result.rows] == names
    student, ratios = row(result, "student").values, row(result, "teacher / student").values
    assert value(result, "student", "first answer").value == pytest.approx(20.0)
    assert value(result, "student", "later answer").ci95 == pytest.approx((2.0, 6.0))
    assert value(result, "student", "answers/s, batched").value == pytest.approx(50.0)
    assert student["parameters"] == pytest.approx(1.0)
    assert student["peak memory"] == pytest.approx(400.0)
    assert ratios["first answer"] == "4.0× (4.0 to 4.0)"
    assert ratios["answers/s, batched"] == "0.2× (0.2 to 0.2)"
    assert ratios["peak memory"] == "1.0×"
    assert row(result, f"{NO_MEMORY} / student").values == {"later answer": "20.0× (20.0 to 20.0)"}
    assert result.sentences[0].startswith("Like for like, the teacher's first answer takes 4.0× (4.0 to 4.0) the")
    assert result.left_out == []
    assert table("IV", teacher=None, timing=timed).left_out == [STAND_IN_NOTE]
    pictured = ["first answer", "later answer", "parameters", "peak memory"]
    assert list(row(table("fig2", timing=timed), "student").values) == pictured


def test_paper_size(timed: Path) -> None:
    result = table("paper-size", timing=timed)
    assert "| student | 0.02 s (0.01 to 0.03) | 0.00 s (0.00 to 0.01) | 1 M | 0.40 GB |" in result.as_markdown()
    assert result.left_out == []


def test_controls(tmp_path: Path) -> None:
    group = {"accuracy": 0.9, "ci95": [0.85, 0.95], "n": 48, "scenes": 12, "changed": 0.25}
    changed = group | {"accuracy": 0.7, "difference": -0.2, "difference_ci95": [-0.3, -0.1]}
    controls = {BASELINE: {"groups": {"overall": group | {"difference": 0, "difference_ci95": None}}}}
    probed = {"verdict": "They matter.", "ablations": controls | {"zeros": {"groups": {"overall": changed}}}}
    (tmp_path / "probe.json").write_text(json.dumps(probed))
    result = table("controls", probed=tmp_path)
    assert len(result.rows) == 6
    assert row(result, "student: zeros").values["other words"] == 0.25
    assert row(result, "student: zeros").differences["spatial"].excludes_zero
    assert row(result, f"student: {BASELINE}").differences == {}
    assert result.sentences[0] == "student: They matter."
    assert table("controls").left_out == list(SPEC.rows_of("controls"))


def test_readout(tmp_path: Path) -> None:
    words = [{"token": token, "probability": share} for token, share in (("bed", 0.5), ("lamp", 0.2), ("box", 0.01))]
    probed = {"logit_lens": {"examples": {"rooms:test/0": [words, words]}}}
    (tmp_path / "probe.json").write_text(json.dumps(probed))
    answers = {"question": "is it?", "answer": "yes", "predictions": {BASELINE: "no"}}
    lines = [{"scene": "rooms:test/0", "id": GOOD.rows[0]["id"], "family": name} for name in ("counting", FAMILIES[0])]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(line | answers) + "\n" for line in lines))
    result = table("fig4", probed=tmp_path)
    assert row(result, "<think_2>").values["1. word"] == "bed (50%)"
    assert result.sentences == ["rooms:test/0, “is it?”: answer no; in diagnostic mode no; by geometry yes."]
    (tmp_path / "probe.json").write_text(json.dumps(hidden_cot.NO_TOKENS))
    assert [row.name for row in table("fig4", probed=tmp_path).rows] == ["no thinking tokens"]


def test_curve(tmp_path: Path) -> None:
    lines = [{"stage": "finetune", "step": step, "text": 2.0 / step, "weight_text": 0.5} for step in (2, 4)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = MadeExperiment()
    made.cache = SimpleNamespace(find=lambda kind, key: tmp_path)  # type: ignore[assignment]
    described = SPEC.tables["fig3"]
    result = Result("fig3", described.title, described.columns, described.paper, [])
    FILL["curve"](made, result)  # type: ignore[arg-type]
    cells = {"first": 1.0, "last": 0.5, "weight at first": 0.5, "weight at last": 0.5}
    assert row(result, "text").values == cells
    assert result.figure is not None
    assert len(result.figure().axes) == 2


def test_numbers_are_written_with_their_intervals() -> None:
    share, change = Estimate(0.5, (0.4, 0.6), 100, 10), Estimate(-0.1, (-0.2, 0.0), 100, 10)
    percent, plain = Column(name="a", percent=True, digits=1), Column(name="b", unit=" ms", digits=1)
    assert show(percent, share) == "50.0 % (40.0 to 60.0)"
    assert show(percent, change, sign=True) == "-10.0 (-20.0 to +0.0)"
    assert show(plain, 1234.5) == "1,234.5 ms"
    assert (show(plain, None), show(plain, "2.7×")) == ("–", "2.7×")
