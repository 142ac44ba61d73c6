"""Distillation runs: from a recipe to a model folder, resumable after a kill at any moment.

<out>/recipe.json        the resolved recipe; a run of another recipe is refused here
<out>/tokenizer/         pretrained, or trained on the run's own questions
<out>/<stage>/           checkpoints; log_sigma.json and student.safetensors once the stage is done
<out>/metrics.jsonl      one line every few steps
<out>/curves.png         plots of the losses and their weights
<out>/model/             the student, for `dollhouse ask --model`
<out>/run.json           recipe, versions, data, commit, times
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from torch import nn
from transformers import PreTrainedTokenizerBase, TrainerCallback

from dollhouse.data.dataset import StepDataset
from dollhouse.data.label_counts import count_labels
from dollhouse.data.record_dataset import RecordTargetSource, open_target_source
from dollhouse.data.target_source import TargetSource
from dollhouse.errors import DollhouseError, ModelError, RecipeError
from dollhouse.models.checked_tensors import load_tensors, save_tensors
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.processing import DollhouseProcessor
from dollhouse.models.dollhouse.serialization import save_student, single_weights
from dollhouse.system.atomic_io import write_text
from dollhouse.system.folder_lock import locked_folder
from dollhouse.training.callbacks import MetricsFile, StageProgress
from dollhouse.training.compilation import compiled_parts
from dollhouse.training.config import Recipe
from dollhouse.training.frozen_encoder import restore_encoder, use_cached_features
from dollhouse.training.loss_weighting import build_weighting, read_log_sigma, store_log_sigma
from dollhouse.training.model_init import (
    build_student,
    check_encoder,
    load_initial_student,
    student_config,
    teacher_width,
)
from dollhouse.training.parallel import (
    ENDED,
    barrier,
    connect,
    first_process_first,
    gather,
    is_lost_process,
    processes,
    rank,
    shard,
)
from dollhouse.training.plots import plot_losses
from dollhouse.training.recipes import require_filled
from dollhouse.training.recomputation import recomputed_activations
from dollhouse.training.run_folder import claim_folder, find_checkpoint, run_record
from dollhouse.training.stage import build_stage, object_cache_of, use_bfloat16
from dollhouse.training.tokenizer import load_or_train_tokenizer
from dollhouse.training.trainer import DistillTrainer, is_worker_death
from dollhouse.training.validation import open_validation

TRAINING_VERSION = 6  #: raise it whenever the same recipe, data and seed would give other weights
LOG_SIGMA = "log_sigma.json"  #: in a stage's folder


def distill(
    recipe: Recipe,
    out: Path,
    progress: bool = True,
    keep_weights: bool = True,
    callbacks: Sequence[TrainerCallback] = (),
) -> Path:
    """Train a student as ``recipe`` says, or continue the run in folder ``out``.

    Args:
        keep_weights: False, for profiling: write no checkpoints and no model, and accept a random encoder.
        callbacks: added to every stage's trainer.

    Returns the model folder, or ``out`` where no weights are kept.

    Raises:
        RecipeError: ``out`` has a run of another recipe, or the recipe leaves values open, or does not fit its model
            or data.
        SceneError, ModelError: from the data and from weights.
        StorageError: the disk is full; what was written before stays complete.
    """
    require_filled(recipe)
    connect(recipe)
    try:
        with locked_folder(out) if rank() == 0 else nullcontext():
            return run_stages(recipe, out, progress and rank() == 0, keep_weights, callbacks)
    except RuntimeError as error:
        if is_lost_process(error):
            raise RecipeError(f"{ENDED} ({' '.join(str(error).split())[:160]})") from error
        raise


def run_stages(
    recipe: Recipe, out: Path, progress: bool, keep_weights: bool, callbacks: Sequence[TrainerCallback]
) -> Path:
    """Train all stages, in a folder that no other run writes; see :func:`distill`."""
    started = time.perf_counter()
    if keep_weights or recipe.data.features_used:
        check_encoder(recipe)
    with first_process_first():
        if rank() == 0:
            claim_folder(recipe, out)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    with first_process_first():
        model, processor, source = prepare_student(recipe, out)
    if rank() == 0 and isinstance(source, RecordTargetSource):
        print(f"the teacher's tokens: {source.token_forms(processor.tokenizer)}")
    counts = count_labels(source, model.config.labels)
    if rank() == 0 and counts.ignored:
        print(counts)
    seconds = {}
    for name in recipe.stages:
        done = out / name / "student.safetensors"
        barrier()  # all find the weights of a stage, or none
        if load_weights(done, model):
            continue
        stage_started = time.perf_counter()
        train_stage(recipe, name, model, processor.tokenizer, source, out, progress, callbacks, keep_weights)
        barrier()
        if keep_weights and rank() == 0:
            save_tensors(single_weights(model), done)
        seconds[name] = round(time.perf_counter() - stage_started, 1)
    if not keep_weights:
        return out
    if recipe.data.features_used and rank() == 0:
        restore_encoder(recipe, model)
    if rank() == 0:
        save_student(model, processor, out / "model")
        plot_losses(out / "metrics.jsonl", out / "curves.png")
        times = {"this_call": round(time.perf_counter() - started, 1), **seconds}
        record = run_record(recipe, model, len(source), counts, times)
        if isinstance(source, RecordTargetSource):
            record["records"] = source.describe_records()
        write_text(out / "run.json", json.dumps(record, indent=1))
    barrier()
    return out / "model"


def prepare_student(
    recipe: Recipe, out: Path
) -> tuple[DollhouseForConditionalGeneration, DollhouseProcessor, TargetSource]:
    """Return the student that a run starts with, its processor, and the samples it is trained on."""
    if recipe.init_from is not None:
        model, processor = load_initial_student(recipe)
        source = open_target_source(recipe.data, model.config)
    else:
        source = open_target_source(recipe.data, student_config(recipe))
        model, processor = build_student(recipe, load_or_train_tokenizer(recipe, source, out / "tokenizer"))
    if recipe.data.features_used:
        use_cached_features(recipe, model, source)
    return model, processor, source


def train_stage(
    recipe: Recipe,
    name: str,
    model: DollhouseForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    source: TargetSource,
    out: Path,
    progress: bool = True,
    callbacks: Sequence[TrainerCallback] = (),
    keep_weights: bool = True,
) -> None:
    """Train one stage, from its last checkpoint in ``out`` if there is one."""
    stage = recipe.stages[name]
    log_sigma: dict[str, float] = {}
    for earlier in list(recipe.stages)[: list(recipe.stages).index(name)]:
        log_sigma |= read_log_sigma(out / earlier / LOG_SIGMA)
    # the same fresh layers of losses, wherever the run was interrupted before
    torch.manual_seed(recipe.seed + 1 + list(recipe.stages).index(name))
    fixed = {str(loss): weight for loss, weight in recipe.static_weights.items()}
    loss_module = build_stage(
        stage,
        model,
        build_weighting(recipe.loss_weighting, list(stage.losses), fixed, log_sigma),
        teacher_width(source, stage),
        partial(object_cache_of, recipe, model, source),
    )
    sampling = stage.sampling(recipe.data)
    sharded = recipe.parallel == "fsdp" and processes() > 1
    trainer = DistillTrainer(
        shard(deepcopy(loss_module), PartialState().device) if sharded else loss_module,
        stage,
        out / name,
        StepDataset(source, sampling, recipe.seed, tokenizer, model.config),
        seed=recipe.seed,
        save_strategy="steps" if keep_weights else "no",
        bf16=use_bfloat16(recipe.precision),
        use_cpu=not torch.cuda.is_available(),
        dataloader_num_workers=recipe.data.workers,
        dataloader_prefetch_factor=4 if recipe.data.workers else None,
        trackers=recipe.trackers,
    )
    metrics = MetricsFile(out / "metrics.jsonl", name)
    if rank() == 0:
        trainer.add_callback(metrics)
    validation = (
        open_validation(recipe, stage, trainer, metrics, tokenizer, model, source.encoder_key) if keep_weights else None
    )
    if validation:
        trainer.add_callback(validation)
    shown = StageProgress(name, progress)
    for callback in (shown, *callbacks):
        trainer.add_callback(callback)
    try:
        with (
            shown.bar,
            compiled_parts(trainer.model, recipe.compile),
            recomputed_activations(trainer.model, recipe.activation_checkpointing, trainer.speed.recomputation),
        ):
            trainer.train(resume_from_checkpoint=find_checkpoint(out / name))
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # which end the data workers once nothing refers to them
        if is_worker_death(error):
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(" .")
            raise RecipeError(
                f"a process that prepares batches ended ({reason}), perhaps for lack "
                "of memory: the same command continues the run; if this happens again, add data.workers=0"
            ) from error
        if isinstance(error, DollhouseError):  # from a worker process it comes wrapped in that process's traceback
            last = str(error).strip().splitlines()[-1]
            raise type(error)(last.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")) from error
        raise
    if sharded:
        loss_module.load_state_dict(gather(trainer.model.state_dict(), to_all=True))
    if keep_weights and rank() == 0:
        store_log_sigma(loss_module.weighting, out / name / LOG_SIGMA)
    if validation:
        barrier()  # process 0 has written them
        model.load_state_dict(validation.best_weights(), strict=False)
    for parameter in model.parameters():
        parameter.requires_grad_(True)


def load_weights(path: Path, model: nn.Module) -> bool:
    """Load the weights of a finished stage; False where there are none, or, with a warning, where they are damaged.

    Raises RecipeError where they are of another model.
    """
    try:
        weights = load_tensors(path)
    except FileNotFoundError:
        return False
    except ModelError as error:
        print(f"warning: {error}; written again from the stage's last checkpoint", file=sys.stderr)
        return False
    tied = model.state_dict().keys() - single_weights(model).keys()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if set(missing) - tied or unexpected:
        raise RecipeError(f"{path} has other weights than the recipe's model has: delete that stage's folder")
    return True
