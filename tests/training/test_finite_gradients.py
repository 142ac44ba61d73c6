"""Gradients of runs from scratch are finite; a run without finite gradients stops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dollhouse.data.collator import Batch
from dollhouse.errors import RecipeError
from dollhouse.training import trainer
from dollhouse.training.loss_module import LossModule
from dollhouse.training.recipes import check_recipe, read_recipe, read_tree
from dollhouse.training.train import distill

RECIPES = Path(__file__).parents[2] / "dollhouse" / "recipes"
BLIND, NANO = RECIPES / "rooms_nano_blind.yaml", RECIPES / "rooms_nano.yaml"
STAGES = ("pretrain_perception", "pretrain_retrieval", "pretrain_reasoning", "finetune_end_to_end")
SHORT = ["data.scenes=rooms:train/0-3", "stages.finetune_end_to_end.batch_size=1", "threads=1"]


def test_blind_student_of_many_blocks_has_finite_gradients(tmp_path: Path) -> None:
    """A prefix of zeros would make gradients grow at every norm."""
    recipe = read_recipe(
        BLIND, [*SHORT, "stages.finetune_end_to_end.steps=3", "stages.finetune_end_to_end.log_every=1"]
    )
    assert recipe.student.text["num_hidden_layers"] >= 10
    distill(recipe, tmp_path / "run", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["dropped_steps"] for line in lines if "text" in line] == [0, 0, 0]
    assert all(line["grad_norm"] > 0 for line in lines if "text" in line)


@pytest.mark.slow
def test_nano_has_finite_gradients_in_every_stage(tmp_path: Path) -> None:
    """Also with empty slots, whose token is learned."""
    steps = [f"stages.{stage}.{setting}" for stage in STAGES for setting in ("steps=1", "batch_size=2", "log_every=1")]
    recipe = read_recipe(NANO, ["data.scenes=rooms:train/0-1", "data.workers=0", "threads=1", *steps])
    assert list(recipe.stages) == list(STAGES)
    distill(recipe, tmp_path / "run", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    lines_with_gradient = [line for line in lines if "grad_norm" in line]
    assert len(lines_with_gradient) == len(STAGES)
    assert all(line["dropped_steps"] == 0 and line["grad_norm"] > 0 for line in lines_with_gradient)


def test_run_without_finite_gradients_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "MAX_NONFINITE_STEPS", 3)
    recipe = check_recipe(read_tree(BLIND, [*SHORT, "stages.finetune_end_to_end.steps=50"]), "nan.yaml")
    forward = LossModule.forward

    def diverged(self: LossModule, batch: Batch) -> dict[str, torch.Tensor]:
        return {name: value * torch.nan for name, value in forward(self, batch).items()}

    monkeypatch.setattr(LossModule, "forward", diverged)
    with pytest.raises(RecipeError, match="finetune_end_to_end: the gradients of 3 steps in a row were not finite"):
        distill(recipe, tmp_path / "run", progress=False)
