"""What a model to begin with cannot become is said in words."""

from __future__ import annotations

import pytest

from dollhouse.errors import RecipeError
from dollhouse.models.dollhouse.checkpoint import SHIPPED, load_student
from dollhouse.models.dollhouse.net2net import widen
from dollhouse.training.config import Recipe
from dollhouse.training.model_init import expand_model


def asked_for(**settings: int) -> Recipe:
    speak = {"steps": 1, "losses": ["text"], "train": ["language_model"]}
    data = {"scenes": "rooms:train/0-1"}
    return Recipe.model_validate(
        {"name": "grown", "init_from": "nano", "data": data, "stages": {"s": speak}, **settings}
    )


def test_a_blind_model_cannot_grow() -> None:
    blind, _, _ = load_student(SHIPPED / "blind")
    with pytest.raises(RecipeError, match="blind model: it can be neither widened nor given depth and poses"):
        expand_model(blind, asked_for(width_multiplier=2))


def test_sensors_are_never_taken_away() -> None:
    model, _, _ = load_student()
    teacher = widen(model, width_multiplier=1, use_rgbd=True)
    with pytest.raises(RecipeError, match="set use_rgbd: true"):
        expand_model(teacher, asked_for())
    assert expand_model(teacher, asked_for(use_rgbd=True)) is teacher
