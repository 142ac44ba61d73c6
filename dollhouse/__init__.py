"""Dollhouse: distil a large 3D teacher into a small student that answers questions about a room from photos.

The names below are the public API, with ``dollhouse.distill.distill`` and ``dollhouse.evaluate.evaluate``. Heavy
libraries load when a name is first used, so importing this is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dollhouse.distill.recipe import Recipe, read_recipe
    from dollhouse.errors import (
        DollhouseError,
        ModelError,
        QuestionError,
        RecipeError,
        SceneError,
        StorageError,
        TeacherError,
    )
    from dollhouse.scenes.plan import draw_scene
    from dollhouse.scenes.questions import Question, questions_about
    from dollhouse.scenes.rooms import room_scene
    from dollhouse.scenes.scene import Box, Scene, View
    from dollhouse.scenes.source import open_scene, open_scenes
    from dollhouse.student.config import DollhouseConfig, VggtConfig
    from dollhouse.student.memory import Answer, Dollhouse, SceneMemory
    from dollhouse.student.model import DollhouseForConditionalGeneration
    from dollhouse.student.processor import DollhouseProcessor

__version__ = "0.1.0"

_HOME = {
    "Answer": "student.memory",
    "Box": "scenes.scene",
    "Dollhouse": "student.memory",
    "DollhouseConfig": "student.config",
    "DollhouseError": "errors",
    "DollhouseForConditionalGeneration": "student.model",
    "DollhouseProcessor": "student.processor",
    "ModelError": "errors",
    "Question": "scenes.questions",
    "QuestionError": "errors",
    "Recipe": "distill.recipe",
    "RecipeError": "errors",
    "Scene": "scenes.scene",
    "SceneError": "errors",
    "SceneMemory": "student.memory",
    "StorageError": "errors",
    "TeacherError": "errors",
    "VggtConfig": "student.config",
    "View": "scenes.scene",
    "draw_scene": "scenes.plan",
    "open_scene": "scenes.source",
    "open_scenes": "scenes.source",
    "questions_about": "scenes.questions",
    "read_recipe": "distill.recipe",
    "room_scene": "scenes.rooms",
}

__all__ = [
    "Answer",
    "Box",
    "Dollhouse",
    "DollhouseConfig",
    "DollhouseError",
    "DollhouseForConditionalGeneration",
    "DollhouseProcessor",
    "ModelError",
    "Question",
    "QuestionError",
    "Recipe",
    "RecipeError",
    "Scene",
    "SceneError",
    "SceneMemory",
    "StorageError",
    "TeacherError",
    "VggtConfig",
    "View",
    "draw_scene",
    "open_scene",
    "open_scenes",
    "questions_about",
    "read_recipe",
    "room_scene",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dollhouse' has no attribute {name!r}")
    value = getattr(import_module(f"dollhouse.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
