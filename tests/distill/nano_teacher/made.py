"""A nano teacher small enough for tests: its recipe, and the pieces of a run before any training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dollhouse.distill.lessons import Lessons
from dollhouse.distill.nano_teacher.learner import Learner
from dollhouse.distill.nano_teacher.lessons import PosedLessons
from dollhouse.distill.nano_teacher.recipe import NanoTeacherRecipe, check_nano_teacher
from dollhouse.distill.nano_teacher.run import named_things
from dollhouse.distill.nano_teacher.words import Phrasebook, fill_word_ids, run_tokenizer
from dollhouse.student.config import DollhouseConfig
from dollhouse.teachers.llava3d.model import LLaVA3DModel

TINY: dict[str, Any] = {
    "name": "tiny",
    "precision": "float32",
    "threads": 1,
    "model": {
        "image_size": 28,
        "vision": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48},
        "text": {
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
        },
        "vocabulary": 500,
    },
    "data": {"scenes": "rooms:train/0-3", "views": 4, "questions": 12, "workers": 0},
    "stages": {
        "see": {
            "steps": 4,
            "scenes": 2,
            "losses": ["votes"],
            "train": ["encoder", "projector", "language_model"],
            "save_every": 2,
            "log_every": 2,
        },
        "speak": {
            "steps": 4,
            "scenes": 2,
            "losses": ["votes", "text", "grounding"],
            "train": ["projector", "language_model"],
            "save_every": 2,
            "log_every": 2,
        },
    },
}


def tiny_recipe(**changes: Any) -> NanoTeacherRecipe:
    return check_nano_teacher({**TINY, **changes}, "test")


@dataclass
class Pieces:
    """What a run is made of."""

    recipe: NanoTeacherRecipe
    named: DollhouseConfig
    lessons: Lessons
    tokenizer: Any
    learner: Learner

    def posed(self, stage: str = "speak") -> PosedLessons:
        return PosedLessons(self.lessons, self.recipe.stages[stage], 0, self.tokenizer, self.named)


def pieces(folder: Path, dtype: torch.dtype = torch.float32) -> Pieces:
    recipe = tiny_recipe(data={**TINY["data"], "cache": str(folder / "cache")})
    torch.manual_seed(0)
    named = named_things(recipe)
    lessons = Lessons(recipe.data, named)
    tokenizer = run_tokenizer(lessons, recipe.model.vocabulary, folder / "tokenizer")
    fill_word_ids(named, tokenizer)
    model = LLaVA3DModel(recipe.config(recipe.model.vocabulary))
    learner = Learner(model, named, Phrasebook(tokenizer, named).head, ("votes", "text", "grounding"))
    return Pieces(recipe, named, lessons, tokenizer, learner.to(dtype))
