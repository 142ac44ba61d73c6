"""A teacher's recipe: what is shipped can be read, and what does not fit is told in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dollhouse.distill.nano_teacher.recipe import read_nano_teacher
from dollhouse.errors import RecipeError
from dollhouse.teachers.llava3d.config import LICENCE
from tests.distill.nano_teacher.made import TINY, tiny_recipe

SHIPPED = Path(__file__).parents[3] / "recipes" / "nano_teacher.yaml"


def test_shipped_recipe_makes_a_model_of_a_few_million() -> None:
    recipe = read_nano_teacher(SHIPPED, ["stages.see.steps=7"])
    assert recipe.stages["see"].steps == 7
    config = recipe.config(recipe.model.vocabulary)
    assert (config.axes, config.image_size, config.text.vocab_size) == ("named_view", 126, 1024)
    assert config.licence != LICENCE  # trained from scratch on made rooms: nothing of the released weights is in it


def stage(**changes: Any) -> dict[str, Any]:
    return {"stages": {"see": {**TINY["stages"]["see"], **changes}}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (stage(losses=["depth_reg"]), "no loss depth_reg"),
        (stage(train=["trunk"]), "no part trunk"),
        (stage(mirror=True), "mirror is for students"),
        (stage(steps=0), "stages.see.steps"),
        ({"data": {**TINY["data"], "scenes": "scans/"}}, "made rooms"),
        ({"name": "a/b"}, "name"),
        ({"modell": {}}, "modell"),
    ],
)
def test_what_does_not_fit(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        tiny_recipe(**changes)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sizes_that_no_model_can_have() -> None:
    recipe = tiny_recipe(model={**TINY["model"], "text": {**TINY["model"]["text"], "num_attention_heads": 5}})
    with pytest.raises(RecipeError, match="model: "):
        recipe.config(500)
