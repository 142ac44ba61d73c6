"""A distil run from a recipe to a model folder, continued wherever it was killed.

    <out>/recipe.json        the resolved recipe; another recipe is refused here
    <out>/tokenizer/         learnt from the run's own questions
    <out>/<stage>/           checkpoints; student.safetensors once the stage is done
    <out>/metrics.jsonl      one line each few steps
    <out>/curves.png         the same as a picture: losses and their weights
    <out>/model/             the student, for `dollhouse ask --model`
    <out>/run.json           recipe, versions, data, commit, times

Knows the order of things; how each is done stands in the modules beside it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedTokenizerBase, TrainerCallback

from dollhouse import __version__
from dollhouse.data.dataset import StepDataset
from dollhouse.data.feature_cache import FeatureCache, modules_hash
from dollhouse.data.record_dataset import open_target_source
from dollhouse.data.target_source import TargetSource
from dollhouse.errors import DollhouseError, RecipeError, StorageError
from dollhouse.models.dollhouse.checkpoint import save_student, single_weights
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.system.atomic_io import atomic_path, write_text
from dollhouse.system.environment import describe_machine, source_commit
from dollhouse.training.callbacks import StageProgress
from dollhouse.training.config import HEAD_OF_LOSS, Recipe, StageConfig, check_recipe
from dollhouse.training.loss_module import LossModule
from dollhouse.training.loss_weighting import weighting_of
from dollhouse.training.model_init import build_student, check_eyes, module_name, teacher_width
from dollhouse.training.plots import plot_losses
from dollhouse.training.trainer import DistillTrainer, MetricsFile

TRAINING_VERSION = 1  #: raise it whenever the same recipe, data and seed would give other weights
MIND = {
    "multi_modal_projector",
    "language_model",
    "thinking_map",
}  #: the modules behind the object tokens; all others are eyes
SPEAKING = {
    "text",
    "text_kl",
    "grounding",
    "thinking_probe",
}  #: losses that need nothing of what was seen but the objects


def distill(
    recipe: Recipe,
    out: Path,
    progress: bool = True,
    rehearsal: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
) -> Path:
    """Carry out ``recipe`` in folder ``out`` and return the model folder; a run begun there is continued.

    A ``rehearsal`` may run with eyes that are random and never trained, which a run in earnest may not, and keeps no
    weights: it returns ``out``. ``callbacks`` watch every stage's trainer.

    Raises RecipeError where ``out`` holds a run of another recipe, SceneError from the data, ModelError from weights,
    StorageError where the disk is full (what was written before stays whole).
    """
    begun = time.time()
    if not rehearsal:
        check_eyes(recipe)
    claim_folder(recipe, out)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    model, processor = build_student(recipe, out)
    lessons = open_target_source(recipe.data, model.config)
    if recipe.data.records is not None and not lessons.shares_vocabulary(processor.tokenizer):
        print("the teacher speaks in other tokens than the student: it is learnt from by its answers' text only")
    seconds = {}
    for name, stage in recipe.stages.items():
        done = out / name / "student.safetensors"
        if done.exists():
            load_weights(done, model)
            continue
        started = time.time()
        train_stage(
            recipe, name, stage, model, processor.tokenizer, lessons, out, progress, callbacks, keep=not rehearsal
        )
        if not rehearsal:
            write_weights(done, model)
        seconds[name] = round(time.time() - started, 1)
    if rehearsal:
        return out
    save_student(model, processor, out / "model")
    plot_losses(out / "metrics.jsonl", out / "curves.png")
    times = {"this_call": round(time.time() - begun, 1), **seconds}
    write_text(out / "run.json", json.dumps(run_record(recipe, model, len(lessons), times), indent=1))
    return out / "model"


def run_record(recipe: BaseModel, model: nn.Module, lessons: int, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What ``run.json`` tells of a run, JSON-able."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "commit": source_commit(),
        "versions": {"dollhouse": __version__} | {name: version(name) for name in ("torch", "transformers", "numpy")},
        "machine": describe_machine() | {"threads": torch.get_num_threads()},
        "parameters": count_parameters(model),
        "lessons": lessons,
        "seconds": dict(seconds),
    }


def claim_folder(recipe: Recipe, out: Path) -> None:
    """Make ``out`` this recipe's folder, or say that it is another's."""
    frozen = json.dumps(recipe.model_dump(mode="json"), indent=1)
    path = out / "recipe.json"
    theirs = json.loads(path.read_text()) if path.exists() else None
    if theirs is not None and not same_recipe(theirs, recipe):
        mine = json.loads(frozen)
        changed = [key for key in mine if mine.get(key) != theirs.get(key)]
        raise RecipeError(
            f"{out} holds a run of another recipe (different: {', '.join(changed)}): choose another --out, or delete it"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make folder {out}: {error.strerror}") from error
    write_text(path, frozen)


def same_recipe(frozen: dict[str, Any], recipe: Recipe) -> bool:
    """Whether a recipe kept as JSON, perhaps from before some settings were known, is ``recipe``."""
    if frozen.get("init_from") is not None:
        frozen = {key: value for key, value in frozen.items() if key != "student"}  # the model folder brings it
    try:
        return check_recipe(frozen, "recipe.json") == recipe
    except RecipeError:
        return False


def train_stage(
    recipe: Recipe,
    name: str,
    stage: StageConfig,
    model: DollhouseForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    lessons: TargetSource,
    out: Path,
    progress: bool,
    callbacks: Sequence[TrainerCallback] = (),
    keep: bool = True,
) -> None:
    """One stage, from its last whole checkpoint if it has one; without ``keep`` it writes none."""
    trained = choose_trained(stage, model)
    names = list(stage.losses)
    weighting = weighting_of(
        recipe.loss_weighting, names, {str(loss): one for loss, one in recipe.static_weights.items()}
    )
    if not torch.cuda.is_available():  # on short sequences plain attention is faster than the fused one
        model.language_model.set_attn_implementation("eager")
    frozen, read_teacher = eyes_are_frozen(trained), stage.object_source == "teacher"
    only_objects = (
        set(names) <= SPEAKING and not stage.gt_assignment_prob and not read_teacher and not model.config.blind
    )
    objective = LossModule(
        model,
        weighting,
        names,
        frozen,
        read_teacher,
        store=sight_store(recipe, model, lessons) if frozen and only_objects else None,
        teacher_width=teacher_width(lessons, names),
        temperature=stage.temperature,
    )
    trainer = DistillTrainer(
        objective,
        stage,
        out / name,
        StepDataset(lessons, stage.sampling(recipe.data.questions_per_scene), recipe.seed, tokenizer, model.config),
        seed=recipe.seed,
        save_strategy="steps" if keep else "no",
        bf16=use_bfloat16(recipe.precision),
        use_cpu=not torch.cuda.is_available(),
        dataloader_num_workers=recipe.data.workers,
        dataloader_prefetch_factor=4 if recipe.data.workers else None,
    )
    go_on(trainer, out, name, progress, callbacks)
    for parameter in model.parameters():
        parameter.requires_grad_(True)


def sight_store(recipe: Recipe, model: DollhouseForConditionalGeneration, lessons: TargetSource) -> FeatureCache:
    """Where what the student's frozen eyes see is kept between steps and runs, beside the lessons if they are kept."""
    if lessons.cache is None:
        return FeatureCache(None)
    eyes = [child for name, child in sorted(model.named_children()) if name not in MIND]
    rounded = "bfloat16" if use_bfloat16(recipe.precision) else "float32"
    return FeatureCache(lessons.cache.folder / f"seen-{modules_hash(eyes)}-{rounded}")


