"""A student so small that whole tables are made in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from dollhouse.models.dollhouse.serialization import save_student
from dollhouse.training.config import check_recipe
from dollhouse.training.train import prepare_student

TINY = {
    "name": "tiny",
    "student": {
        "image_size": 28,
        "vision": {"patch_embed": "stem", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        "text": {
            "model_type": "gpt_neox",
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "tie_word_embeddings": True,
        },
        "vocabulary": 400,
        "trunk_width": 32,
        "trunk_layers": 1,
        "trunk_heads": 2,
        "object_layers": 1,
        "num_thinking_tokens": 2,
    },
    "data": {"scenes": "rooms:train/0-3", "workers": 0},
    "stages": {"pretrain_perception": {"steps": 1, "losses": ["text"], "train": ["encoder"]}},
}


@pytest.fixture(scope="session")
def tiny_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder; its weights are random."""
    folder = tmp_path_factory.mktemp("student")
    model, processor, _ = prepare_student(check_recipe(TINY, "test"), folder)
    save_student(model, processor, folder / "model")
    return folder / "model"
