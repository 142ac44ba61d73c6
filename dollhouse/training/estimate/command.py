"""What ``dollhouse plan`` does: reads the user's words, plans, and shows the plan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from dollhouse.errors import ModelError, RecipeError
from dollhouse.training.config import read_recipe
from dollhouse.training.estimate.memory import plan_answering, plan_vggt
from dollhouse.training.estimate.parameters import Part, parts_of
from dollhouse.training.estimate.report import print_checks, print_memory, print_parts

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def plan_encoder(
    views: int, size: str, dtype: str, heads: Sequence[str], views_at_once: int | None, weights: Path | None
) -> None:
    """Show what VGGT-1B takes; with ``weights``, check that file's keys and shapes first and tell its licence.

    Raises ModelError for words that mean nothing, photos that do not fit, and files that are no such weights.
    """
    from dollhouse.models.vggt.configuration import VggtConfig
    from dollhouse.models.vggt.convert import check_official, licence_of
    from dollhouse.models.vggt.modeling import VggtModel

    width, height = read_size(size)
    try:
        config = VggtConfig(heads=heads, views_at_once=views_at_once)
    except ValueError as error:
        raise ModelError(str(error)) from None
    if weights is not None:
        with torch.device("meta"):
            whole = VggtModel(config)
        checkpoint, ignored = check_official(whole, weights)
        matching = len(checkpoint.shapes) - len(ignored)
        print(f"{weights}: {matching:,} tensors match, {len(ignored):,} ignored; licence: {licence_of(weights)}")
    plan = plan_vggt(config, views, height, width, read_dtype(dtype))
    print_parts(plan.parts, "VGGT-1B")
    print_memory({f"{views} views of {width}x{height} in {dtype}": plan.memory})


def plan_recipe(
    what: str, settings: Sequence[str], views: int | None, size: str | None, dtype: str, training: bool
) -> None:
    """Show what a recipe's student has and takes, to answer and to train.

    Raises RecipeError and ModelError for what cannot be planned.
    """
    from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
    from dollhouse.training.estimate.dry_run import dry_run
    from dollhouse.training.model_init import bare_config

    recipe = read_recipe(what, settings)
    if recipe.init_from is not None:
        raise RecipeError(
            f"recipe {recipe.name} starts from a model folder, which has its size already: nothing to plan"
        )
    config = bare_config(recipe, vocab_size=recipe.student.vocabulary)
    config.label_ids = [[0] for _ in config.labels]  # which tokens they are does not matter to shapes
    config.colour_ids = [[0] for _ in config.colours]
    config.thinking_ids = [0] * config.num_thinking_tokens
    with torch.device("meta"):
        parts = parts_of(DollhouseForConditionalGeneration(config))
    print_parts(parts, f"recipe {recipe.name}")
    if line := as_the_paper_counts(parts):
        print(line)
    width, height = read_size(size) if size else (config.image_size, round(config.image_size * 3 / 4 / 14) * 14)
    count = views or recipe.data.views
    situation = f"to answer: {count} views of {width}x{height}, "
    print_memory(
        {
            situation + name: plan_answering(config, count, height, width, read_dtype(name))
            for name in ("float32", dtype)
        }
    )
    if training:
        print_checks(dry_run(recipe))


def as_the_paper_counts(parts: Sequence[Part]) -> str:
    """One line: the language model with what connects it, and the eyes; empty where the eyes are not VGGT's."""
    eyes = {part.name: part.parameters for part in parts if part.name.startswith("encoder.")}
    if "encoder.depth_head" not in eyes:
        return ""
    total = sum(part.parameters for part in parts)
    rest = total - sum(eyes.values())
    told = " + ".join(f"{name.removeprefix('encoder.').replace('_', ' ')} {count:,}" for name, count in eyes.items())
    return f"as the paper counts: language model and connections {rest / 1e9:.2f}B + {told} = {total / 1e9:.2f}B"


def read_size(text: str) -> tuple[int, int]:
    """ "518x392" -> (518, 392); raises ModelError for anything else."""
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found:
        raise ModelError(f"size {text!r} is not WIDTHxHEIGHT, such as 518x392")
    return int(found[1]), int(found[2])


def read_dtype(name: str) -> torch.dtype:
    """A torch dtype by name; raises ModelError for another than :data:`DTYPES`."""
    if name not in DTYPES:
        raise ModelError(f"dtype {name!r} is not known; choose {', '.join(DTYPES)}")
    return DTYPES[name]
