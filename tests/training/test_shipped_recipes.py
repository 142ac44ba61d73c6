"""Every shipped recipe: a dry run of each stage, and the estimate of its student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dollhouse.training.config import RECIPES, Recipe, read_recipe
from dollhouse.training.estimate import profile
from dollhouse.training.estimate.recipe import estimate_recipe
from dollhouse.training.train import distill

SMALL = ["data.records=null", "data.scenes=rooms:train/0-1", "data.questions_per_scene=4", "data.workers=0"]
NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml"))
FULL_SIZE = ("paper", "tiny")  #: with VGGT-1B


def small(name: str) -> Recipe:
    """The recipe with two scenes a step, of rooms."""
    recipe = read_recipe(name, SMALL)
    stages = {stage: settings.model_copy(update={"batch_size": 2}) for stage, settings in recipe.stages.items()}
    return recipe.model_copy(update={"stages": stages})


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in FULL_SIZE)) for n in NAMES])
def test_shipped_recipes_can_be_estimated(name: str) -> None:
    recipe = small(name)
    estimate = estimate_recipe(recipe)
    assert [stage.name for stage in estimate.stages] == list(recipe.stages)
    assert all(memory.activations > 0 for memory in estimate.inference.values())
    for stage in estimate.stages:
        assert "text" not in recipe.stages[stage.name].losses or "text" in stage.losses
        assert stage.gradients > 0
        assert stage.trained + stage.frozen >= 0.9 * sum(module.parameters for module in estimate.parameters)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nano", "nano_distilled"])
def test_shipped_recipes_can_be_profiled(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_progress(*args: Any, **kwargs: Any) -> Path:
        return distill(*args, **kwargs, progress=False)

    monkeypatch.setattr(profile, "distill", without_progress)
    recipe = small(name)
    measured = profile.profile_training(recipe, tmp_path, steps=1, peak_flops=1e12)
    assert [len(stage.seconds) for stage in measured.stages] == [1] * len(recipe.stages)
