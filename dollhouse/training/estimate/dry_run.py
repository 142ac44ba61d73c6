"""Dry runs: one optimiser step of every stage at full size, on shapes only.

The model, its gradients and the optimiser's state are fake tensors: every operation checks its shapes, but nothing is
computed and almost nothing allocated. The losses of perception depend on values (valid pixels, matched boxes); they
are computed on small stand-ins of the predictions' shapes and on the recipe's first batch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode

from dollhouse.data.collator import Batch
from dollhouse.data.dataset import StepDataset
from dollhouse.data.feature_cache import encode_features
from dollhouse.data.oracle_objects import noisy_gt_objects
from dollhouse.data.record_dataset import open_target_source
from dollhouse.errors import RecipeError, SceneError
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.tokenization import fill_token_ids
from dollhouse.models.vggt.convert import check_official
from dollhouse.training.config import Recipe
from dollhouse.training.estimate.live_memory import LiveMemory, StepMemory, without_memory
from dollhouse.training.loss_weighting import UncertaintyWeighting
from dollhouse.training.model_init import load_initial_student, student_config
from dollhouse.training.optim import build_optimizer
from dollhouse.training.recipes import require_filled
from dollhouse.training.recomputation import recomputed_activations
from dollhouse.training.speed import flop_counter
from dollhouse.training.stage import build_stage, use_bfloat16
from dollhouse.training.tokenizer import chat_format, fit_tokenizer, pretrained_tokenizer, question_texts


@dataclass(frozen=True)
class StageEstimate:
    """One step of a stage whose shapes all fit."""

    name: str
    photos: tuple[int, ...]  #: (B, V, 3, H, W)
    vision_tokens: int  #: of all views together; 0 where no photo is encoded
    text_tokens: int  #: of all questions and answers, padding included
    losses: tuple[str, ...]  #: with targets in the first batch
    trained: int  #: parameters
    frozen: int  #: parameters
    gradients: int  #: trained parameters with a gradient, of the parameter's shape
    without_gradient: tuple[str, ...]  #: trained parameters without one
    states: int  #: tensors of the optimiser's state, of their parameter's shape
    weight_bytes: int
    state_bytes: int  #: the optimiser's
    memory: StepMemory
    micro_batches: int  #: of the step; photos and tokens are those of the first
    #: floating-point operations of the step's forward and backward passes, without recomputed activations, as if all
    #: micro-batches were the first; a multiplication and an addition are two
    flops: int

    @property
    def tokens(self) -> int:
        """Tokens that pass through the model in a step."""
        return self.micro_batches * (self.vision_tokens + self.text_tokens)

    @property
    def peak_bytes(self) -> int:
        """Most bytes of tensors at once: weights, gradients, state and activations."""
        return self.memory.peak(micro_batches=self.micro_batches)


def dry_run(recipe: Recipe) -> list[StageEstimate]:
    """Check one step of every stage of ``recipe``.

    Raises:
        RecipeError: values are left open, or shapes do not fit each other; names the stage.
        SceneError, ModelError: from the recipe's data, and from the headers of its weights.
    """
    require_filled(recipe)
    config, batches = first_batches(recipe)
    fake, student = without_memory(lambda: DollhouseForConditionalGeneration(config))
    if recipe.student.encoder_weights is not None and not config.blind:
        check_official(student.encoder, recipe.student.encoder_weights)
    if recipe.data.features_used:  # which need not be there yet
        for batch in batches.values():
            with fake:
                batch.features = encode_features(student, torch.empty(batch.pixel_values.shape))
        del student.encoder
    estimates = []
    for name, batch in batches.items():
        try:
            estimates.append(estimate_stage(recipe, name, fake, student, batch))
        except RuntimeError as error:  # raised by torch where shapes do not fit
            raise RecipeError(f"stage {name}: {str(error).splitlines()[0]}") from error
    return estimates


def first_batches(recipe: Recipe) -> tuple[DollhouseConfig, dict[str, Batch]]:
    """Return the student's config and the first batch of every stage; a tokenizer is fitted to one sample."""
    if recipe.init_from is not None:
        model, processor = load_initial_student(recipe)
        config, tokenizer = model.config, processor.tokenizer
        source = open_target_source(recipe.data, config)
    else:
        source = open_target_source(recipe.data, student_config(recipe))
        tokenizer = pretrained_tokenizer(recipe) or fit_tokenizer(recipe, question_texts(source, 1))
        config = student_config(recipe, vocab_size=len(tokenizer))
        fill_token_ids(config, tokenizer)
        config.chat_format = chat_format(recipe, tokenizer)
    return config, {
        name: StepDataset(source, replace(stage.sampling(recipe.data), features=False), recipe.seed, tokenizer, config)[
            0
        ]
        for name, stage in recipe.stages.items()
    }


