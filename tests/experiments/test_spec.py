"""The specification: every row resolves to a valid recipe; a new row needs YAML only; faults are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dollhouse.errors import RecipeError
from experiments.paper.spec import TABLES, read_spec

SPEC = read_spec()
ROWS = [(key, name) for key in SPEC.tables for name in SPEC.rows_of(key)]


@pytest.mark.parametrize(("key", "name"), ROWS)
def test_every_row_resolves(key: str, name: str) -> None:
    row = SPEC.rows_of(key)[name]
    assert row.name == name
    if row.recipe is not None:
        for seed in SPEC.seeds_of(row):
            recipe = SPEC.recipe_of(row, seed)
            stage = next(iter(recipe.stages.values()))
            assert recipe.seed == seed
            assert recipe.data.scenes
            assert not set(row.drop_losses) & set(stage.losses)
            assert set(row.add_losses) <= set(stage.losses)


def test_rows_are_the_papers() -> None:
    names, published = set(SPEC.rows_of("table-II")), SPEC.tables["table-II"].paper
    assert published is not None
    assert {row[0] for row in published.rows} - names == {"without feature"}, "which needs a teacher's features"
    rows = SPEC.rows_of("table-III").values()
    assert {row.init.num_thinking_tokens for row in rows} == {0, 4, 8, 16}
    assert {row.init.placement for row in rows} == {"before_question", "after_question"}
    assert {row.scenes for row in rows} == {SPEC.tables["table-III"].scenes}


def test_a_row_can_repeat_another() -> None:
    repeated, original = SPEC.rows_of("optimum")["all losses"], SPEC.rows_of("table-II")["all losses"]
    assert (repeated.recipe, repeated.init) == (original.recipe, original.init)
    assert SPEC.seeds_of(original) == [0, 1, 2]
    assert SPEC.seeds_of(repeated) == [0, 1, 2, 3, 4]


def test_a_run_from_random_weights_starts_from_no_model() -> None:
    rows = SPEC.rows_of("table-II"), SPEC.rows_of("table-III")
    scratch, tuned = (SPEC.recipe_of(next(iter(each.values())), 0) for each in rows)
    assert (scratch.init_from, tuned.init_from) == (None, "nano")


def test_a_new_row_needs_yaml_only(tmp_path: Path) -> None:
    tree = yaml.safe_load(TABLES.read_text())
    row = {"name": "long", "recipe": "losses", "drop_losses": ["camera"]}
    tree["tables"]["table-II"]["rows"].append(row | {"changes": {"stages.train.steps": 7, "loss_weighting": "equal"}})
    (tmp_path / "tables.yaml").write_text(yaml.safe_dump(tree))
    spec = read_spec(tmp_path / "tables.yaml")
    recipe = spec.recipe_of(spec.rows_of("table-II")["long"], 3)
    assert (recipe.stages["train"].steps, recipe.loss_weighting, recipe.seed) == (7, "equal", 3)
    assert "camera" not in recipe.stages["train"].losses
    others = SPEC.recipe_of(SPEC.rows_of("table-II")["all losses"], 3)
    assert others.stages["train"].steps == 400, "others are unchanged"


def test_overrides() -> None:
    spec = read_spec(overrides=["seeds=[4]", "recipes.losses.recipe.stages.train.steps=5", "timing.rooms=2"])
    assert spec.seeds == [4]
    assert spec.recipe_of(spec.rows_of("table-II")["all losses"], 4).stages["train"].steps == 5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("timing.rooms=0", r"timing\.rooms"),
        ("rooms=3", "known keys are paper"),
        ("tables.table-II.base=nothing", "table table-II"),
        ("tables.table-II.kind=picture", r"tables\.table-II\.kind"),
    ],
)
def test_faults_are_named(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_spec(overrides=[override])


def test_unknown_losses_of_a_row_are_refused() -> None:
    row = SPEC.rows_of("table-II")["without depth"].model_copy(update={"drop_losses": ["colour"]})
    with pytest.raises(RecipeError, match="colour is no loss of recipe losses"):
        SPEC.recipe_of(row, 0)


def test_tables_are_chosen_however_written() -> None:
    assert SPEC.choose(["iii", "TEXT"]) == ["text", "table-III"]
    assert "paper-size" not in SPEC.choose(None)
    with pytest.raises(RecipeError, match="no table vi"):
        SPEC.choose(["VI"])
