"""Runs on records: cached object tokens and kills change no weight."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dollhouse.teachers.dollhouse import DollhouseTeacher
from dollhouse.training.recipes import check_recipe
from dollhouse.training.train import distill
from tests.fixtures.records import annotate_rooms, record_tree

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("DOLLHOUSE_KILLS", "2"))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return annotate_rooms(DollhouseTeacher.from_pretrained(None), tmp_path_factory.mktemp("records") / "dollhouse")


@pytest.fixture(scope="module")
def expected(records: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of a run without cache or interruption."""
    return load_file(
        distill(check_recipe(record_tree(records), "test"), tmp_path_factory.mktemp("run"), progress=False)
        / "model.safetensors"
    )


def test_cached_objects_give_the_same_weights(expected: dict[str, torch.Tensor], records: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        recipe = check_recipe(record_tree(records, tmp_path / "cache"), "test")
        weights = load_file(distill(recipe, tmp_path / name, progress=False) / "model.safetensors")
        assert all(torch.equal(value, weights[key]) for key, value in expected.items()), name
    cached = list((tmp_path / "cache").rglob("objects-*/*/*.safetensors"))
    assert len(cached) == 4


def test_killed_runs_give_the_same_weights(expected: dict[str, torch.Tensor], records: Path, tmp_path: Path) -> None:
    """``DOLLHOUSE_KILLS=20`` kills twenty times; a run that ends before its kill is followed by another run."""
    code = (
        "import sys, json; from pathlib import Path; from dollhouse.training.recipes import check_recipe;"
        "from dollhouse.training.train import distill;"
        "distill(check_recipe(json.loads(sys.argv[1]), 'test'), Path(sys.argv[2]), progress=False)"
    )
    recipe = json.dumps(record_tree(records, tmp_path / "cache"))
    rng, kills, attempt = random.Random(5), 0, 0
    while True:
        out = tmp_path / f"run-{attempt}"
        run = subprocess.Popen([sys.executable, "-c", code, recipe, str(out)], stdout=subprocess.DEVNULL)
        if kills >= KILLS:
            assert run.wait(timeout=180) == 0
            break
        while run.poll() is None and not (out / "recipe.json").exists():
            time.sleep(0.01)  # a kill before the run has begun tests nothing
        time.sleep(rng.uniform(0, 6))
        run.kill()
        if run.wait() == 0:
            attempt += 1
        else:
            kills += 1
    weights = load_file(out / "model" / "model.safetensors")
    assert all(torch.equal(value, weights[key]) for key, value in expected.items())