def estimate_stage(
    recipe: Recipe, name: str, fake: FakeTensorMode, student: DollhouseForConditionalGeneration, batch: Batch
) -> StageEstimate:
    """Run one step of a stage; ``fake`` and ``student`` are from :func:`.live_memory.without_memory`."""
    stage = recipe.stages[name]
    student.train().zero_grad(set_to_none=True)
    teacher_width = 0 if batch.teacher is None else batch.teacher.features.shape[-1]
    loss_module = build_stage(stage, student, nn.Module(), teacher_width)
    with fake:
        for probe in (loss_module.grounding, loss_module.thinking_probe, loss_module.teacher_map):
            if probe is not None:
                probe.to_empty(device="cpu")
    weights = list(loss_module.parameters())
    gt_objects = noisy_gt_objects(batch, student.config) if loss_module.use_gt_objects else None
    rgbd = batch.rgbd_inputs if student.config.use_rgbd else None
    live = LiveMemory(weights)
    hooks = [
        weight.register_post_accumulate_grad_hook(lambda parameter: live.set_apart(parameter.grad))
        for weight in weights
        if weight.requires_grad
    ]
    counters = [flop_counter() for _ in range(5)]
    bfloat16 = torch.autocast("cpu", torch.bfloat16, enabled=use_bfloat16(recipe.precision))
    stand_ins = StandIns()
    losses: dict[str, Tensor] = {}
    with recomputed_activations(loss_module, recipe.activation_checkpointing, lambda: counters[4]):
        with fake, live, counters[0], bfloat16:
            perception = loss_module.perceive(batch, refine_poses=False, rgbd=rgbd)
            mapped = None if perception is None else loss_module.map_to_teacher(perception, batch)
        if "text" in stage.losses and batch.question_ids:
            with fake, live, counters[1], bfloat16:
                prefix = (
                    student.embed_objects(gt_objects) if gt_objects else loss_module.language_prefix(perception, batch)
                )
            with live, counters[2], bfloat16, CountedMasks():  # masks are ordinary tensors here
                language = loss_module.language_losses(prefix, batch)
            losses |= {key: stand_ins.like(loss) for key, loss in language.items()}
        if perception is not None:
            predicted = stand_ins.like(replace(perception, encoder_output=None))
            losses |= loss_module.perception_losses(predicted, batch, stand_ins.like(mapped))
        if not losses:
            raise SceneError("these scenes have no targets for any of the losses " + ", ".join(stage.losses))
        UncertaintyWeighting(list(losses))(losses).backward()
        with fake, live, counters[3]:
            stand_ins.send_gradients_back()
    passes, activations = live.peak, live.peak_without_apart
    for hook in hooks:
        hook.remove()
    optimizer = build_optimizer(loss_module, stage)
    live.reset_peak()
    with fake, live:
        optimizer.step()
    forward_and_backward, recomputed = counters[:4], counters[4]
    flops = sum(each.get_total_flops() for each in forward_and_backward) - recomputed.get_total_flops()
    named = {key: value for key, value in loss_module.named_parameters() if value.requires_grad}
    gradients = {key: value.grad for key, value in named.items() if value.grad is not None}
    assert all(gradient.shape == named[key].shape for key, gradient in gradients.items())
    states = [
        (parameter, state)
        for part in optimizer.parts
        for parameter, tensors in part.state.items()
        for state in tensors.values()
        if isinstance(state, Tensor) and state.ndim
    ]
    assert all(state.shape == parameter.shape for parameter, state in states)
    state_bytes = sum(state.nbytes for _, state in states)
    gradient_bytes = sum(gradient.nbytes for gradient in gradients.values())
    trained_bytes = sum(value.nbytes for value in named.values())
    weight_bytes = sum(weight.nbytes for weight in weights)
    vision = student.config.get_vision_config()
    scenes, views, _, height, width = batch.pixel_values.shape
    patches = (height // vision.patch_size) * (width // vision.patch_size)
    vision_tokens = scenes * views * (1 + vision.num_register_tokens + patches)
    return StageEstimate(
        name=name,
        photos=tuple(batch.pixel_values.shape),
        vision_tokens=0 if perception is None else vision_tokens,
        text_tokens=sum(ids.numel() for ids in batch.question_ids),
        losses=tuple(losses),
        trained=sum(value.numel() for value in named.values()),
        frozen=sum(weight.numel() for weight in weights if not weight.requires_grad),
        gradients=len(gradients),
        without_gradient=tuple(key for key in named if key not in gradients),
        states=len(states),
        weight_bytes=weight_bytes,
        state_bytes=state_bytes,
        memory=StepMemory(
            frozen=weight_bytes - trained_bytes,
            trained=trained_bytes,
            gradients=gradient_bytes,
            states=state_bytes,
            activations=activations,
            passes=passes,
            update=max(0, live.peak - state_bytes - gradient_bytes),
        ),
        micro_batches=stage.micro_batches,
        flops=stage.micro_batches * flops,
    )


class CountedMasks(TorchFunctionMode):
    """Indexes fake tensors by ordinary masks, whose number of elements decides the shape."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is Tensor.__getitem__ and isinstance(args[0], FakeTensor):
            chosen = args[1]
            if isinstance(chosen, Tensor) and chosen.dtype == torch.bool and not isinstance(chosen, FakeTensor):
                return args[0][chosen.nonzero(as_tuple=True)]
        return function(*args, **(kwargs or {}))


class StandIns:
    """Ordinary tensors of the shapes of fake ones, for losses that depend on values."""

    def __init__(self) -> None:
        self._pairs: list[tuple[Tensor, Tensor]] = []

    def like(self, predicted: Any) -> Any:
        """Return random tensors in [0.5, 1.5) in place of a tensor, or of those of a (nested) dataclass."""
        if predicted is None:
            return None
        if is_dataclass(predicted) and not isinstance(predicted, type):
            return type(predicted)(*[self.like(getattr(predicted, field.name)) for field in fields(predicted)])
        real = torch.rand(predicted.shape) + 0.5
        if predicted.requires_grad:
            real.requires_grad_()
            self._pairs.append((predicted, real))
        return real

    def send_gradients_back(self) -> None:
        """Run the backward pass of the fake tensors whose stand-ins have gradients."""
        reached = [fake for fake, real in self._pairs if real.grad is not None]
        torch.autograd.backward(reached, [torch.empty_like(tensor) for tensor in reached])
