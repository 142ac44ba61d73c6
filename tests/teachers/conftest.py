"""A tiny LLaVA-3D teacher, and a small posed RGB-D scene."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dollhouse.questions.generate import Question
from dollhouse.scenes.scene import Scene
from dollhouse.teachers.llava3d import LLaVA3DSettings, LLaVA3DTeacher
from tests.models.llava3d import tiny_llava3d

checkpoint = tiny_llava3d.checkpoint


@pytest.fixture(scope="session")
def teacher(checkpoint: Path) -> LLaVA3DTeacher:
    """Load in float64, with weights large enough that answers depend on the scene and the question."""
    settings = LLaVA3DSettings(max_new_tokens=12, top_k=5, questions_at_once=3, dtype="float64")
    teacher = LLaVA3DTeacher.from_official(checkpoint, settings)
    with torch.no_grad():
        for name, parameter in teacher.model.named_parameters():
            if "norm" not in name:
                parameter.mul_(8)
    return teacher


@pytest.fixture(scope="session")
def scene() -> Scene:
    return tiny_llava3d.posed_scene(views=4, width=80, height=64)


def question(text: str, objects: tuple[int, ...] = ()) -> Question:
    return Question(f"made#{text}", "made", "custom", "custom", text, "", (), objects, None)
