"""Every shipped recipe: a dry run of each stage, and the estimate of its student."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from dollhouse.training.config import Recipe
from dollhouse.training.estimate.dry_run import StageEstimate, dry_run
from dollhouse.training.estimate.recipe import estimate_recipe
from dollhouse.training.recipes import RECIPES, find_recipe, read_recipe, read_tree

ROOM = "rooms:train/0-0"
SMALL = ["data.questions_per_scene=1", "data.workers=0"]
SMALL_STUDENT = ["student.image_size=126", "student.text.num_hidden_layers=4"]
NO_FILES = [f"student.{name}=null" for name in ("language_from", "tokenizer", "encoder_weights")]
QUICK, ESTIMATED = "real_scene", "rooms_nano_blind"
NAMES = sorted({path.stem for path in RECIPES.glob("*.yaml")} - {ESTIMATED})
WITH_MUON = ("rooms_nano_blind", "nano_depth_teacher")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Targets of the room at the students' image sizes, rendered once."""
    return tmp_path_factory.mktemp("cache")


def small_recipe(name: str, cache: Path) -> Recipe:
    """Return a shipped recipe with one room a step, small photos and few language layers."""
    tree = read_tree(find_recipe(name))
    sources = {source: {"scenes": ROOM} for source in tree["data"].get("sources", {})}
    scenes = [f"data.sources={json.dumps(sources)}"] if sources else ["data.records=null", f"data.scenes={ROOM}"]
    small = [*scenes, *SMALL, f"data.cache={cache}"]
    if str(tree.get("init_from", "")).startswith("runs/"):  # of another recipe's run
        small.append("init_from=nano")
    recipe = read_recipe(name, small)
    if recipe.init_from is None:
        recipe = read_recipe(name, [*small, *SMALL_STUDENT, *NO_FILES])
    update = {"batch_size": 1, "micro_batches": 1}
    if name not in WITH_MUON:
        update["muon_learning_rate"] = 0  # many small operations
    stages = {stage: settings.model_copy(update=update) for stage, settings in recipe.stages.items()}
    return recipe.model_copy(update={"stages": stages})


def check_stages(recipe: Recipe, stages: Sequence[StageEstimate]) -> None:
    assert [stage.name for stage in stages] == list(recipe.stages)
    for stage in stages:
        assert "text" not in recipe.stages[stage.name].losses or "text" in stage.losses
        assert stage.gradients > 0


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == QUICK else pytest.mark.slow) for n in NAMES])
def test_every_stage_of_a_shipped_recipe_fits(name: str, cache: Path) -> None:
    recipe = small_recipe(name, cache)
    check_stages(recipe, dry_run(recipe))


def test_parameters_are_trained_or_frozen(cache: Path) -> None:
    recipe = small_recipe(ESTIMATED, cache)
    estimate = estimate_recipe(recipe, dtypes=[torch.float32])
    check_stages(recipe, estimate.stages)
    assert all(memory.activations > 0 for memory in estimate.inference.values())
    for stage in estimate.stages:
        assert stage.trained + stage.frozen >= 0.9 * sum(module.parameters for module in estimate.parameters)
