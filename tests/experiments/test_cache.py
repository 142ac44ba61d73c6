"""Cache keys depend on content and version constants, and on nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from experiments.paper import cache
from experiments.paper.cache import COMPLETE, Cache, run_key
from experiments.paper.experiment import Experiment
from experiments.paper.spec import Row, read_spec
from tests.experiments.measurements import model_files

SPEC = read_spec()
LOSSES, THINKING = SPEC.rows_of("table-II")["all losses"], SPEC.rows_of("table-III")["K = 4, before the question"]
STUDENT, TEACHER = Row(name="student", model="nano"), Row(name="teacher", model="teacher")


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    models = {"nano": model_files(tmp_path / "student"), "teacher": model_files(tmp_path / "teacher", "big")}
    return Experiment(tmp_path / "out", SPEC, models)


def key_of(experiment: Experiment, row: Row, seed: int = 0) -> str:
    return experiment.row_jobs("table-II", row)[-1].key if seed == 0 else experiment.model_key(row, seed)


def test_names_threads_and_places_do_not_count() -> None:
    recipe = SPEC.recipe_of(LOSSES, 0)
    data = recipe.data.model_copy(update={"cache": Path("elsewhere"), "workers": 3})
    moved = recipe.model_copy(update={"name": "other", "threads": 7, "init_from": "there", "data": data})
    assert run_key(moved, "init") == run_key(recipe, "init")


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"loss_weighting": "equal"},
        {"data": SPEC.recipe_of(LOSSES, 0).data.model_copy(update={"views": 3})},
        {"stages": SPEC.recipe_of(THINKING, 0).stages},
    ],
)
def test_recipes_count(change: dict[str, Any]) -> None:
    recipe = SPEC.recipe_of(LOSSES, 0)
    assert run_key(recipe.model_copy(update=change), "init") != run_key(recipe, "init")


def test_initial_models_count() -> None:
    recipe = SPEC.recipe_of(LOSSES, 0)
    assert run_key(recipe, "a") != run_key(recipe, "b")


@pytest.mark.parametrize("version", ["TRAINING_VERSION", "INIT_VERSION", "MEASUREMENT_VERSION"])
def test_version_constants_count(experiment: Experiment, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    before = key_of(experiment, THINKING)
    monkeypatch.setattr(cache, version, 99)
    assert key_of(experiment, THINKING) != before


def test_weights_count_wherever_they_are(experiment: Experiment, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(experiment.models["nano"], tmp_path / "elsewhere"))
    models = {**experiment.models, "nano": moved}
    rows, same = (THINKING, STUDENT, TEACHER), Experiment(tmp_path / "other out", SPEC, models)
    assert [key_of(same, row) for row in rows] == [key_of(experiment, row) for row in rows]
    (moved / "model.safetensors").write_text("other weights")
    other = Experiment(tmp_path / "other out", SPEC, models)
    assert [key_of(other, row) == key_of(experiment, row) for row in rows] == [False, False, True]
    assert key_of(other, LOSSES) == key_of(experiment, LOSSES), "from random weights"


def test_the_blind_control_and_true_boxes_count(experiment: Experiment) -> None:
    before = [key_of(experiment, row) for row in (STUDENT, TEACHER)]
    boxes = STUDENT.model_copy(update={"oracle_boxes": True})
    assert key_of(experiment, boxes) != before[0]
    model_files(experiment.models["nano"] / "blind", "blind")
    assert [key_of(experiment, row) == key for row, key in zip((STUDENT, TEACHER), before, strict=True)] == [
        False,
        True,
    ]


def test_without_thinking_tokens_neither_seed_nor_placement_matters() -> None:
    plain = SPEC.rows_of("table-III")["K = 0"].init
    assert plain.key_settings(0) == plain.model_copy(update={"placement": "after_question"}).key_settings(1)
    assert THINKING.init.key_settings(0) != THINKING.init.key_settings(1)


def test_an_entry_is_made_once_and_only_whole(tmp_path: Path) -> None:
    store, calls = Cache(tmp_path), list[str]()

    def broken(folder: Path) -> None:
        (folder / "step-1").touch()
        raise KeyboardInterrupt

    def build(folder: Path) -> None:
        calls.append(folder.name)
        assert (folder / "step-1").exists(), "an incomplete entry is continued"

    with pytest.raises(KeyboardInterrupt):
        store.make("runs", "K = 0, seed 0", "0123", broken)
    assert store.find("runs", "0123") is None
    made = store.make("runs", "another name", "0123", build)
    assert made.name == "k-0-seed-0-0123"
    assert (made / COMPLETE).is_file()
    assert store.make("runs", "a third", "0123", build) == made
    assert calls == ["k-0-seed-0-0123"]
    assert store.find("measured", "0123") is None
