"""Initial models that cannot become what the recipe says."""

from __future__ import annotations

import pytest

from dollhouse.errors import RecipeError
from dollhouse.models.dollhouse.net2net import widen
from dollhouse.models.dollhouse.serialization import SHIPPED, load_student
from dollhouse.training.config import Recipe
from dollhouse.training.model_init import expand_model


def recipe_with(**settings: int) -> Recipe:
    stage = {"steps": 1, "losses": ["text"], "train": ["language_model"]}
    data = {"scenes": "rooms:train/0-1"}
    return Recipe.model_validate(
        {"name": "widened", "init_from": "nano", "data": data, "stages": {"s": stage}, **settings}
    )


def test_blind_model_cannot_be_widened() -> None:
    blind, _, _ = load_student(SHIPPED / "blind")
    with pytest.raises(RecipeError, match="blind model: it can be neither widened nor given depth and poses"):
        expand_model(blind, recipe_with(width_multiplier=2))


def test_rgbd_inputs_cannot_be_removed() -> None:
    model, _, _ = load_student()
    teacher = widen(model, width_multiplier=1, use_rgbd=True)
    with pytest.raises(RecipeError, match="set use_rgbd: true"):
        expand_model(teacher, recipe_with())
    assert expand_model(teacher, recipe_with(use_rgbd=True)) is teacher
