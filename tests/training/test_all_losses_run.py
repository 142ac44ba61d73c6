"""Runs of every loss: logged values, and heads that the initial model lacks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.serialization import load_student
from dollhouse.training.estimate.dry_run import dry_run
from dollhouse.training.recipes import check_recipe
from dollhouse.training.stage import set_trainable
from dollhouse.training.train import distill, prepare_student
from tests.fixtures.teacher_targets import (
    EVERY_LOSS,
    LOSS_PARTS,
    every_loss_recipe,
    every_loss_tree,
)


def test_run_and_dry_run_of_every_loss(synthetic_teacher: None, tmp_path: Path) -> None:
    recipe = every_loss_recipe()
    check = dry_run(recipe)[0]
    assert set(check.losses) == {*EVERY_LOSS} | LOSS_PARTS
    assert not check.without_gradient
    folder = distill(recipe, tmp_path / "run", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    lines_with_losses = [line for line in lines if "text" in line]
    assert len(lines_with_losses) == 3
    for line in lines_with_losses:
        assert {*EVERY_LOSS, *LOSS_PARTS, *(f"weight_{name}" for name in EVERY_LOSS)} <= line.keys()
        assert all(np.isfinite(line[name]) for name in (*EVERY_LOSS, *LOSS_PARTS))
        assert line["dropped_steps"] == 0
    student, _, _ = load_student(folder)
    assert student.config.depth_bins == 32
    assert student.config.relation_head
    assert (tmp_path / "run" / "curves.png").stat().st_size > 10_000


def test_missing_heads_are_initialised_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = {**every_loss_tree()["stages"]["all"], "losses": ["depth_reg", "text"], "steps": 1}
    folder = distill(every_loss_recipe(stages={"all": plain}), tmp_path / "plain", progress=False)
    before, _, _ = load_student(folder)
    assert (before.config.depth_bins, before.config.relation_head) == (0, False)
    tree = {key: value for key, value in every_loss_tree().items() if key != "student"}
    stage = {**every_loss_tree()["stages"]["all"], "losses": ["depth_ce", "spatial"], "train": ["trunk"]}
    recipe = check_recipe({**tree, "init_from": str(folder), "stages": {"all": stage}}, "made")
    capsys.readouterr()
    model, _, _ = prepare_student(recipe, tmp_path)
    line = capsys.readouterr().out.splitlines()
    assert len(line) == 1
    assert "no depth_bin_head and no relation_head" in line[0]
    assert torch.equal(model.trunk.proj_in.weight, before.trunk.proj_in.weight)
    assert float(model.depth_bin_head.mlp[0].weight.detach().std()) == pytest.approx(0.02, rel=0.2)
    trained = set_trainable(recipe.stages["all"], model)
    assert trained == {"trunk", "depth_bin_head", "relation_head"}
    model.save_pretrained(tmp_path / "checkpoint")
    reloaded = DollhouseForConditionalGeneration.from_pretrained(tmp_path / "checkpoint")
    assert torch.equal(reloaded.relation_head.first.weight, model.relation_head.first.weight)
