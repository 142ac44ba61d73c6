"""A dry run: one optimiser step of every stage at full size, in shapes only.

The model, its gradients and the optimiser's state are fake tensors (torch's meta device under a processor's name):
nothing is computed and almost nothing allocated, but every operation checks its shapes. What depends on values (the
losses of seeing: which pixels are valid, which box matches which) runs in earnest, on small stand-ins of the
predictions' shapes and the recipe's own first batch. Knows nothing of files beside the data.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers import PreTrainedTokenizerBase

from dollhouse.data.collator import Batch
from dollhouse.data.dataset import StepDataset
from dollhouse.data.oracle_objects import noisy_gt_objects
from dollhouse.data.record_dataset import open_target_source
from dollhouse.data.target_source import TargetSource
from dollhouse.errors import RecipeError, SceneError
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.pretrained_lm import read_tokenizer
from dollhouse.models.dollhouse.tokenization import fill_token_ids, train_tokenizer
from dollhouse.models.vggt.convert import check_official
from dollhouse.scenes.synthetic.furniture import CATEGORIES, COLOURS
from dollhouse.training.config import Recipe
from dollhouse.training.estimate.live_memory import LiveMemory, without_memory
from dollhouse.training.loss_module import LossModule
from dollhouse.training.loss_weighting import UncertaintyWeighting
from dollhouse.training.model_init import bare_config, build_student
from dollhouse.training.optim import MuonWithAdamW
from dollhouse.training.train import choose_trained, eyes_are_frozen, use_bfloat16


@dataclass(frozen=True)
class StageCheck:
    """What one step of a stage is, all its shapes having been found right."""

    name: str
    photos: tuple[int, ...]  #: (B, V, 3, H, W)
    vision_tokens: int  #: of all views together; 0 where no photo is looked at
    text_tokens: int  #: of all questions and answers, padding included
    losses: tuple[str, ...]  #: that found targets in the first batch
    trained: int  #: parameters
    frozen: int  #: parameters
    gradients: int  #: trained parameters that got a gradient, each of its shape
    without_gradient: tuple[str, ...]  #: trained parameters that got none
    states: int  #: tensors of the optimiser's, each of its parameter's shape
    weight_bytes: int
    state_bytes: int  #: the optimiser's
    peak_bytes: int  #: of all tensors at once: weights, gradients, state, and what the step holds in between
    flops: int  #: floating-point operations of the step; a multiplication and an addition are two

    @property
    def tokens(self) -> int:
        """That pass through the model in a step."""
        return self.vision_tokens + self.text_tokens


def dry_run(recipe: Recipe) -> list[StageCheck]:
    """Check one step of every stage of ``recipe``.

    Raises:
        RecipeError: where shapes do not fit each other, naming the stage.
        SceneError, ModelError: from the recipe's data, and from the headers of its weights.
    """
    config, batches = first_batches(recipe)
    fake, student = without_memory(lambda: DollhouseForConditionalGeneration(config))
    if recipe.student.encoder_weights is not None and not config.blind:
        check_official(student.encoder, recipe.student.encoder_weights)
    if not torch.cuda.is_available():  # as the run itself does
        student.language_model.set_attn_implementation("eager")
    checks = []
    for name, batch in batches.items():
        try:
            checks.append(check_stage(recipe, name, fake, student, batch))
        except RuntimeError as error:  # torch's own, where shapes do not fit
            raise RecipeError(f"stage {name}: {str(error).splitlines()[0]}") from error
    return checks


def first_batches(recipe: Recipe) -> tuple[DollhouseConfig, dict[str, Batch]]:
    """The student's config, and the first batch of every stage, with a tokenizer learnt from one lesson."""
    if recipe.init_from is not None:
        started, processor = build_student(recipe, Path())
        return started.config, batches_of(recipe, open_target_source(recipe.data, started.config), processor.tokenizer)
    lessons = open_target_source(recipe.data, bare_config(recipe, vocab_size=300))
    settings = recipe.student
    if settings.language_weights is not None:
        tokenizer = read_tokenizer(settings.language_weights, settings.num_thinking_tokens)
    else:
        texts = [f" {text}" for question in lessons.questions(0) for text in question[:2]]
        tokenizer = train_tokenizer(texts, [*CATEGORIES, *COLOURS], settings.vocabulary, settings.num_thinking_tokens)
    config = bare_config(recipe, vocab_size=len(tokenizer))
    fill_token_ids(config, tokenizer)
    lessons.config = config
    return config, batches_of(recipe, lessons, tokenizer)


def batches_of(recipe: Recipe, lessons: TargetSource, tokenizer: PreTrainedTokenizerBase) -> dict[str, Batch]:
    """The first batch of every stage."""
    return {
        name: StepDataset(
            lessons, stage.sampling(recipe.data.questions_per_scene), recipe.seed, tokenizer, lessons.config
        )[0]
        for name, stage in recipe.stages.items()
    }


