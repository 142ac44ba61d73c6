"""A nano teacher from its recipe to a checkpoint folder, continued wherever it was killed.

    <out>/recipe.json        the resolved recipe; another recipe is refused here
    <out>/tokenizer/         learnt from the run's own questions
    <out>/<stage>/           checkpoints; learner.safetensors once the stage is done
    <out>/metrics.jsonl      one line each few steps
    <out>/model/             the teacher in the official layout, for `dollhouse label --teacher llava3d:<out>/model`
    <out>/run.json           recipe, versions, commit, times

Knows the order of things; how each is done stands in the modules beside it.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import TrainerCallback

from dollhouse.distill.curves import draw_curves
from dollhouse.distill.lessons import Lessons
from dollhouse.distill.nano_teacher.learner import Learner
from dollhouse.distill.nano_teacher.lessons import PosedLessons
from dollhouse.distill.nano_teacher.recipe import PARTS, NanoTeacherRecipe, check_nano_teacher
from dollhouse.distill.nano_teacher.words import Phrasebook, fill_word_ids, run_tokenizer
from dollhouse.distill.run import go_on, load_weights, run_record, use_bfloat16, write_weights
from dollhouse.distill.settings import Stage
from dollhouse.distill.trainer import DistillTrainer
from dollhouse.errors import RecipeError, StorageError
from dollhouse.scenes.furniture import CATEGORIES, COLOURS
from dollhouse.student.checkpoint import replace_folder
from dollhouse.student.config import DollhouseConfig
from dollhouse.teachers.llava3d.model import LLaVA3DModel
from dollhouse.teachers.llava3d.weights import to_official, weights_hash
from dollhouse.whole_file import write_text

MOST_OBJECTS = 32  #: of one room; those beyond have no targets


def train_nano_teacher(
    recipe: NanoTeacherRecipe, out: Path, progress: bool = True, callbacks: Sequence[TrainerCallback] = ()
) -> Path:
    """Carry out ``recipe`` in folder ``out`` and return the checkpoint folder; a run begun there is continued.

    ``callbacks`` watch every stage's trainer. Raises RecipeError where ``out`` holds a run of another recipe, and
    StorageError where the disk is full (what was written before stays whole).
    """
    begun = time.time()
    claim_folder(recipe, out)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    named = named_things(recipe)
    lessons = Lessons(recipe.data, named)
    tokenizer = run_tokenizer(lessons, recipe.model.vocabulary, out / "tokenizer")
    fill_word_ids(named, tokenizer)
    model = LLaVA3DModel(recipe.config(recipe.model.vocabulary))
    learner = Learner(model, named, Phrasebook(tokenizer, named).head, ())
    seconds = {}
    for name, stage in recipe.stages.items():
        done = out / name / "learner.safetensors"
        if done.exists():
            load_weights(done, learner)
            continue
        started = time.time()
        train_stage(
            recipe,
            name,
            stage,
            learner,
            PosedLessons(lessons, stage, recipe.seed, tokenizer, named),
            out,
            progress,
            callbacks,
        )
        write_weights(done, learner)
        seconds[name] = round(time.time() - started, 1)
    save_teacher(model, out / "tokenizer", out / "model")
    times = {"this_call": round(time.time() - begun, 1), **seconds}
    record = run_record(recipe, model, len(lessons), times) | {"weights": weights_hash(model)}
    draw_curves(out / "metrics.jsonl", out / "curves.png")
    write_text(out / "run.json", json.dumps(record, indent=1))
    return out / "model"


def named_things(recipe: NanoTeacherRecipe) -> DollhouseConfig:
    """What rooms show and questions name, as lessons want it told; nothing else of a student's config is used."""
    return DollhouseConfig(
        image_size=recipe.model.image_size,
        num_objects=MOST_OBJECTS,
        max_named_views=recipe.data.views,
        labels=CATEGORIES,
        colours=tuple(COLOURS),
        pad_token_id=0,
    )


def claim_folder(recipe: NanoTeacherRecipe, out: Path) -> None:
    """Make ``out`` this recipe's folder, or say that it is another's."""
    path = out / "recipe.json"
    if path.exists():
        try:
            theirs = check_nano_teacher(json.loads(path.read_text(encoding="utf-8")), str(path))
        except json.JSONDecodeError as error:
            raise RecipeError(f"{path} is not JSON ({error}): choose another --out, or delete that folder") from error
        changed = [key for key in type(recipe).model_fields if getattr(theirs, key) != getattr(recipe, key)]
        if changed:
            raise RecipeError(
                f"{out} holds a run of another recipe (different: {', '.join(changed)}): choose another --out, or "
                "delete it"
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make folder {out}: {error.strerror}") from error
    write_text(path, json.dumps(recipe.model_dump(mode="json"), indent=1))


def train_stage(
    recipe: NanoTeacherRecipe,
    name: str,
    stage: Stage,
    learner: Learner,
    lessons: PosedLessons,
    out: Path,
    progress: bool,
    callbacks: Sequence[TrainerCallback],
) -> None:
    """One stage, from its last whole checkpoint if it has one. A room at a time; a step is ``stage.scenes`` rooms."""
    learner.losses = tuple(stage.losses)
    trained = {module for part in stage.train for module in PARTS[part]}
    for parameter_name, parameter in learner.model.named_parameters():
        parameter.requires_grad_(parameter_name.split(".")[0] in trained)
    trainer = DistillTrainer(
        learner,
        stage,
        out / name,
        lessons,
        seed=recipe.seed,
        gradient_accumulation_steps=stage.scenes,
        save_strategy="steps",
        bf16=use_bfloat16(recipe.precision),
        use_cpu=not torch.cuda.is_available(),
        dataloader_num_workers=recipe.data.workers,
        dataloader_prefetch_factor=4 if recipe.data.workers else None,
    )
    go_on(trainer, out, name, progress, callbacks)


def save_teacher(model: LLaVA3DModel, tokenizer: Path, folder: Path) -> None:
    """A checkpoint folder in the official layout, whole or not at all."""
    staging = folder.with_name(folder.name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    to_official(model, model.config, staging)
    try:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tokenizer / name, staging / name)
        replace_folder(staging, folder)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise StorageError(f"cannot write model {folder}: {error.strerror or error}") from error
