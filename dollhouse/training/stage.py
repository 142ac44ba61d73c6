"""Assembly of one stage: which parameters are trained, and the module with the stage's losses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from dollhouse.data.object_cache import ObjectCache, modules_hash
from dollhouse.data.target_source import TargetSource
from dollhouse.errors import RecipeError
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.training.config import HEAD_OF_LOSS, Recipe, StageConfig
from dollhouse.training.loss_module import LossModule
from dollhouse.training.model_init import module_name

#: the modules after the object tokens; all others are perception
LANGUAGE_MODULES = {"multi_modal_projector", "language_model", "thinking_map"}
#: losses that need nothing of perception but the object tokens
LANGUAGE_LOSSES = {"text", "text_kl", "grounding", "thinking_probe"}


def build_stage(
    stage: StageConfig,
    model: DollhouseForConditionalGeneration,
    weighting: nn.Module,
    teacher_width: int = 0,
    open_object_cache: Callable[[], ObjectCache] | None = None,
) -> LossModule:
    """Set which parameters of ``model`` are trained, and return it with the stage's losses.

    ``open_object_cache`` is called where perception is frozen and only its object tokens are needed. Raises
    RecipeError where the stage does not fit the model.
    """
    trained = set_trainable(stage, model)
    if not torch.cuda.is_available():  # on short sequences plain attention is faster than the fused one
        model.language_model.set_attn_implementation("eager")
    frozen, use_gt_objects = not trained - LANGUAGE_MODULES, stage.object_source == "teacher"
    if use_gt_objects and model.config.grid_size:
        raise RecipeError("object_source: teacher encodes no photo, which student.grid_size needs: take out either")
    objects_alone = not (model.config.blind or model.config.grid_size)
    exact = not stage.gt_assignment_prob and not use_gt_objects and objects_alone
    cached = open_object_cache if frozen and exact and set(stage.losses) <= LANGUAGE_LOSSES else None
    return LossModule(
        model,
        weighting,
        stage.losses,
        frozen_perception=frozen,
        use_gt_objects=use_gt_objects,
        object_cache=cached() if cached else None,
        teacher_width=teacher_width,
        temperature=stage.temperature,
    )


def set_trainable(stage: StageConfig, model: DollhouseForConditionalGeneration) -> set[str]:
    """Let gradients flow to the parts that a stage trains only; return the names of their modules."""
    trained = {module_name(part) for part in stage.train} | ({"blind_prefix"} if model.config.blind else set())
    trained |= {HEAD_OF_LOSS[loss] for loss in stage.losses if loss in HEAD_OF_LOSS}
    if "language_model" in trained and model.config.thinking_passes > 1:
        trained.add("thinking_map")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in trained)
    if hasattr(model, "encoder") and model.encoder.stem is not None:
        model.encoder.stem.freeze(stage.frozen_stem_blocks)
    if "encoder" in trained and stage.unfreeze_from_layer and not model.config.blind:
        try:
            model.encoder.freeze_before(stage.unfreeze_from_layer)
        except ValueError as error:
            raise RecipeError(f"unfreeze_from_layer: {error}") from None
    return trained


def object_cache_of(recipe: Recipe, model: DollhouseForConditionalGeneration, source: TargetSource) -> ObjectCache:
    """Return the cache of the frozen perception's objects, on disk if the targets are cached there."""
    if source.cache is None:
        return ObjectCache(None)
    perception = [child for name, child in sorted(model.named_children()) if name not in LANGUAGE_MODULES]
    dtype = "bfloat16" if use_bfloat16(recipe.precision) else "float32"
    cached = f"{source.encoder_key}-" if source.encoder_key else ""  # of features that are no module here
    return ObjectCache(source.cache.folder / f"objects-{cached}{modules_hash(perception)}-{dtype}")


def use_bfloat16(precision: str) -> bool:
    """Return whether to multiply in bfloat16: with "auto", where the processor does so natively."""
    if precision != "auto":
        return precision == "bfloat16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    avx512 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return bool(avx512 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
