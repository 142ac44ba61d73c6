"""Tables from made-up measurements: what they say, and that they say so where nothing is shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dollhouse.errors import ScoreError
from dollhouse.evaluation.metrics.text import score_texts
from experiments.paper import ablation, cases, descriptions, models, retention, thinking
from experiments.paper.measured import Measured
from experiments.paper.table import Result, Row
from tests.experiments.made_up import ROOMS, made_up

GOOD = made_up(lambda room, family: (room + family) % 4 != 0)
TEACHER = made_up(lambda room, family: (room, family) != (1, 3), name="teacher", blind=None)


def row(result: Result, name: str) -> Row:
    return next(one for one in result.rows if one.name == name)


@pytest.fixture(scope="module")
def losses() -> Result:
    blind_to_depth = made_up(lambda room, family: (room + family) % 4 != 0, depth=lambda room: 0.6 + 0.01 * (room % 2))
    worse = made_up(lambda room, family: family == 0, loss=lambda room: 2.0, found=False, words="a room.")
    return ablation.table(
        {ablation.ALL: [GOOD, GOOD], "without depth": [blind_to_depth, None], "static weights": [worse, worse]}, TEACHER
    )


def test_a_row_that_changed_says_what(losses: Result) -> None:
    told = next(sentence for sentence in losses.sentences if sentence.startswith("without depth against"))
    assert "depth AbsRel +0.395" in told
    assert "(worse)" in told
    assert "No change shown in val loss, ROUGE-1, spatial, mAP@0.25: the interval includes none." in told
    changed = row(losses, "without depth").differences["depth AbsRel"]
    assert changed.certain
    assert changed.seeds == 1, "only the seed that both rows have is compared"


def test_every_figure_of_a_worse_row_is_worse(losses: Result) -> None:
    told = next(sentence for sentence in losses.sentences if sentence.startswith("static weights"))
    assert told.count("(worse)") == 4
    assert "No change shown in depth AbsRel, depth RMSE (m)" in told
    spatial = row(losses, "static weights").values["spatial"]
    assert not isinstance(spatial, (float, str, type(None)))
    assert (spatial.value, spatial.n, spatial.rooms, spatial.seeds) == (0.25, 4 * ROOMS, ROOMS, 2)


def test_nothing_changed_is_said_plainly() -> None:
    result = ablation.table({ablation.ALL: [GOOD], "+ Hidden CoT": [GOOD]}, TEACHER)
    assert result.sentences == [
        "+ Hidden CoT: no change shown against all losses; every interval includes none (val loss, ROUGE-1, spatial, "
        "depth AbsRel, depth RMSE (m), mAP@0.25)."
    ]


def test_table_as_json_and_markdown(losses: Result, tmp_path: Path) -> None:
    told = json.loads(json.dumps(losses.as_json()))
    assert told["rows"][0]["values"]["spatial"]["n"] == 4 * ROOMS
    assert told["rows"][1]["differences"]["depth AbsRel"]["ci95"][0] > 0
    assert told["paper"]["rows"][0] == ["all losses", 6.45, 0.119, 0.64, 0.23]
    text = losses.as_markdown("table-II.png")
    assert "| all losses |" in text
    assert "![Table II: the losses](table-II.png)" in text
    assert "| without depth | 6.92 | 0.095 | 0.52 | 0.31 |" in text, "the paper's row stands below ours"
    assert losses.picture is not None
    losses.picture(tmp_path / "table.png")
    assert Image.open(tmp_path / "table.png").width > 800


def test_thinking_tokens_that_change_nothing() -> None:
    base, after = thinking.settings([0, 8])[0], (8, "after_question")
    result = thinking.table({base: [GOOD, GOOD], (8, "before_question"): [GOOD, None], after: [GOOD, GOOD]}, TEACHER)
    assert result.sentences[0].startswith("No thinking tokens changed spatial accuracy beyond chance: all 2 intervals")
    assert [one.name for one in result.rows] == ["K = 0", "K = 8, before the question", "K = 8, after the question"]
    assert row(result, "K = 8, before the question").seeds == 1


def test_thinking_tokens_that_help(tmp_path: Path) -> None:
    base, before = thinking.settings([0])[0], (4, "before_question")
    result = thinking.table({base: [GOOD], before: [TEACHER]}, TEACHER)
    assert result.sentences[0] == (
        "Spatial accuracy against K = 0 is higher with K = 4, before the question; of 1 settings that were tried."
    )
    assert result.picture is not None
    result.picture(tmp_path / "counts.png")
    assert Image.open(tmp_path / "counts.png").width > 600


def test_retention_is_a_paired_ratio() -> None:
    result = retention.retention(GOOD, TEACHER)
    kept = row(result, "all four").values["student / teacher"]
    assert not isinstance(kept, (float, str, type(None)))
    assert kept.value == pytest.approx(0.75 / (47 / 48))
    assert kept.ci95 is not None
    assert kept.ci95[0] < kept.value < kept.ci95[1]
    blind = row(result, "proximity").values["blind"]
    assert not isinstance(blind, (float, str, type(None)))
    assert blind.value == 0.0
    assert row(result, "proximity").values["chance"] == 0.5
    assert "76.6 %" in result.sentences[0]


def test_retention_of_other_questions_is_refused() -> None:
    with pytest.raises(ScoreError, match="not asked the same questions"):
        retention.retention(GOOD, TEACHER.restricted(TEACHER.names[:5]))


def test_models_are_compared_with_their_neighbours() -> None:
    flat = made_up(lambda room, family: family < 2)
    listed = [
        models.Beside("teacher", TEACHER),
        models.Beside(models.STUDENT, GOOD, "teacher"),
        models.Beside(models.SHORT, GOOD),
        models.Beside(models.FLAT, flat, models.SHORT),
        models.Beside(models.ONE, None, models.MANY),
    ]
    result = models.table(listed, TEACHER, {"teacher": 1.5})
    assert [one.name for one in result.rows] == ["teacher", "student", models.SHORT, models.FLAT, "blind"]
    assert row(result, "teacher").values["scenes/s"] == 1.5
    assert row(result, models.FLAT).differences["spatial"].value == pytest.approx(-0.25)
    assert any(
        sentence.startswith("short: without 3D losses against short: all losses") for sentence in result.sentences
    )


def test_cases_are_chosen_by_rule() -> None:
    found = cases.choose(GOOD, TEACHER)
    assert found["success"]["id"] == "rooms:test/0#contact.made#1"
    assert found["failure"]["id"] == "rooms:test/2#size.made#2", "in room 1 the teacher is wrong too"
    perfect = made_up(lambda room, family: True, blind="yes")
    assert cases.choose(perfect, None) == {}, "nothing fits: nothing is shown"


SAID = ["a room with a bed and a chair.", "a room.", "a big room with two lamps, a sofa and a bed."]
TOLD = ["a room with a bed and a lamp.", "a room with a sofa and a plant.", "a room with two lamps and a sofa."]


def test_bleu_over_rooms_is_that_of_the_corpus() -> None:
    expected = score_texts(SAID, [[text] for text in TOLD])
    for n, statistic in enumerate(descriptions.bleu_statistics(SAID, TOLD, np.eye(3)), 1):
        assert statistic(np.ones((1, 3)))[0] == pytest.approx(expected[f"coco_bleu_{n}"].value, abs=1e-12)
    twice = descriptions.bleu_statistics(SAID, TOLD, np.eye(3))[0](np.array([[2.0, 0.0, 1.0]]))[0]
    texts = [SAID[0], SAID[0], SAID[2]], [[TOLD[0]], [TOLD[0]], [TOLD[2]]]
    assert twice == pytest.approx(score_texts(*texts)["coco_bleu_1"].value, abs=1e-12)


def test_length_normalised_figures_do_not_punish_brevity() -> None:
    said, told = descriptions.shortened(SAID, TOLD)
    assert [len(a.split()) for a in said] == [len(b.split()) for b in told] == [8, 2, 8]
    full = descriptions.scores(["a room with"], ["a room with a sofa and a plant."], ["r"])
    cut = descriptions.scores(*descriptions.shortened(["a room with"], ["a room with a sofa and a plant."]), ["r"])
    assert full["ROUGE-1 precision"] is not None
    assert full["ROUGE-1 recall"] is not None
    assert cut["ROUGE-1"] is not None
    assert full["ROUGE-1 precision"].value == 1.0
    assert full["ROUGE-1 recall"].value == pytest.approx(3 / 8)
    assert cut["ROUGE-1"].value == 1.0


def test_descriptions_need_the_teacher_of_the_same_rooms() -> None:
    assert descriptions.rouge_1(GOOD, TEACHER).statistic(np.ones((1, ROOMS)))[0] == 1.0
    with pytest.raises(ScoreError, match="was not asked"):
        descriptions.rouge_1(GOOD, TEACHER.restricted(TEACHER.names[:3]))


def test_rooms_that_were_not_asked_about_cannot_be_compared() -> None:
    with pytest.raises(ScoreError, match="rooms:test/99"):
        GOOD.restricted(["rooms:test/99"])
    some: Measured = GOOD.restricted(GOOD.names[2:4])
    assert some.accuracy().n == 8
