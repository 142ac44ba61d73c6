"""Timing at the paper's size, tried out on models of the same shapes that are tiny."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig

from dollhouse.models.dollhouse.checkpoint import load_student
from dollhouse.models.llava3d.configuration import CLIP_LARGE, Llava3DConfig
from dollhouse.scenes.open import open_scene
from experiments.paper.paper_size import MODELS, student_at, student_config, table, teacher_at, timed

TEXT = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 56,
}


def test_both_are_timed_at_the_same_room(tiny_student: Path) -> None:
    scene = open_scene("rooms:test/1")
    llava = Llava3DConfig(text=LlamaConfig(vocab_size=400, **TEXT), vision=CLIPVisionConfig(**CLIP_LARGE | VISION))
    teacher = teacher_at(llava, scene, 3)
    student = student_at(load_student(tiny_student)[0].config, scene, 3)
    for asked in (teacher, student):
        told = timed(asked)
        assert 0 < told["later"] < told["first"]
        assert told["parameters"] == asked.parameters > 10_000


def test_the_student_is_the_paper_s() -> None:
    from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration

    with torch.device("meta"):
        model = DollhouseForConditionalGeneration(student_config())
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(2.29e9, rel=0.01)


def test_table() -> None:
    one = {"first": 30.0, "later": 8.0, "parameters": 7_000_000_000, "peak": 16_000_000_000}
    other = {"first": 10.0, "later": 1.0, "parameters": 2_290_000_000, "peak": 5_000_000_000}
    told = dict(zip(MODELS, (one, other), strict=True)) | {"tokens": 8, "machine": {}, "packages": {}}
    result = table(told)
    assert result.rows[2].values["later answer"] == "8.0×"
    assert "first answer takes 3.0× the student's time. A later one takes 30.0× where" in result.sentences[0]
    assert result.rows[3].values == {"later answer": "30.0×"}
    assert "| teacher | 30.00 s | 8.00 s | 7,000 M | 16.00 GB |" in result.as_markdown()
