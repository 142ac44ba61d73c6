"""Size, memory and training steps of a recipe's student, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.training.config import Recipe
from dollhouse.training.estimate.dry_run import StageEstimate, dry_run
from dollhouse.training.estimate.memory import MemoryEstimate, ModuleParameters, estimate_inference, module_parameters
from dollhouse.training.model_init import load_initial_student, student_config


@dataclass(frozen=True)
class RecipeEstimate:
    """What a recipe's student needs."""

    name: str
    parameters: list[ModuleParameters]
    photos: tuple[int, int, int]  #: views, height and width of the inference estimate
    inference: dict[torch.dtype, MemoryEstimate]  #: one scene and one question
    stages: list[StageEstimate]  #: one training step each; empty where not estimated


def estimate_recipe(
    recipe: Recipe,
    views: int | None = None,
    size: tuple[int, int] | None = None,
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.bfloat16),
    training: bool = True,
) -> RecipeEstimate:
    """Estimate a recipe's student, at inference and in every training stage.

    Args:
        views: photos per scene; None: the recipe's.
        size: width and height in pixels; None: the student's width at 4:3.
        dtypes: of the weights at inference.
        training: draw the first batch of every stage and check a step of it.

    Raises:
        RecipeError, ModelError, SceneError: the recipe does not fit its model, weights, photos or data.
    """
    if recipe.init_from is not None:
        config = load_initial_student(recipe)[0].config
    else:  # no tokenizer exists yet: placeholder token ids
        config = student_config(recipe)
        config.label_ids, config.colour_ids = [[0] for _ in config.labels], [[0] for _ in config.colours]
        config.thinking_ids = [0] * config.num_thinking_tokens
    with torch.device("meta"):
        parameters = module_parameters(DollhouseForConditionalGeneration(config))
    width, height = size or (config.image_size, round(config.image_size * 3 / 4 / 14) * 14)
    count = views or recipe.data.views
    inference = {dtype: estimate_inference(config, count, height, width, dtype) for dtype in dtypes}
    stages = dry_run(recipe) if training else []
    return RecipeEstimate(recipe.name, parameters, (count, height, width), inference, stages)


def paper_count(parameters: Sequence[ModuleParameters]) -> tuple[int, dict[str, int]]:
    """Split parameters as the paper does: the language model with its connections, and VGGT's modules.

    The modules are empty where the encoder is not a VGGT with a depth head.
    """
    encoder = {m.name.removeprefix("encoder."): m.parameters for m in parameters if m.name.startswith("encoder.")}
    if "depth_head" not in encoder:
        encoder = {}
    return sum(module.parameters for module in parameters) - sum(encoder.values()), encoder
