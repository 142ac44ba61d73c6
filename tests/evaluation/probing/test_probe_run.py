"""A whole probe on made scenes: what is written, what it agrees with, and what cannot be probed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dollhouse.errors import ModelError, SceneError, StorageError
from dollhouse.evaluation.evaluate import evaluate
from dollhouse.evaluation.probing.ablations import ABLATIONS, Ablation, replace_embeddings
from dollhouse.evaluation.probing.accuracy import OVERALL
from dollhouse.evaluation.probing.linear_probe import COUNT, DISTANCE
from dollhouse.evaluation.probing.page import probe_summary
from dollhouse.evaluation.probing.probe import probe_thinking
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.synthetic.room_scene import room_scene
from tests.evaluation.fake_models import made_scene
from tests.models.conftest import tiny_pipeline


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [made_scene(number, views=2) for number in range(14)]


@pytest.mark.slow
def test_a_probe_is_written_and_shown(scenes: list[Scene], tmp_path: Path) -> None:
    out = tmp_path / "<probed>"
    probed = probe_thinking(
        tiny_pipeline(), scenes, questions_per_scene=5, out=out, progress=False, command="dollhouse <b>probe"
    )
    found = json.loads((out / "probe.json").read_text())
    assert found["verdict"] == probed.result["verdict"]
    assert set(found["ablations"]) == {"unmodified", *(ablation.name for ablation in ABLATIONS)}
    for ablation in found["ablations"].values():
        overall = ablation["groups"][OVERALL]
        assert 5 < overall["scenes"] <= 14
        assert overall["difference_ci95"] is not None
        assert overall["n"] == sum(
            entry["n"]
            for name, entry in ablation["groups"].items()
            if name in ("proximity", "contact", "size", "orientation")
        )
    assert found["thinking"] == {"tokens": 3, "placement": "before_question", "passes": 1, "blind": False}
    assert found["logit_lens"]["title"] == "untrained readout"
    assert len(found["logit_lens"]["tokens"]) == 3
    assert {COUNT, DISTANCE} <= set(found["linear_probe"]["targets"])
    rows = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert len(rows) == found["questions"]
    assert rows[0]["predictions"].keys() == set(found["ablations"])
    page = (out / "probe.html").read_text()
    assert found["verdict"][:40] in page
    assert page.count("<svg") == 1 + 1 + len(found["linear_probe"]["targets"])
    assert "untrained readout" in page
    assert "dollhouse &lt;b&gt;probe" in page
    assert "<b>probe" not in page
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(probe_summary(found))
    shown = console.export_text()
    assert all(ablation.name in shown for ablation in ABLATIONS)
    assert "untrained readout" in shown
    assert " ".join(shown.split()).count(" ".join(found["verdict"].split())) == 1


@pytest.mark.parametrize(
    ("placement", "blind"), [("after_question", False), ("before_question", True), ("after_question", True)]
)
def test_other_students_are_probed_too(placement: str, blind: bool, scenes: list[Scene], tmp_path: Path) -> None:
    themselves = Ablation("themselves", "", replace_embeddings(lambda inputs: inputs.trained))
    shuffled = next(ablation for ablation in ABLATIONS if ablation.name == "shuffled")
    pipeline = tiny_pipeline(placement, blind)
    probed = probe_thinking(
        pipeline,
        scenes[:3],
        questions_per_scene=5,
        ablations=[themselves, shuffled],
        out=tmp_path / "p",
        progress=False,
    )
    for figure in probed.scores["themselves"].values():
        assert (figure.difference, figure.changed) == (0.0, 0.0)
    if blind:
        assert all(figure.changed == 0.0 for figure in probed.scores["shuffled"].values())
        assert "constant prefix" in probed.result["attention"]["sources"]["answer"]
    assert probed.result["linear_probe"]["targets"] == {}
    assert "Too few scenes" in (tmp_path / "p" / "probe.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("oracle_boxes", [False, True])
def test_unmodified_answers_are_those_of_evaluate(oracle_boxes: bool) -> None:
    """With a trained student: rounding would decide the ties of a random student."""
    pipeline, scenes = DollhousePipeline.from_pretrained(), [room_scene("test", number) for number in (3, 4)]
    options: Any = {"questions_per_scene": 10, "oracle_boxes": oracle_boxes, "progress": False}
    probed = probe_thinking(pipeline, scenes, ablations=[], **options)
    report = evaluate(pipeline, scenes, **options)
    expected = {row["id"]: row["prediction"] for row in report.predictions if row["family"] != "description"}
    assert {row.id: row.predictions["unmodified"] for row in probed.questions} == expected
    overall = report.metrics["overall"]
    assert isinstance(overall, dict)
    assert probed.scores["unmodified"][OVERALL].accuracy == pytest.approx(overall["accuracy"])


def test_the_same_seed_gives_the_same_answers(scenes: list[Scene]) -> None:
    noise = [ablation for ablation in ABLATIONS if ablation.name == "noise"]
    runs = [
        probe_thinking(
            tiny_pipeline(), scenes[:2], questions_per_scene=4, ablations=noise, seed=seed, progress=False
        ).questions
        for seed in (1, 1)
    ]
    assert runs[0] == runs[1]


def test_nothing_to_probe() -> None:
    pipeline = tiny_pipeline()
    config = DollhouseConfig(**{**pipeline.model.config.to_dict(), "num_thinking_tokens": 0, "thinking_ids": []})
    silent = DollhousePipeline(type(pipeline.model)(config), pipeline.processor, "silent@0")
    with pytest.raises(ModelError, match=r"silent@0 has no thinking tokens .*nothing to probe"):
        probe_thinking(silent, "rooms:test/0-3", progress=False)


def test_scenes_that_cannot_be_judged(scenes: list[Scene], tmp_path: Path) -> None:
    bare = replace(scenes[1], boxes=None)
    with pytest.raises(SceneError, match="1 of 2 scenes have boxes"):
        probe_thinking(tiny_pipeline(), [scenes[0], bare], progress=False)
    probed = probe_thinking(tiny_pipeline(), [*scenes[:2], bare], questions_per_scene=3, ablations=[], progress=False)
    assert probed.result["scenes"] == {"source": None, "n": 2, "left_out": 1}
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make the folder"):
        probe_thinking(tiny_pipeline(), scenes[:2], out=tmp_path / "file" / "x", progress=False)
