"""The student that a run starts with: of the recipe's sizes, or the model that the recipe names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from transformers import PreTrainedTokenizerBase

from dollhouse.data.target_source import TargetSource
from dollhouse.errors import RecipeError
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.image_processing import DollhouseImageProcessor
from dollhouse.models.dollhouse.language_transfer import transfer_language
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.net2net import widen
from dollhouse.models.dollhouse.pretrained_lm import load_language_model, read_language_config
from dollhouse.models.dollhouse.processing import DollhouseProcessor
from dollhouse.models.dollhouse.serialization import load_student
from dollhouse.models.dollhouse.tokenization import fill_token_ids
from dollhouse.models.vggt.convert import licence_of, load_official
from dollhouse.models.vggt.efficientnet import IMAGENET_LICENCE, load_imagenet
from dollhouse.scenes.synthetic.furniture import COLOURS
from dollhouse.training.config import Recipe, StageConfig
from dollhouse.training.tokenizer import chat_format

Student = tuple[DollhouseForConditionalGeneration, DollhouseProcessor]
TEACHER_WIDTH_SAMPLES = 8  #: searched for the width of the teacher's features
DEPTH_BINS = 32  #: where a loss needs bins and the recipe does not say how many


def load_initial_student(recipe: Recipe) -> Student:
    """Load the model that ``init_from`` names, widened, with the heads needed and some parts initialised afresh."""
    model, processor, _ = load_student(recipe.init_from)
    model = with_heads(expand_model(model, recipe), recipe)
    return reinit_modules(model, recipe.reinit), processor


def build_student(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Student:
    """Build a student of the recipe's sizes, with the pretrained weights that it names.

    With ``data.feature_cache``, the encoder's weights stay where they are.

    Raises RecipeError for sizes that do not fit, ModelError from weights.
    """
    student = recipe.student
    config = student_config(recipe, vocab_size=len(tokenizer))
    fill_token_ids(config, tokenizer)
    config.chat_format = chat_format(recipe, tokenizer)
    model = DollhouseForConditionalGeneration(config, blank_encoder=student.encoder_weights is not None)
    if student.encoder_weights is not None and not student.blind:
        if not recipe.data.features_used:
            load_official(model.encoder, student.encoder_weights, torch.float32)
        model.encoder.config.licence = licence_of(student.encoder_weights)
        config.licence = f"{config.licence}; its encoder: {model.encoder.config.licence}"
    if student.stem_weights is not None and not student.blind:
        if model.encoder.stem is None:
            raise RecipeError("student.stem_weights are for student.vision.patch_embed: efficientnet; take them out")
        load_imagenet(model.encoder.stem)
        config.licence = f"{config.licence}; its stem: {IMAGENET_LICENCE}"
    if student.language_weights is not None:
        load_language_model(model, student.language_weights)
    if student.language_from is not None:
        source, others, _ = load_student(student.language_from)
        transfer_language(source, others.tokenizer, model, tokenizer)
    model.generation_config.update(
        pad_token_id=config.pad_token_id,
        eos_token_id=config.eos_token_id,
        suppress_tokens=model.suppress_tokens(),
        max_new_tokens=48,
    )
    processor = DollhouseProcessor(
        DollhouseImageProcessor(student.image_size),
        tokenizer,
        prefix_length=student.num_objects,
        num_thinking_tokens=student.num_thinking_tokens,
        thinking_placement=student.thinking_placement,
        normalise_questions=student.normalise_questions,
        grid_size=config.grid_size,
        chat_format=config.chat_format,
    )
    return model, processor


def expand_model(model: DollhouseForConditionalGeneration, recipe: Recipe) -> DollhouseForConditionalGeneration:
    """Return the model with the recipe's width and inputs; the same object where nothing changes."""
    if recipe.width_multiplier == 1 and recipe.use_rgbd == model.config.use_rgbd:
        return model
    if model.config.blind:
        raise RecipeError(f"{recipe.init_from} is a blind model: it can be neither widened nor given depth and poses")
    if model.config.use_rgbd and not recipe.use_rgbd:
        raise RecipeError(f"{recipe.init_from} needs depth and poses: set use_rgbd: true")
    try:
        return widen(model, recipe.width_multiplier, recipe.use_rgbd)
    except ValueError as error:
        raise RecipeError(f"{recipe.init_from}: {error}") from error


