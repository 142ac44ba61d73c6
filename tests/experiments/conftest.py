"""A student so small that whole tables are made in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from dollhouse.models.dollhouse.serialization import save_student
from dollhouse.training.recipes import check_recipe
from dollhouse.training.train import prepare_student
from tests.fixtures.recipes import STUDENT, tiny_tree

TINY = tiny_tree(
    student=STUDENT | {"text": STUDENT["text"] | {"tie_word_embeddings": True}},
    data={"scenes": "rooms:train/0-3", "workers": 0},
    stages={"pretrain_perception": {"steps": 1, "losses": ["text"], "train": ["encoder"]}},
)


@pytest.fixture(scope="session")
def tiny_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder; its weights are random."""
    folder = tmp_path_factory.mktemp("student")
    model, processor, _ = prepare_student(check_recipe(TINY, "test"), folder)
    save_student(model, processor, folder / "model")
    return folder / "model"
