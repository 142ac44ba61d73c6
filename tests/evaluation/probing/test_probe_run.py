"""A whole probe on made scenes: what is written, what it agrees with, and what cannot be probed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from dollhouse.errors import ModelError, SceneError, StorageError
from dollhouse.evaluation.evaluate import evaluate
from dollhouse.evaluation.probing.ablations import CONTROLS, Control, embedded
from dollhouse.evaluation.probing.accuracy import OVERALL
from dollhouse.evaluation.probing.linear_probe import DISTANCE, NUMBER
from dollhouse.evaluation.probing.probe import probe_thinking
from dollhouse.evaluation.probing.table import print_probe
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.synthetic.room_scene import room_scene
from tests.evaluation.stand_ins import made_scene
from tests.models.conftest import tiny_pipeline


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [made_scene(number, views=2) for number in range(14)]


def test_a_probe_is_written_and_told(scenes: list[Scene], tmp_path: Path) -> None:
    out = tmp_path / "<probed>"
    probed = probe_thinking(
        tiny_pipeline(), scenes, questions_per_scene=5, out=out, progress=False, command="dollhouse <b>probe"
    )
    found = json.loads((out / "probe.json").read_text())
    assert found["verdict"] == probed.found["verdict"]
    assert set(found["controls"]) == {"untouched", *(control.name for control in CONTROLS)}
    for control in found["controls"].values():
        overall = control["groups"][OVERALL]
        assert 5 < overall["scenes"] <= 14
        assert overall["difference_ci95"] is not None
        assert overall["n"] == sum(
            entry["n"]
            for name, entry in control["groups"].items()
            if name in ("proximity", "contact", "size", "orientation")
        )
    assert found["thinking"] == {"tokens": 3, "placement": "before_question", "passes": 1, "blind": False}
    assert found["read_out"]["title"] == "untrained read-out"
    assert len(found["read_out"]["tokens"]) == 3
    assert {NUMBER, DISTANCE} <= set(found["decoding"]["targets"])
    rows = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert len(rows) == found["questions"]
    assert rows[0]["said"].keys() == set(found["controls"])
    page = (out / "probe.html").read_text()
    assert found["verdict"][:40] in page
    assert page.count("data:image/png") == 3
    assert "untrained read-out" in page
    assert "dollhouse &lt;b&gt;probe" in page
    assert "<b>probe" not in page
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115
    print_probe(found, console)
    told = console.export_text()
    assert all(control.name in told for control in CONTROLS)
    assert "untrained read-out" in told
    assert " ".join(told.split()).count(" ".join(found["verdict"].split())) == 1


@pytest.mark.parametrize(
    ("placement", "blind"), [("after_question", False), ("before_question", True), ("after_question", True)]
)
def test_other_students_are_probed_too(placement: str, blind: bool, scenes: list[Scene], tmp_path: Path) -> None:
    themselves = Control("themselves", "", embedded(lambda materials: materials.own))
    shuffled = next(control for control in CONTROLS if control.name == "shuffled")
    pipeline = tiny_pipeline(placement, blind)
    probed = probe_thinking(
        pipeline, scenes[:3], questions_per_scene=5, controls=[themselves, shuffled], out=tmp_path / "p", progress=False
    )
    for figure in probed.figures["themselves"].values():
        assert (figure.difference, figure.changed) == (0.0, 0.0)
    if blind:
        assert all(figure.changed == 0.0 for figure in probed.figures["shuffled"].values())
        assert "constant prefix" in probed.found["attention"]["rows"]["answer"]
    assert probed.found["decoding"]["targets"] == {}
    assert "Too few scenes" in (tmp_path / "p" / "probe.html").read_text()


def test_untouched_is_what_evaluate_says() -> None:
    """With a trained student: a random one stands at ties, which rounding decides."""
    pipeline, scenes = DollhousePipeline.from_pretrained(), [room_scene("test", number) for number in (3, 4)]
    probed = probe_thinking(pipeline, scenes, questions_per_scene=10, controls=[], progress=False)
    report = evaluate(pipeline, scenes, questions_per_scene=10, progress=False)
    said = {row["id"]: row["prediction"] for row in report.predictions if row["family"] != "description"}
    assert {row.id: row.said["untouched"] for row in probed.rows} == said
    overall = report.metrics["overall"]
    assert isinstance(overall, dict)
    assert probed.figures["untouched"][OVERALL].accuracy == pytest.approx(overall["accuracy"])


def test_the_same_seed_finds_the_same(scenes: list[Scene]) -> None:
    noise = [control for control in CONTROLS if control.name == "noise"]
    runs = [
        probe_thinking(
            tiny_pipeline(), scenes[:2], questions_per_scene=4, controls=noise, seed=seed, progress=False
        ).rows
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
    probed = probe_thinking(tiny_pipeline(), [*scenes[:2], bare], questions_per_scene=3, controls=[], progress=False)
    assert probed.found["scenes"] == {"source": None, "n": 2, "left_out": 1}
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make the folder"):
        probe_thinking(tiny_pipeline(), scenes[:2], out=tmp_path / "file" / "x", progress=False)
