"""Runs on records: cached object tokens and kills change no weight."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dollhouse.teachers.dollhouse import DollhouseTeacher
from dollhouse.training.recipes import check_recipe
from dollhouse.training.train import distill
from tests.fixtures.records import annotate_rooms, record_tree
from tests.training.test_interruptions import At, Killed, kill

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    teacher = DollhouseTeacher.from_pretrained(None)
    return annotate_rooms(teacher, tmp_path_factory.mktemp("records") / "dollhouse", limit=6)


@pytest.fixture(scope="module")
def expected(records: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of a run without cache or interruption."""
    return load_file(
        distill(check_recipe(record_tree(records), "test"), tmp_path_factory.mktemp("run"), progress=False)
        / "model.safetensors"
    )


def test_cached_objects_and_kills_give_the_same_weights(
    expected: dict[str, torch.Tensor], records: Path, tmp_path: Path
) -> None:
    """A run that is killed while it fills the cache, and one that reads it."""
    recipe = check_recipe(record_tree(records, tmp_path / "cache"), "test")
    kills = [("pretrain_perception", 3), ("finetune_end_to_end", 0), ("finetune_end_to_end", 3)]
    for stage, step in kills:
        with pytest.raises(Killed):
            distill(recipe, tmp_path / "first", False, callbacks=[At(stage, "on_step_begin", kill, step)])
    for name in ("first", "second"):
        weights = load_file(distill(recipe, tmp_path / name, progress=False) / "model.safetensors")
        assert all(torch.equal(value, weights[key]) for key, value in expected.items()), name
    cached = list((tmp_path / "cache").rglob("objects-*/*/*.safetensors"))
    assert len(cached) == 4
