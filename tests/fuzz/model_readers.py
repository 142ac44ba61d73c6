"""Readers of models and runs with a valid small input; they import torch when they are used."""

from __future__ import annotations

import json
from pathlib import Path


def write_student(folder: Path) -> None:
    from dollhouse.models.dollhouse.serialization import save_student
    from tests.models.conftest import tiny_pipeline

    pipeline = tiny_pipeline()
    save_student(pipeline.model, pipeline.processor, folder / "model")


def read_student(folder: Path) -> None:
    from dollhouse.models.dollhouse.serialization import load_config, load_student

    load_config(folder / "model")
    load_student(folder / "model")


def write_teacher(folder: Path) -> None:
    from tests.teachers.tiny_models import write_depth_anything, write_llava

    write_llava(folder / "llava")
    write_depth_anything(folder / "depth")


def read_teacher(folder: Path) -> None:
    from dollhouse.teachers.registry import open_teacher

    open_teacher(f"huggingface:{folder / 'llava'}", {})


def write_run(folder: Path) -> None:
    from dollhouse.data.target_cache import TargetCache
    from tests.fixtures.recipes import tiny_recipe

    recipe = tiny_recipe()
    (folder / "recipe.json").write_text(json.dumps(recipe.model_dump(mode="json"), indent=1))
    lines = [{"stage": "look", "step": n, "weight/text": 1.0, "text": 0.5 / n} for n in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    TargetCache(folder, "cache").write_questions(0, "key", (("Is it?", "yes", "existence"),))


def read_run(folder: Path) -> None:
    from dollhouse.data.target_cache import TargetCache
    from dollhouse.training.plots import read_stages
    from dollhouse.training.run_folder import claim_folder
    from tests.fixtures.recipes import tiny_recipe

    TargetCache(folder, "cache").read_questions(0, "key")
    TargetCache(folder, "cache").read_targets(0)
    read_stages(folder / "metrics.jsonl")
    claim_folder(tiny_recipe(), folder)


def write_weights(folder: Path) -> None:
    import torch

    from dollhouse.models.checked_tensors import save_tensors

    save_tensors({"a": torch.ones(3, 4), "b": torch.zeros(2)}, folder / "model.safetensors")
    torch.save({"a": torch.ones(3)}, folder / "model.pt")


def read_weights(folder: Path) -> None:
    from dollhouse.models.checked_tensors import load_tensors
    from dollhouse.models.checkpoints import Checkpoint

    for name in ("model.safetensors", "model.pt"):
        checkpoint = Checkpoint(folder / name)
        list(checkpoint.read(checkpoint.shapes))
    load_tensors(folder / "model.safetensors")