def check_stage(
    recipe: Recipe, name: str, fake: FakeTensorMode, student: DollhouseForConditionalGeneration, batch: Batch
) -> StageCheck:
    """One step of one stage, with ``fake`` and ``student`` from :func:`dollhouse.training.estimate.live_memory.without_memory`."""
    stage = recipe.stages[name]
    trained = choose_trained(stage, student)
    student.train().zero_grad(set_to_none=True)
    told = 0 if batch.teacher is None else batch.teacher.features.shape[-1]
    frozen, read_teacher = eyes_are_frozen(trained), stage.object_source == "teacher"
    objective = LossModule(
        student,
        nn.Module(),
        stage.losses,
        frozen,
        read_teacher,
        teacher_width=told,
        temperature=stage.temperature,
    )
    for readout in (objective.grounding, objective.thoughts, objective.teacher_map):
        if readout is not None:
            with fake:
                readout.to_empty(device="cpu")
    weights = list(objective.parameters())
    dictated = noisy_gt_objects(batch, student.config) if objective.read_teacher else None
    live = LiveMemory(weights)
    counters = [FlopCounterMode(display=False, custom_mapping=_ATTENTION_FLOPS) for _ in range(4)]
    bfloat16 = torch.autocast("cpu", torch.bfloat16, enabled=use_bfloat16(recipe.precision))
    stand_ins = StandIns()
    losses: dict[str, Tensor] = {}
    with fake, live, counters[0], bfloat16:
        perception = objective.look(batch)
        mapped = None if perception is None else objective.as_teacher(perception, batch)
    if "text" in stage.losses and batch.question_ids:
        with fake, live, counters[1], bfloat16:
            prefix = objective.prefix(perception, batch) if dictated is None else student.embed_objects(dictated)
        with live, counters[2], bfloat16, CountedMasks():  # not all is fake here: masks are ordinary ones
            said = objective.language_losses(prefix, batch)
        losses.update({key: stand_ins.like(loss) for key, loss in said.items()})
    if perception is not None:
        losses.update(
            objective.perception_losses(
                stand_ins.like(replace(perception, encoder_output=None)), batch, stand_ins.like(mapped)
            )
        )
    if not losses:
        raise SceneError("these scenes have no targets for any of the losses " + ", ".join(stage.losses))
    UncertaintyWeighting(list(losses))(losses).backward()
    with fake, live, counters[3]:
        stand_ins.send_gradients_back()
        optimizer = MuonWithAdamW(objective, stage.learning_rate, stage.muon_learning_rate, stage.weight_decay)
        optimizer.step()
    named = {key: value for key, value in objective.named_parameters() if value.requires_grad}
    with_gradient = [value for value in named.values() if value.grad is not None]
    assert all(value.grad is not None and value.grad.shape == value.shape for value in with_gradient)
    states = [
        (parameter, state)
        for part in optimizer.parts
        for parameter, kept in part.state.items()
        for state in kept.values()
        if isinstance(state, Tensor) and state.ndim
    ]
    assert all(state.shape == parameter.shape for parameter, state in states)
    weight_bytes = sum(weight.nbytes for weight in weights)
    return StageCheck(
        name=name,
        photos=tuple(batch.pixel_values.shape),
        vision_tokens=0 if perception is None else vision_tokens(student.config, batch),
        text_tokens=sum(ids.numel() for ids in batch.question_ids),
        losses=tuple(losses),
        trained=sum(value.numel() for value in named.values()),
        frozen=sum(weight.numel() for weight in weights if not weight.requires_grad),
        gradients=len(with_gradient),
        without_gradient=tuple(key for key, value in named.items() if value.grad is None),
        states=len(states),
        weight_bytes=weight_bytes,
        state_bytes=sum(state.nbytes for _, state in states),
        peak_bytes=weight_bytes + live.peak,
        flops=sum(counter.get_total_flops() for counter in counters),
    )


def vision_tokens(config: DollhouseConfig, batch: Batch) -> int:
    """Tokens of all views of a batch in the encoder."""
    vision = config.get_vision_config()
    scenes, views, _, height, width = batch.pixel_values.shape
    patches = (height // vision.patch_size) * (width // vision.patch_size)
    return scenes * views * (1 + vision.num_register_tokens + patches)


class CountedMasks(TorchFunctionMode):
    """Lets ordinary masks pick from fake tensors: how many they pick is counted, since a shape depends on it."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is Tensor.__getitem__ and isinstance(args[0], FakeTensor):
            chosen = args[1]
            if isinstance(chosen, Tensor) and chosen.dtype == torch.bool and not isinstance(chosen, FakeTensor):
                return args[0][chosen.nonzero(as_tuple=True)]
        return function(*args, **(kwargs or {}))


class StandIns:
    """Ordinary tensors of the shapes of fake ones, so that losses can be computed; gradients go back as shapes."""

    def __init__(self) -> None:
        self._pairs: list[tuple[Tensor, Tensor]] = []

    def like(self, predicted: Any) -> Any:
        """A tensor, or a dataclass of tensors and dataclasses, with every tensor a random one in [0.5, 1.5)."""
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
        """The backward pass of the fake tensors, from the gradients that the losses gave their stand-ins."""
        reached = [fake for fake, real in self._pairs if real.grad is not None]
        torch.autograd.backward(reached, [torch.empty_like(one) for one in reached])


def _forward_flops(query: Any, key: Any, value: Any, *rest: Any, **options: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _backward_flops(gradient: Any, query: Any, key: Any, value: Any, *rest: Any, **options: Any) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


_aten = torch.ops.aten
#: torch's counter knows the fused attention of graphics processors only
_ATTENTION_FLOPS: dict[Any, Any] = {
    torch.ops.dollhouse.chunked_attention: _forward_flops,
    _aten._scaled_dot_product_flash_attention_for_cpu: _forward_flops,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward_flops,
}
