"""A student learns a teacher's token probabilities with the teacher's vocabulary and with another one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dollhouse.teachers.dollhouse import DollhouseTeacher
from dollhouse.training.config import check_recipe
from dollhouse.training.train import distill
from tests.fixtures.recipes import tiny_tree
from tests.fixtures.records import annotate_rooms

STEPS = 60


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    teacher = DollhouseTeacher.from_pretrained(None)
    return annotate_rooms(teacher, tmp_path_factory.mktemp("token forms") / "records", "rooms:train/3-4")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "form"),
    [({}, "2 records: aligned across tokenizers"), ({"init_from": "nano"}, "2 records: one vocabulary")],
    ids=["another tokenizer", "the teacher's"],
)
def test_token_probabilities_are_learnt(
    settings: dict[str, Any], form: str, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"records": str(records), "views": 4, "questions_per_scene": 12, "workers": 0}
    parts = ["encoder", "projector", "language_model"]
    stage = {"batch_size": 2, "steps": STEPS, "log_every": 1, "losses": ["text_kl", "text"], "train": parts}
    tree = tiny_tree(data=data, stages={"finetune": {**stage, "learning_rate": 3e-3}}, **settings)
    if settings:
        del tree["student"]
        tree["stages"]["finetune"] |= {"steps": 2}
    distill(check_recipe(tree, "test"), tmp_path, progress=False)
    assert f"the teacher's tokens: {form}" in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["text_kl"] for line in lines if "text_kl" in line]
    assert len(losses) == tree["stages"]["finetune"]["steps"]
    if not settings:
        assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    else:
        assert losses[0] < 0.05, "the student starts as the teacher"
