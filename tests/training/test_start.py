"""What a model to begin with cannot become is said in words."""

from __future__ import annotations

import pytest

from dollhouse.errors import RecipeError
from dollhouse.models.dollhouse.checkpoint import SHIPPED, load_student
from dollhouse.models.dollhouse.net2net import widen
from dollhouse.training.config import Recipe
from dollhouse.training.model_init import expand_model


def asked_for(**settings: bool) -> Recipe:
    speak = {"steps": 1, "losses": ["text"], "train": ["language_model"]}
    data = {"scenes": "rooms:train/0-1"}
    return Recipe.model_validate(
        {"name": "grown", "start_from": "nano", "data": data, "stages": {"s": speak}, **settings}
    )


def test_a_blind_model_cannot_grow() -> None:
    blind, _, _ = load_student(SHIPPED / "blind")
    with pytest.raises(RecipeError, match="blind model: it can neither be wider nor have sensors"):
        expand_model(blind, asked_for(wider=True))


def test_sensors_are_never_taken_away() -> None:
    model, _, _ = load_student()
    teacher = widen(model, width_multiplier=1, use_rgbd=True)
    with pytest.raises(RecipeError, match="set sensors: true"):
        expand_model(teacher, asked_for())
    assert expand_model(teacher, asked_for(sensors=True)) is teacher
