"""Every shipped recipe: a dry run of each stage, and the estimate of its student."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from dollhouse.training.config import Recipe
from dollhouse.training.estimate import profile
from dollhouse.training.estimate.recipe import estimate_recipe
from dollhouse.training.recipes import RECIPES, read_recipe
from dollhouse.training.train import distill

SMALL = ["data.records=null", "data.scenes=rooms:train/0-0", "data.questions_per_scene=1", "data.workers=0"]
NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml"))
SMALL_STUDENT = ["student.image_size=126", "student.text.num_hidden_layers=4"]
QUICK = ("nano_blind", "real_scene")
WITH_MUON = ("nano_blind", "nano_depth_teacher")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Targets of the room at the students' image sizes, rendered once."""
    return tmp_path_factory.mktemp("cache")


def small_recipe(name: str, cache: Path) -> Recipe:
    """Return a shipped recipe with one room a step, small photos and few language layers."""
    recipe = read_recipe(name, [*SMALL, f"data.cache={cache}"])
    if recipe.init_from is None:
        recipe = read_recipe(name, [*SMALL, *SMALL_STUDENT, f"data.cache={cache}"])
    update = {"batch_size": 1} | ({} if name in WITH_MUON else {"muon_learning_rate": 0.0})  # many small operations
    stages = {stage: settings.model_copy(update=update) for stage, settings in recipe.stages.items()}
    return recipe.model_copy(update={"stages": stages})


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in NAMES])
def test_every_stage_of_a_shipped_recipe_fits(name: str, cache: Path) -> None:
    recipe = small_recipe(name, cache)
    estimate = estimate_recipe(recipe, dtypes=[torch.float32])
    assert [stage.name for stage in estimate.stages] == list(recipe.stages)
    assert all(memory.activations > 0 for memory in estimate.inference.values())
    for stage in estimate.stages:
        assert "text" not in recipe.stages[stage.name].losses or "text" in stage.losses
        assert stage.gradients > 0
        assert stage.trained + stage.frozen >= 0.9 * sum(module.parameters for module in estimate.parameters)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nano", "nano_distilled"])
def test_shipped_recipes_can_be_profiled(
    name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "distill", partial(distill, progress=False))
    recipe = small_recipe(name, cache)
    measured = profile.profile_training(recipe, tmp_path, steps=1, peak_flops=1e12)
    assert [len(stage.seconds) for stage in measured.stages] == [1] * len(recipe.stages)
