"""Glue of ``dollhouse estimate``: parses options, estimates and prints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from dollhouse.errors import ModelError
from dollhouse.models.vggt.configuration import VggtConfig
from dollhouse.training.config import read_recipe
from dollhouse.training.estimate.memory import estimate_vggt
from dollhouse.training.estimate.parameters import ModuleParameters
from dollhouse.training.estimate.recipe import estimate_recipe, paper_count
from dollhouse.training.estimate.report import print_memory, print_parameters, print_stages

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def plan_encoder(
    views: int, size: str, dtype: str, heads: Sequence[str], views_at_once: int | None, weights: Path | None
) -> None:
    """Print what VGGT-1B needs, and the summary of its official ``weights``. Raises ModelError."""
    width, height = read_size(size)
    try:
        config = VggtConfig(heads=heads, views_at_once=views_at_once)
    except ValueError as error:
        raise ModelError(str(error)) from None
    estimate = estimate_vggt(config, views, height, width, read_dtype(dtype), weights)
    if checkpoint := estimate.checkpoint:
        print(
            f"{checkpoint.path}: {checkpoint.matching:,} tensors match, {checkpoint.ignored:,} ignored; "
            f"licence: {checkpoint.licence}"
        )
    print_parameters(estimate.parameters, "VGGT-1B")
    print_memory({f"{views} views of {width}x{height} in {dtype}": estimate.memory})


def plan_recipe(
    recipe: str, settings: Sequence[str], views: int | None, size: str | None, dtype: str, training: bool
) -> None:
    """Print what a recipe's student needs, at inference and in training. Raises RecipeError and ModelError."""
    dtypes = list(dict.fromkeys([torch.float32, read_dtype(dtype)]))
    estimate = estimate_recipe(
        read_recipe(recipe, settings), views, read_size(size) if size else None, dtypes, training
    )
    print_parameters(estimate.parameters, f"recipe {estimate.name}")
    if line := as_the_paper_counts(estimate.parameters):
        print(line)
    count, height, width = estimate.photos
    names = {value: name for name, value in DTYPES.items()}
    situation = f"inference: {count} views of {width}x{height}, "
    print_memory({situation + names[key]: memory for key, memory in estimate.inference.items()})
    print_stages(estimate.stages)


def as_the_paper_counts(parameters: Sequence[ModuleParameters]) -> str:
    """Return the paper's split of parameters in one line; empty where the encoder is not VGGT's."""
    rest, encoder = paper_count(parameters)
    if not encoder:
        return ""
    parts = " + ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in encoder.items())
    total = rest + sum(encoder.values())
    return f"as the paper counts: language model and connections {rest / 1e9:.2f}B + {parts} = {total / 1e9:.2f}B"


def read_size(text: str) -> tuple[int, int]:
    """Parse "518x392" as (518, 392). Raises ModelError."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise ModelError(f"size {text!r} is not WIDTHxHEIGHT, such as 518x392")
    return int(match[1]), int(match[2])


def read_dtype(name: str) -> torch.dtype:
    """Return a torch dtype by name. Raises ModelError for others than :data:`DTYPES`."""
    if name not in DTYPES:
        raise ModelError(f"dtype {name!r} is not known; choose {', '.join(DTYPES)}")
    return DTYPES[name]
