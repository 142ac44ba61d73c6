"""What a model to begin with cannot become is said in words."""

from __future__ import annotations

import pytest

from dollhouse.distill.recipe import Recipe
from dollhouse.distill.start import enlarged
from dollhouse.errors import RecipeError
from dollhouse.student.checkpoint import SHIPPED, load_student
from dollhouse.student.growth import grown


def asked_for(**settings: bool) -> Recipe:
    speak = {"steps": 1, "losses": ["text"], "train": ["language_model"]}
    data = {"scenes": "rooms:train/0-1"}
    return Recipe.model_validate(
        {"name": "grown", "start_from": "nano", "data": data, "stages": {"s": speak}, **settings}
    )


def test_a_blind_model_cannot_grow() -> None:
    blind, _, _ = load_student(SHIPPED / "blind")
    with pytest.raises(RecipeError, match="blind model: it can neither be wider nor have sensors"):
        enlarged(blind, asked_for(wider=True))


def test_sensors_are_never_taken_away() -> None:
    model, _, _ = load_student()
    teacher = grown(model, wider=False, sensors=True)
    with pytest.raises(RecipeError, match="set sensors: true"):
        enlarged(teacher, asked_for())
    assert enlarged(teacher, asked_for(sensors=True)) is teacher
