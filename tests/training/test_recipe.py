"""Recipes: overrides, and errors with the most similar known key."""

from __future__ import annotations

from pathlib import Path

import pytest

from dollhouse.errors import RecipeError
from dollhouse.scenes.labels import default_labels
from dollhouse.scenes.synthetic.furniture import CATEGORIES
from dollhouse.training.model_init import student_config
from dollhouse.training.recipes import read_recipe, read_tree
from tests.fixtures.recipes import TINY, tiny_recipe

RECIPES = sorted((Path(__file__).parents[2] / "dollhouse" / "recipes").glob("*.yaml"))
NANO = Path(__file__).parents[2] / "dollhouse" / "recipes" / "rooms_nano.yaml"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path: Path) -> None:
    own = "sources" in read_tree(path)["data"]
    assert read_recipe(path, [] if own else ["data.scenes=rooms:train/0-1"]).name == path.stem


def test_overrides_of_nested_settings() -> None:
    recipe = read_recipe(
        NANO, ["seed=7", "stages.pretrain_perception.steps=11", "student.text.hidden_size=64", "data.cache=folder"]
    )
    assert (recipe.seed, recipe.stages["pretrain_perception"].steps, recipe.student.text["hidden_size"]) == (7, 11, 64)
    assert recipe.data.cache == Path("folder")


def test_labels_are_those_of_the_rooms_the_default_or_a_list() -> None:
    rooms = read_recipe(NANO).student
    assert rooms.label_names == CATEGORIES
    config = student_config(read_recipe(NANO, ["student.labels=default"]))
    assert tuple(config.labels) == default_labels()
    assert {"office chair", "toilet"} <= set(config.oriented_labels) < set(config.labels)
    own = ["student.labels=[robot, couch, table]"]
    assert student_config(read_recipe(NANO, own)).oriented_labels == ["couch"]
    assert student_config(read_recipe(NANO, [*own, "student.oriented_labels=[robot]"])).oriented_labels == ["robot"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sead=1", "unknown key sead: did you mean seed?"),
        ("stages.pretrain_perception.step=1", "unknown key stages.pretrain_perception.step: did you mean steps?"),
        ("student.trunk_witdh=1", "did you mean trunk_width?"),
        ("data.scene=x", "did you mean scenes?"),
        ("zzz=1", "known are name, seed"),
        (
            "stages.pretrain_perception.steps=0",
            "stages.pretrain_perception.steps: Input should be greater than or equal to 1",
        ),
        ("stages.pretrain_perception.losses=[depht]", "stages.pretrain_perception.losses.0"),
        ("student.image_size=100", "multiple of 14"),
        ("stages.finetune_end_to_end.horizontal_flip_prob=0.5", "take out horizontal_flip_prob or text"),
        ("stages.finetune_end_to_end.crop_zoom=[1, 1.5]", "take out photometric_augmentation, crop_zoom or text"),
        ("stages.pretrain_perception.crop_zoom=[1.5, 1.2]", "the first number of crop_zoom is the smaller"),
        ("stages.finetune_end_to_end.losses=[grounding]", "add the loss text"),
        ("student.thinking_passes=0", "greater than or equal to 1"),
        ("stages.finetune_end_to_end.families=[sise]", "no such families of questions: sise"),
        ("stages.finetune_end_to_end.families={size: 0}", "a number above 0"),
        ("stages.finetune_end_to_end.families={size: -1}", "greater than or equal to 0"),
        ("student.blind=true", "a blind student has only the text loss"),
        ("student.labels=[]", "the list of labels is empty"),
        ("student.labels=[chair, chair]", "label 'chair' occurs twice"),
        ("student.labels=[sofa, couch]", "'couch' means the same as 'sofa'"),
        ("student.labels=[Chairs]", "write 'chair'"),
        ("student.labels=['']", "give a noun"),
        ("student.labels=nyu", "'rooms' or 'default'"),
        ("student.oriented_labels=[robot]", "which labels does not have"),
        ("name=a/b", "plain name"),
        ("stages.pretrain_perception.written_steps=true", "add text, or take out rename_labels"),
        ("init_from=nano", "take out student or init_from"),
        ("steps", "not of the form key=value"),
        ("seed.x=1", "seed holds a value, not settings"),
        ("seed=[", "is not YAML"),
    ],
)
def test_faults_are_reported(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(NANO, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "../../x",
        "/tmp/x",
        "a/b",
        "a\\b",
        "a\n",
        ".x",
        "model",
        "Model.old",
        "tokenizer",
        "run.json",
        "x" * 101,
    ],
)
def test_names_of_stages_are_plain(name: str) -> None:
    """Stages name folders within the run's own."""
    with pytest.raises(RecipeError, match=r"plain name|cannot be named"):
        tiny_recipe(stages={name: TINY["stages"]["pretrain_perception"]})
    assert tiny_recipe(stages={"Stage 1.b-c_d": TINY["stages"]["pretrain_perception"]}).stages


def test_unreadable_recipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot read recipe"):
        read_recipe(tmp_path / "none.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [1")
    with pytest.raises(RecipeError, match="is not YAML"):
        read_recipe(bad)
    bad.write_text("- a list")
    with pytest.raises(RecipeError, match="holds no settings"):
        read_recipe(bad)
    bad.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read as text"):
        read_recipe(bad)
