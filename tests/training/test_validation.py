"""Held-out losses while a stage trains, and the weights that are kept by them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dollhouse.data.config import SamplingConfig
from dollhouse.errors import RecipeError
from dollhouse.training.config import Recipe
from dollhouse.training.recipes import check_recipe
from dollhouse.training.train import distill
from dollhouse.training.validation import Validation, validation_sampling
from tests.fixtures.recipes import TINY, tiny_tree

HELD_OUT = {**TINY["data"], "scenes": "rooms:validation/0-2"}


def perception(**changes: object) -> Recipe:
    stage = {**TINY["stages"]["pretrain_perception"], "steps": 6, "validate_every": 2, **changes}
    return check_recipe(tiny_tree(stages={"only": stage}, validation=HELD_OUT), "test")


def lines_of(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "validation" in line]


def test_the_best_weights_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores are made to fall and rise again."""
    measured = iter([2.0, 1.0, 4.0])
    monkeypatch.setattr(Validation, "measure", lambda self: {"depth_reg": next(measured)})
    kept: dict[int, dict[str, torch.Tensor]] = {}
    store = Validation._store

    def remember(self: Validation, best: dict, weights: dict[str, torch.Tensor]) -> None:
        kept[best["step"]] = {name: value.clone() for name, value in weights.items()}
        store(self, best, weights)

    monkeypatch.setattr(Validation, "_store", remember)
    distill(perception(), tmp_path, progress=False)
    assert [(line["step"], line["validation"]) for line in lines_of(tmp_path)] == [(2, 1.0), (4, 0.5), (6, 2.0)]
    assert list(kept) == [2, 4]
    assert [path.name for path in (tmp_path / "only").glob("best-*")] == ["best-4.safetensors"]
    ends = load_file(tmp_path / "only" / "student.safetensors")
    assert all(torch.equal(value, ends[name]) for name, value in kept[4].items())
    assert any(not torch.equal(value, ends[name]) for name, value in kept[2].items())


def test_it_changes_nothing_of_training(tmp_path: Path) -> None:
    """The last weights are those of a run without it; measured losses are those of the finished model."""
    plain = check_recipe(tiny_tree(stages={"only": {**TINY["stages"]["pretrain_perception"], "steps": 6}}), "test")
    distill(plain, tmp_path / "plain", progress=False)
    distill(perception(), tmp_path / "with", progress=False)
    for step in (4, 6):
        name = f"only/checkpoint-{step}/model.safetensors"
        with_it, without = load_file(tmp_path / "with" / name), load_file(tmp_path / "plain" / name)
        assert all(torch.equal(value, with_it[key]) for key, value in without.items())
    measured = lines_of(tmp_path / "with")
    assert [line["step"] for line in measured] == [2, 4, 6]
    assert {"validation_depth_reg", "validation_voting", "validation_detection"} <= measured[0].keys()
    assert measured[0]["validation"] == 1.0


def test_an_interrupted_run_keeps_the_same_weights(tmp_path: Path) -> None:
    distill(perception(), tmp_path / "whole", progress=False)
    distill(perception(), tmp_path / "again", progress=False)
    again = tmp_path / "again/only"
    (again / "student.safetensors").unlink()
    for path in again.glob("checkpoint-6*"):  # as after a kill behind the last measurement
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    distill(perception(), tmp_path / "again", progress=False)
    assert lines_of(tmp_path / "again") == lines_of(tmp_path / "whole")
    first, second = (load_file(tmp_path / run / "only/student.safetensors") for run in ("whole", "again"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_samples_are_drawn_once_and_unchanged() -> None:
    stage = SamplingConfig(steps=50, batch_size=4, horizontal_flip_prob=0.5, crop_zoom=(1, 2), rename_labels=0.3)
    drawn = validation_sampling(stage, 10)
    assert drawn == replace(SamplingConfig(steps=3, batch_size=4), questions_per_scene=stage.questions_per_scene)


def test_settings_that_do_not_fit() -> None:
    tree = tiny_tree()
    tree["stages"]["pretrain_perception"]["validate_every"] = 2
    with pytest.raises(RecipeError, match=r"validate_every needs validation\.scenes"):
        check_recipe(tree, "test")
    with pytest.raises(RecipeError, match="validation is used by no stage"):
        check_recipe(tiny_tree(validation=HELD_OUT), "test")


def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dollhouse.training.trainer.find_spec", lambda name: None)
    tree = tiny_tree(trackers=["mlflow"])
    with pytest.raises(RecipeError, match="mlflow is not installed: pip install mlflow"):
        distill(check_recipe(tree, "test"), tmp_path, progress=False)
