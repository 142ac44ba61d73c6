"""A run's folder: its recipe, which a run that continues must have, how it was made, and the checkpoints of stages."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import nn

from dollhouse import __version__
from dollhouse.data.config import DataConfig
from dollhouse.data.label_counts import LabelCounts
from dollhouse.errors import RecipeError, StorageError
from dollhouse.system.atomic_io import write_text
from dollhouse.system.checksums import check_checksums
from dollhouse.system.environment import describe_machine, source_commit
from dollhouse.system.read_files import read_object
from dollhouse.training.config import Recipe
from dollhouse.training.recipes import check_recipe


def claim_folder(recipe: Recipe, out: Path) -> None:
    """Store the recipe in the run's folder; raise RecipeError where it has a run of another recipe."""
    frozen = json.dumps(recipe.model_dump(mode="json"), indent=1)
    path = out / "recipe.json"
    advice = f"delete that file if {out} has a run of this recipe"
    earlier = read_object(path, StorageError, advice) if path.exists() else None
    if earlier is not None and not same_recipe(earlier, recipe):
        current = recipe.model_dump(mode="json")
        changed = [key for key in current if current.get(key) != earlier.get(key)]
        raise RecipeError(
            f"{out} has a run of another recipe (different: {', '.join(changed)}): choose another --out, or delete it"
        )
    write_text(path, frozen)


def same_recipe(frozen: dict[str, Any], recipe: Recipe) -> bool:
    """Return whether a recipe stored as JSON, perhaps without some newer settings, gives the weights of ``recipe``."""
    if frozen.get("init_from") is not None:
        frozen = {key: value for key, value in frozen.items() if key != "student"}  # fixed by the model folder
    try:
        return without_speed(check_recipe(frozen, "recipe.json")) == without_speed(recipe)
    except RecipeError:
        return False


def without_speed(recipe: Recipe) -> Recipe:
    """Return a recipe without the settings that change nothing but the time and memory a run takes."""

    def plain(data: DataConfig, **others: Any) -> DataConfig:
        folder = None if data.feature_cache is None else Path()  # wherever it lies; its use changes rounding
        return data.model_copy(update={"cache": None, "workers": 0, "feature_cache": folder, **others})

    data = plain(recipe.data, sources={name: plain(each) for name, each in recipe.data.sources.items()})
    return recipe.model_copy(
        update={"data": data, "parallel": "ddp", "activation_checkpointing": False, "compile": False, "trackers": []}
    )


def run_record(
    recipe: BaseModel, model: nn.Module, samples: int, labels: LabelCounts, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Return the content of ``run.json``."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "commit": source_commit(),
        "versions": {"dollhouse": __version__} | {name: version(name) for name in ("torch", "transformers", "numpy")},
        "machine": describe_machine() | {"threads": torch.get_num_threads()},
        "parameters": count_parameters(model),
        "samples": samples,
        "ignored_labels": {"scenes": labels.scenes, "objects": labels.objects, "ignored": dict(labels.ignored)},
        "seconds": dict(seconds),
    }


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Return the number of parameters by module, and of all."""
    parts = {name: sum(p.numel() for p in child.parameters()) for name, child in model.named_children()}
    return {**parts, "all": sum(p.numel() for p in model.parameters())}


NAME = re.compile(r"checkpoint-([0-9]+)")
#: files without which transformers' Trainer would go on with fresh states and say nothing
STATES = {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}


def step_of(checkpoint: Path) -> int:
    """Return the step after which a checkpoint was written; -1: the path is no checkpoint."""
    match = NAME.fullmatch(checkpoint.name)
    return int(match[1]) if match and checkpoint.is_dir() else -1


def list_checkpoints(folder: Path) -> list[Path]:
    """List a stage's checkpoints, the newest first."""
    found = [path for path in folder.iterdir() if step_of(path) >= 0] if folder.is_dir() else []
    return sorted(found, key=step_of, reverse=True)


def find_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint of a stage, and print which newer ones are damaged; None: there is none yet.

    Raises StorageError where all are damaged.
    """
    fault = None
    for path in list_checkpoints(folder):
        try:
            if missing := STATES - check_checksums(path).keys():
                raise StorageError(f"{path}: has no {', '.join(sorted(missing))}")
            return path
        except StorageError as error:
            fault = error
            print(f"warning: {fault}; the checkpoint before it is taken", file=sys.stderr)
    if fault is not None:
        raise StorageError(f"{folder} has no whole checkpoint: delete that folder, to train its stage from the start")
    return None
