"""The frozen encoder of a recipe with ``data.feature_cache``: identified, left out of training, put back at its end."""

from __future__ import annotations

import torch

from dollhouse.data.feature_cache import encoder_key, weights_hash
from dollhouse.data.target_source import TargetSource
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.serialization import load_student
from dollhouse.models.vggt.convert import check_official
from dollhouse.models.vggt.modeling import VggtModel
from dollhouse.training.config import Recipe
from dollhouse.training.model_init import expand_model


def frozen_encoder_key(recipe: Recipe, model: DollhouseForConditionalGeneration) -> str:
    """Return the key of the encoder's features; its weights may be on the meta device where the recipe names a file.

    Raises ModelError where that file does not fit the encoder.
    """
    if recipe.student.encoder_weights is None:
        return encoder_key(model.config, weights_hash(model.encoder.state_dict().items()))
    checkpoint, _ = check_official(model.encoder, recipe.student.encoder_weights)
    return encoder_key(model.config, weights_hash(checkpoint.read(model.encoder.state_dict())))


def use_cached_features(recipe: Recipe, model: DollhouseForConditionalGeneration, source: TargetSource) -> None:
    """Take the encoder's output from the cache, and remove the encoder. Raises RecipeError where it is not whole."""
    source.open_features(frozen_encoder_key(recipe, model))
    del model.encoder


def restore_encoder(recipe: Recipe, model: DollhouseForConditionalGeneration) -> None:
    """Put the encoder back that :func:`use_cached_features` removed."""
    if recipe.init_from is not None:
        model.encoder = expand_model(load_student(recipe.init_from)[0], recipe).encoder
    elif recipe.student.encoder_weights is not None:
        vision = model.config.get_vision_config()
        model.encoder = VggtModel.from_official(recipe.student.encoder_weights, vision, torch.float32, vision.licence)