def go_on(trainer: DistillTrainer, out: Path, name: str, progress: bool, callbacks: Sequence[TrainerCallback]) -> None:
    """Train the stage ``name`` from its last whole checkpoint in ``out`` to its end, watched by ``callbacks``."""
    trainer.add_callback(MetricsFile(out / "metrics.jsonl", name))
    if progress:
        trainer.add_callback(StageProgress(name))
    for callback in callbacks:
        trainer.add_callback(callback)
    try:
        trainer.train(resume_from_checkpoint=last_checkpoint(out / name))
    except DollhouseError as error:  # from a worker process it comes wrapped in that process's traceback
        last = str(error).strip().splitlines()[-1]
        raise type(error)(last.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")) from error


def choose_trained(stage: StageConfig, model: DollhouseForConditionalGeneration) -> set[str]:
    """Let gradients flow to the parts that a stage trains, and to no other; their modules' names."""
    trained = {module_name(part) for part in stage.train} | ({"blind_prefix"} if model.config.blind else set())
    trained |= {HEAD_OF_LOSS[loss] for loss in stage.losses if loss in HEAD_OF_LOSS}
    if "language_model" in trained and model.config.thinking_passes > 1:
        trained.add("thinking_map")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in trained)
    if "encoder" in trained and stage.unfreeze_from_layer and not model.config.blind:
        try:
            model.encoder.freeze_before(stage.unfreeze_from_layer)
        except ValueError as error:
            raise RecipeError(f"unfreeze_from_layer: {error}") from None
    return trained


def eyes_are_frozen(trained: set[str]) -> bool:
    """Whether nothing before the object tokens is trained, given the names of the trained modules."""
    return not trained - MIND


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint; all that carry the name are whole."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    return str(found[-1]) if found else None


def use_bfloat16(precision: str) -> bool:
    """Whether to multiply in bfloat16: where the processor does so natively, unless the recipe says otherwise."""
    if precision != "auto":
        return precision == "bfloat16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(
        torch.backends.cpu.get_cpu_capability().startswith("AVX512") and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Parameters of each part and in all."""
    parts = {name: sum(p.numel() for p in child.parameters()) for name, child in model.named_children()}
    return {**parts, "all": sum(p.numel() for p in model.parameters())}


def write_weights(path: Path, model: nn.Module) -> None:
    """All weights in full precision; the file is whole or not there. Raises StorageError."""
    with atomic_path(path) as unfinished:
        save_file(single_weights(model), unfinished)


def load_weights(path: Path, model: nn.Module) -> None:
    """What :func:`write_weights` wrote, back into a model of the same shape."""
    kept = load_file(path)
    tied = model.state_dict().keys() - single_weights(model).keys()
    missing, unexpected = model.load_state_dict(kept, strict=False)
    if set(missing) - tied or unexpected:
        raise RecipeError(f"{path} holds other weights than the recipe's model has: delete that stage's folder")