def with_heads(model: DollhouseForConditionalGeneration, recipe: Recipe) -> DollhouseForConditionalGeneration:
    """Add the heads that the recipe's losses need and the model lacks, and print their names."""
    fresh = [name for name in sorted(recipe.heads_needed()) if not hasattr(model, name)]
    if fresh and not model.config.blind:
        print(f"{recipe.init_from} has no {' and no '.join(fresh)}, which the losses need: initialised afresh")
        bins = DEPTH_BINS if "depth_bin_head" in fresh else 0
        model.add_heads(depth_bins=bins, relation_head="relation_head" in fresh)
    return model


def teacher_width(source: TargetSource, stage: StageConfig) -> int:
    """Return the width of the teacher's features in the first samples of each source; 0: none, or not needed."""
    parts = [part for part in source.parts if not stage.sources or stage.sources.get(part.name)]
    if "spatial" in stage.losses:
        for index in chain.from_iterable(part.samples[:TEACHER_WIDTH_SAMPLES] for part in parts):
            teacher = source.targets(index).teacher
            if teacher is not None and teacher.features is not None:
                return int(teacher.features.shape[-1])
    return 0


def reinit_modules(model: DollhouseForConditionalGeneration, parts: Sequence[str]) -> DollhouseForConditionalGeneration:
    """Initialise ``parts`` (named as in a stage's ``train``) afresh. Raises RecipeError for parts it lacks."""
    if parts:
        fresh = DollhouseForConditionalGeneration(model.config)
        for part in parts:
            name = module_name(part)
            if not hasattr(model, name):
                raise RecipeError(f"reinit: {part} is no part of the model that init_from brings")
            getattr(model, name).load_state_dict(getattr(fresh, name).state_dict())
        if "language_model" in parts and model.config.thinking_passes > 1:
            model.thinking_map.load_state_dict(fresh.thinking_map.state_dict())
    return model


def module_name(part: str) -> str:
    """Return the student's module of a part that a recipe names."""
    return {"projector": "multi_modal_projector"}.get(part, part)


def student_config(recipe: Recipe, vocab_size: int | None = None) -> DollhouseConfig:
    """Return the student's config, without token ids.

    Args:
        vocab_size: of the tokenizer; None: the recipe's. A larger vocabulary of ``student.text`` leaves rows unused.
    """
    settings = recipe.student
    heads = recipe.heads_needed()
    names = {"labels": settings.label_names, "oriented_labels": settings.oriented_label_names}
    elsewhere = "encoder_weights stem_weights language_weights language_from tokenizer vocabulary chat_template"
    sizes = settings.model_dump(exclude={*elsewhere.split(), "normalise_questions", *names})
    if settings.blind:  # its prefix is a constant
        sizes["grid_size"] = 0
    text = sizes.pop("text")
    if settings.language_weights is not None:
        text = read_language_config(settings.language_weights, settings.text).to_dict()
    text["vocab_size"] = max(vocab_size or settings.vocabulary, text.get("vocab_size", 0))
    try:
        return DollhouseConfig(
            vision_config={"image_size": settings.image_size, "heads": [], **sizes.pop("vision")},
            text_config=text,
            num_views=recipe.data.views,
            colours=tuple(COLOURS),
            use_rgbd=recipe.use_rgbd,
            depth_bins=sizes.pop("depth_bins") or (DEPTH_BINS if "depth_bin_head" in heads else 0),
            relation_head=sizes.pop("relation_head") or "relation_head" in heads,
            **names,
            **sizes,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise RecipeError(f"student: {' '.join(str(error).split())}") from error


def check_encoder(recipe: Recipe) -> None:
    """Raise RecipeError where the encoder would be neither loaded nor trained, and so stay random."""
    settings = recipe.student
    given = recipe.init_from is not None or settings.encoder_weights is not None or settings.blind
    if not given and not any("encoder" in stage.train for stage in recipe.stages.values()):
        raise RecipeError(
            f"recipe {recipe.name} never trains its encoder, which would stay random: "
            "give student.encoder_weights=PATH (docs/guides/weights.md says where to get them)"
        )
