"""Weighting of losses, and their plot."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dollhouse.errors import RecipeError, StorageError
from dollhouse.training.config import LossName
from dollhouse.training.loss_weighting import (
    STATIC_WEIGHTS,
    StaticWeighting,
    UncertaintyWeighting,
    build_weighting,
    read_log_sigma,
)
from dollhouse.training.optim import SIGMA_LEARNING_RATE
from dollhouse.training.plots import losses_of, plot_losses, read_stages
from dollhouse.training.recipes import read_recipe
from dollhouse.training.train import distill
from tests.fixtures.recipes import STAGE, tiny_recipe

NANO = Path(__file__).parents[2] / "dollhouse" / "recipes" / "rooms_nano.yaml"
NAMES = ["text", "depth_reg", "spatial"]


def losses(**values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def test_uncertainty_weighting_reaches_the_optimum_of_eq_2() -> None:
    weighting = UncertaintyWeighting(NAMES)
    with torch.no_grad():
        weighting.log_sigma["text"].fill_(0.3)
    expected = 2.0 / (2 * math.exp(0.3) ** 2) + 0.3 + 0.4 / 2
    assert float(weighting(losses(text=2.0, spatial=0.4)).detach()) == pytest.approx(expected)
    optimizer = torch.optim.Adam(weighting.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        weighting(losses(text=2.0, spatial=0.4)).backward()
        optimizer.step()
    weights = weighting.weights()
    assert (weights["text"], weights["spatial"]) == (pytest.approx(0.25, rel=1e-2), pytest.approx(1.25, rel=1e-2))
    assert weights["depth_reg"] == 0.5, "an absent loss changes no weight"


def test_log_sigma_is_kept_over_stages(tmp_path: Path) -> None:
    stage = {
        **STAGE,
        "steps": 8,
        "log_every": 1,
        "losses": ["text", "depth_reg"],
        "train": ["encoder", "depth_head", "language_model"],
    }
    distill(tiny_recipe(stages={"one": stage, "two": {**stage, "losses": ["text"]}}), tmp_path, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    end, start = [lines[at] for at in (7, 8)]
    assert (end["stage"], start["stage"]) == ("one", "two")
    stored = read_log_sigma(tmp_path / "one" / "log_sigma.json")
    assert stored.keys() == {"text", "depth_reg"}
    assert end["weight_text"] == pytest.approx(0.5 * math.exp(-2 * stored["text"]), abs=1e-4)
    assert abs(stored["text"]) > 2 * SIGMA_LEARNING_RATE
    first = -0.5 * math.log(2 * start["weight_text"])
    assert abs(first - stored["text"]) < 1.01 * SIGMA_LEARNING_RATE, "one step from where stage one ended"


@pytest.mark.parametrize("content", ["[]", '{"text": "1"}', '{"text"'])
def test_damaged_log_sigma_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "log_sigma.json").write_text(content)
    with pytest.raises(StorageError, match="delete it"):
        read_log_sigma(tmp_path / "log_sigma.json")


@pytest.mark.parametrize("kind", ["uncertainty", "static", "equal"])
def test_parts_of_a_loss_are_not_added_again(kind: str) -> None:
    weighting = build_weighting(kind, NAMES, {})  # type: ignore[arg-type]
    whole = losses(text=1.0, spatial=0.5)
    assert torch.equal(weighting({**whole, **losses(**{"spatial/views": 0.5})}), weighting(whole))


def test_static_weights_cover_every_loss_and_can_be_set() -> None:
    assert set(STATIC_WEIGHTS) == set(get_args(LossName))
    assert build_weighting("equal", NAMES, {}).weights() == dict.fromkeys(NAMES, 1.0)
    recipe = read_recipe(NANO, ["loss_weighting=static", "static_weights={text: 3}"])
    weighting = build_weighting(recipe.loss_weighting, NAMES, dict(recipe.static_weights))  # type: ignore[arg-type]
    assert isinstance(weighting, StaticWeighting)
    assert weighting.weights() == {"text": 3.0, "depth_reg": STATIC_WEIGHTS["depth_reg"], "spatial": 1.0}
    assert float(weighting(losses(text=2.0, spatial=0.5))) == 6.5


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["static_weights={text: 3}"], "choose that"),
        (["loss_weighting=static", "static_weights={text: -1}"], "greater than or equal to 0"),
        (["loss_weighting=static", "static_weights={texts: 1}"], "static_weights.texts"),
        (["stages.pretrain_perception.losses=[text_kl]"], "add the loss text"),
        (
            ["student.relation_head=false", "stages.pretrain_perception.losses=[spatial]"],
            "take out spatial",
        ),
        (["student.depth_bins=1"], "greater than or equal to 2"),
        (["stages.pretrain_perception.temperature=0"], "greater than 0"),
    ],
)
def test_contradictory_recipes_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe(NANO, overrides)


def write_metrics(folder: Path, steps: int) -> Path:
    path = folder / "metrics.jsonl"
    lines = []
    for stage, names in (("pretrain_perception", ["depth_reg", "spatial"]), (r"$\frac$", ["text"])):
        for step in range(1, steps + 1):
            values = {name: 1 / step for name in names} | {f"weight_{name}": step / 10 for name in names}
            lines.append({"stage": stage, "step": step, "loss": 2.0, "spatial/views": 0.1, "grad_norm": 1.0, **values})
        lines.append({"stage": stage, "step": steps, "train_runtime": 3.0, "train_loss": 1.0})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_plot_of_losses_by_stage(tmp_path: Path) -> None:
    path = write_metrics(tmp_path, 1000)
    stages = read_stages(path)
    assert {stage: losses_of(lines[0]) for stage, lines in stages.items()} == {
        "pretrain_perception": ["depth_reg", "spatial"],
        r"$\frac$": ["text"],
    }
    assert all(300 <= len(lines) <= 600 for lines in stages.values())
    assert plot_losses(path, tmp_path / "curves.png")
    picture = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB"))
    assert picture.shape[0] > 600
    assert (picture != 255).any(-1).mean() > 0.01
    assert plot_losses(path, tmp_path / "curves.png"), "the plot of a resumed run is replaced"


def test_no_plot_without_steps(tmp_path: Path) -> None:
    assert not plot_losses(tmp_path / "none.jsonl", tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
    metrics = write_metrics(tmp_path, 2)
    with pytest.raises(StorageError, match="cannot write"):
        plot_losses(metrics, metrics / "curves.png")
