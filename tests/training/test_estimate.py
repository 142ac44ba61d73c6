"""Estimates: parameters, and memory within a tenth of the measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dollhouse.cli.estimate import estimate
from dollhouse.errors import DollhouseError
from dollhouse.models.vggt.modeling import VggtModel
from dollhouse.training.estimate.live_memory import LiveMemory, without_memory
from dollhouse.training.estimate.memory import (
    ModuleParameters,
    disk_bytes,
    estimate_inference,
    estimate_vggt,
    predict_with_heads,
)
from dollhouse.training.estimate.recipe import paper_count
from dollhouse.training.recipes import read_recipe
from tests.models.conftest import tiny_pipeline
from tests.models.vggt.tiny_vggt import HEADS, tiny_config

RECIPES = Path(__file__).parents[2] / "dollhouse" / "recipes"


def test_live_memory_counts_live_tensors() -> None:
    fake, model = without_memory(lambda: torch.nn.Linear(100, 50, bias=False))
    live = LiveMemory(model.parameters())
    with fake, live, torch.no_grad():
        given = torch.empty(10, 100)
        assert live.now == 4 * 1000
        made = model(given)
        assert live.now == 4 * 1500
        view = made[:5]
        del given, made
        assert live.now == 4 * 500, "a view keeps its whole storage alive"
        del view
    assert (live.now, live.peak) == (0, 4 * 1500)


def test_paper_recipe_has_the_parameters_of_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    estimate("paper", views=2, size="140x112", training=False)
    output = capsys.readouterr().out
    for figure in ("909,112,320", "32,654,562", "2,294,548,664", "(2.29B)", "9.18 GB in float32"):
        assert figure in output
    assert "language model and connections 1.35B" in output
    assert "inference: 2 views of 140x112" in output


def test_a_student_with_a_stem_of_convolutions_is_estimated(capsys: pytest.CaptureFixture[str]) -> None:
    """Its stem stays in float32 where the rest is bfloat16."""
    estimate("nano", training=False)
    assert "bfloat16" in capsys.readouterr().out


def test_tiny_has_the_reduced_language_model() -> None:
    text = read_recipe(RECIPES / "tiny.yaml").student.text
    assert (text["num_hidden_layers"], text["hidden_size"], text["vocab_size"]) == (12, 1024, 32000)


def test_sizes_on_disk() -> None:
    sizes = disk_bytes([ModuleParameters("a", 1100, 1000), ModuleParameters("b", 2048, 2048)])
    assert sizes == {
        "float32": 4 * 3148,
        "bfloat16": 2 * 3148,
        "int8": round(3048 * (1 + 2 / 1024) + 2 * 100),
        "int4": round(3048 * (0.5 + 2 / 32) + 2 * 100),
    }
    assert paper_count([ModuleParameters("trunk", 5, 5)]) == (5, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "518by392"}, "not WIDTHxHEIGHT"),
        ({"size": "500x392", "heads": ""}, "multiples of 14"),
        ({"size": "28x28", "heads": "dance"}, "no such heads"),
    ],
)
def test_impossible_estimates_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(DollhouseError, match=message):
        estimate("vggt", dtype="float32", **options)


def test_recipes_that_do_not_exist() -> None:
    with pytest.raises(DollhouseError, match=r"cannot read recipe papr.*paper"):
        estimate("papr", training=False)


def test_wrong_weights_are_named_before_anything_is_estimated(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "model.pt")
    with pytest.raises(DollhouseError, match="tensors do not match the model"):
        estimate("vggt", size="28x28", heads="depth", weights=tmp_path / "model.pt")


def test_activations_grow_with_views_at_once() -> None:
    def activations(views: int, **changes: object) -> int:
        return estimate_vggt(tiny_config("dinov2", HEADS, **changes), views, 56, 56, torch.float32).memory.activations

    assert activations(8) > 1.5 * activations(4)
    assert activations(8, views_at_once=1) < 0.7 * activations(8)


def test_inference_estimate_of_a_student() -> None:
    model = tiny_pipeline().model
    plan = estimate_inference(model.config, 2, 28, 28, torch.float32)
    assert plan.weights == sum(parameter.nbytes for parameter in model.parameters())
    assert plan.activations > 0


MEASURED = """
import json, sys, torch
from dollhouse.training.estimate.memory import estimate_vggt, peak_resident_bytes, predict_with_heads
from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.models.vggt.modeling import VggtModel
torch.set_num_threads(1)
views, height, width, shape = json.loads(sys.argv[1])
config = VggtConfig(**shape)
with torch.inference_mode():
    torch.nn.Conv2d(3, 3, 3)(torch.zeros(1, 3, 8, 8))
plan = estimate_vggt(config, views, height, width, torch.float32)
with torch.device("meta"):
    model = VggtModel(config).eval()
model = model.to_empty(device="cpu")
for parameter in model.parameters():
    parameter.data.fill_(0.01)
with torch.inference_mode():
    predict_with_heads(model, torch.rand(1, views, 3, height, width))
print(json.dumps([plan.memory.peak, peak_resident_bytes()]))
"""
MID_SIZE = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "patch_embed": "conv",
    "heads": ["depth"],
    "dpt_head": {"features": 128, "out_channels": [128, 256, 256, 256], "layers": [0, 1, 2, 3]},
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_estimated_memory_is_within_a_tenth_of_the_measured() -> None:
    """Activations are the larger part here."""
    case = json.dumps([4, 280, 280, MID_SIZE])
    process = subprocess.run([sys.executable, "-c", MEASURED, case], check=True, capture_output=True, text=True)
    predicted, measured = json.loads(process.stdout)
    assert predicted == pytest.approx(measured, rel=0.1)


def test_predict_with_heads() -> None:
    fake, model = without_memory(lambda: VggtModel(tiny_config(heads=HEADS)))
    with fake, torch.no_grad():
        outputs = predict_with_heads(model, torch.empty(1, 2, 3, 28, 42))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "cameras": (1, 2, 9),
        "depth": (1, 2, 28, 42, 1),
        "points": (1, 2, 28, 42, 3),
    }
