"""The shipped student: its size, and scores near those of its model card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dollhouse.errors import ModelError, SceneError
from dollhouse.evaluation.benchmark_runner import run_benchmark
from dollhouse.evaluation.evaluate import evaluate
from dollhouse.evaluation.oracle_boxes import OracleBoxesModel
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.dollhouse.serialization import SHIPPED
from dollhouse.runtime.certificate import COMMON, check_certificate, read_certificate
from dollhouse.scenes.open import open_scene
from dollhouse.system.hashing import file_hash
from dollhouse.training.recipes import read_recipe
from dollhouse.training.train import distill

ROOT = Path(__file__).parents[1]
OFFICE = ROOT / "../shared/data/holo_office_a"
REAL = ROOT / "../shared/data/real"

pytestmark = pytest.mark.skipif(not SHIPPED.is_dir(), reason="the shipped model is not in this tree")


@pytest.fixture(scope="module")
def pipeline() -> DollhousePipeline:
    return DollhousePipeline.from_pretrained()


def test_fits_the_package() -> None:
    student = sum(path.stat().st_size for path in SHIPPED.iterdir() if path.is_file())
    everything = sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file())
    assert student <= 20_000_000
    assert everything <= 45_000_000


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the photos of real rooms of ../shared are not beside this tree")
def test_photos_of_real_rooms_are_answered_better_than_blind() -> None:
    """All 785 questions of the benchmark: near the card's figures, and better than by guessing from the question."""
    scores = run_benchmark("real-photos", "checkpoint", REAL, (), progress=False).scores
    assert scores["overall"]["value"] > 0.54
    assert scores["more"]["over_blind"]["overall"]["value"] > 0.05


@pytest.mark.slow
def test_oracle_boxes_raise_accuracy(pipeline: DollhousePipeline) -> None:
    """Told the true boxes of procedural rooms, the language model knows what is there."""
    scenes = "rooms:validation/0-9"
    scores: Any = evaluate(OracleBoxesModel(pipeline), scenes, progress=False).metrics
    predicted: Any = evaluate(pipeline, scenes, progress=False).metrics
    with_boxes, without = (each["others"]["existence"]["accuracy"] for each in (scores, predicted))
    assert with_boxes > max(0.8, without + 0.15)
    assert scores["boxes"] == predicted["boxes"]


def test_oracle_boxes_need_annotations(pipeline: DollhousePipeline) -> None:
    room = open_scene("rooms:validation/0")
    with pytest.raises(SceneError, match="no oracle boxes"):
        OracleBoxesModel(pipeline).encode_scene(replace(room, boxes=None))
    with pytest.raises(ModelError, match="blind"):
        OracleBoxesModel(DollhousePipeline.from_pretrained(SHIPPED / "blind"))


@pytest.mark.skipif(not OFFICE.is_dir(), reason="the real scenes of ../shared are not beside this tree")
def test_real_photos_are_answered(pipeline: DollhousePipeline) -> None:
    session = pipeline.encode_scene(open_scene(OFFICE))
    assert all(session.ask(["How many chairs are there?", "Describe the room."]))
    assert np.isfinite(session.depth).all()


@pytest.mark.slow
@pytest.mark.skipif(not OFFICE.is_dir(), reason="the real scenes of ../shared are not beside this tree")
def test_distilling_on_a_real_scene_helps_its_held_out_frames(pipeline: DollhousePipeline, tmp_path: Path) -> None:
    """Sensor depth and poses as targets, no boxes: depth of frames that were never shown gets better."""
    settings = [f"data.scenes={OFFICE}", "stages.finetune.steps=25", "data.workers=0"]
    model = distill(read_recipe("real_scene", settings), tmp_path / "office", progress=False)
    held_out = [open_scene(OFFICE).hold_out(4)[1]]
    before = evaluate(pipeline, held_out, progress=False).metrics["depth"]
    after = evaluate(DollhousePipeline.from_pretrained(model), held_out, progress=False).metrics["depth"]
    assert after["abs_rel"] < 0.8 * before["abs_rel"]  # type: ignore[index]
    lines = [json.loads(line) for line in (tmp_path / "office/metrics.jsonl").read_text().splitlines()]
    assert not any("detection" in line or "voting" in line or "text" in line for line in lines), (
        "no boxes, no such loss"
    )


def test_exported_graphs_are_those_of_the_student(pipeline: DollhousePipeline) -> None:
    """No torch is installed by default: then these answer."""
    folder = SHIPPED / "onnx"
    assert read_certificate(folder)["weights"] == file_hash(SHIPPED / "model.safetensors")
    assert all((folder / name).read_bytes() == (SHIPPED / name).read_bytes() for name in COMMON)
    assert check_certificate(folder) == "float16"
    questions = ["Is there a sofa?", "How many pictures are there?", "Which is bigger, the sofa or the picture?"]
    torch_session = pipeline.encode_scene("example")
    session = DollhousePipeline.from_pretrained(engine="onnx").encode_scene("example")
    assert session.ask(questions) == torch_session.ask(questions)
    np.testing.assert_allclose(session.depth, torch_session.depth, rtol=5e-3)
