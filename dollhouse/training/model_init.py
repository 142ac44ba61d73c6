"""The student that a run begins with: of the recipe's shape, with whatever weights and words it brings along.

Knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dollhouse.data.record_dataset import open_target_source
from dollhouse.data.target_source import TargetSource
from dollhouse.errors import RecipeError
from dollhouse.models.dollhouse.checkpoint import load_processor, load_student
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.net2net import widen
from dollhouse.models.dollhouse.pretrained_lm import load_language_model, read_language_config, read_tokenizer
from dollhouse.models.dollhouse.image_processing import DollhouseImageProcessor
from dollhouse.models.dollhouse.processing import DollhouseProcessor
from dollhouse.models.dollhouse.tokenization import fill_token_ids, train_tokenizer
from dollhouse.models.vggt.convert import licence_of, load_official
from dollhouse.scenes.synthetic.furniture import CATEGORIES, COLOURS, KINDS
from dollhouse.training.config import Recipe

TOKENIZER_LESSONS = 100
WIDTH_LESSONS = 8  #: looked at for the width of the teacher's features
DEPTH_BINS = 32  #: where a loss asks for bins and the recipe does not say how many


def build_student(recipe: Recipe, out: Path) -> tuple[DollhouseForConditionalGeneration, DollhouseProcessor]:
    """A fresh student of the recipe's shape, or the one that ``init_from`` names."""
    if recipe.init_from is not None:
        model, processor, _ = load_student(None if str(recipe.init_from) == "nano" else recipe.init_from)
        model = with_heads(expand_model(model, recipe), recipe)
        return reinit_modules(model, recipe.reinit), processor
    settings = recipe.student
    tokenizer = run_tokenizer(recipe, out)
    config = bare_config(recipe, vocab_size=len(tokenizer))
    fill_token_ids(config, tokenizer)
    model = DollhouseForConditionalGeneration(config)
    if settings.encoder_weights is not None and not settings.blind:
        load_official(model.encoder, settings.encoder_weights, torch.float32)
        model.encoder.config.licence = licence_of(settings.encoder_weights)
        config.licence = f"{config.licence}; its encoder: {model.encoder.config.licence}"
    if settings.language_weights is not None:
        load_language_model(model, settings.language_weights)
    model.generation_config.update(
        pad_token_id=config.pad_token_id,
        eos_token_id=config.eos_token_id,
        suppress_tokens=model.suppress_tokens(),
        max_new_tokens=48,
    )
    processor = DollhouseProcessor(
        DollhouseImageProcessor(settings.image_size),
        tokenizer,
        prefix_length=settings.num_objects,
        num_thinking_tokens=settings.num_thinking_tokens,
        thinking_placement=settings.thinking_placement,
    )
    return model, processor


def expand_model(model: DollhouseForConditionalGeneration, recipe: Recipe) -> DollhouseForConditionalGeneration:
    """``model`` with the widths and the sensors that the recipe asks for."""
    if recipe.width_multiplier == 1 and recipe.use_rgbd == model.config.use_rgbd:
        return model
    if model.config.blind:
        raise RecipeError(f"{recipe.init_from} is a blind model: it can be neither widened nor given depth and poses")
    if model.config.use_rgbd and not recipe.use_rgbd:
        raise RecipeError(f"{recipe.init_from} looks at depth and poses and cannot do without: set use_rgbd: true")
    try:
        return widen(model, recipe.width_multiplier, recipe.use_rgbd)
    except ValueError as error:
        raise RecipeError(f"{recipe.init_from}: {error}") from error


def with_heads(model: DollhouseForConditionalGeneration, recipe: Recipe) -> DollhouseForConditionalGeneration:
    """``model`` with the heads that the recipe's losses read; those that it lacks begin fresh, which is said."""
    fresh = [name for name in sorted(recipe.heads_needed()) if not hasattr(model, name)]
    if fresh and not model.config.blind:
        print(f"{recipe.init_from} has no {' and no '.join(fresh)}, which the losses read: begun fresh")
        model.add_heads(
            depth_bins=DEPTH_BINS if "depth_bin_head" in fresh else 0, relation_head="relation_head" in fresh
        )
    return model


def teacher_width(lessons: TargetSource, losses: Sequence[str]) -> int:
    """How wide the teacher's features are, by the first lessons that have any; 0: none, or no loss asks for them."""
    if "spatial" in losses:
        for number in range(min(WIDTH_LESSONS, len(lessons))):
            teacher = lessons.targets(number).teacher
            if teacher is not None and teacher.features is not None:
                return int(teacher.features.shape[-1])
    return 0


def reinit_modules(model: DollhouseForConditionalGeneration, parts: Sequence[str]) -> DollhouseForConditionalGeneration:
    """``model`` with ``parts`` (names as a stage trains them) as a fresh model of its shape has them."""
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
    """The name in the student of a part that a recipe names."""
    return {"projector": "multi_modal_projector"}.get(part, part)


def bare_config(recipe: Recipe, vocab_size: int) -> DollhouseConfig:
    """The student's config before the tokenizer's ids are known.

    A vocabulary that ``text`` names is kept where the tokenizer has fewer tokens: its last rows stay unused.
    """
    settings = recipe.student
    needed = recipe.heads_needed()
    text = dict(settings.text)
    if settings.language_weights is not None:
        text = read_language_config(settings.language_weights, settings.text).to_dict()
    text["vocab_size"] = max(vocab_size, text.get("vocab_size", 0))
    try:
        return DollhouseConfig(
            vision_config={"image_size": settings.image_size, "heads": [], **settings.vision},
            text_config=text,
            image_size=settings.image_size,
            trunk_width=settings.trunk_width,
            trunk_layers=settings.trunk_layers,
            trunk_heads=settings.trunk_heads,
            object_layers=settings.object_layers,
            num_objects=settings.num_objects,
            max_referenced_views=settings.max_referenced_views,
            num_views=recipe.data.views,
            labels=CATEGORIES,
            colours=tuple(COLOURS),
            oriented_labels=tuple(name for name, kind in KINDS.items() if kind.has_front),
            num_thinking_tokens=settings.num_thinking_tokens,
            thinking_placement=settings.thinking_placement,
            thinking_passes=settings.thinking_passes,
            blind=settings.blind,
            depth_from=settings.depth_from,
            use_rgbd=recipe.use_rgbd,
            depth_bins=settings.depth_bins or (DEPTH_BINS if "depth_bin_head" in needed else 0),
            depth_bin_range=settings.depth_bin_range,
            relation_head=settings.relation_head or "relation_head" in needed,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise RecipeError(f"student: {' '.join(str(error).split())}") from error


def run_tokenizer(recipe: Recipe, out: Path) -> PreTrainedTokenizerBase:
    """The run's tokenizer: learnt once from its first lessons, then kept."""
    if recipe.student.language_weights is not None:
        return read_tokenizer(recipe.student.language_weights, recipe.student.num_thinking_tokens)
    if recipe.student.tokenizer is not None:
        return load_processor(recipe.student.tokenizer).tokenizer
    folder = out / "tokenizer"
    if (folder / "done").exists():
        return PreTrainedTokenizerFast.from_pretrained(folder)
    lessons = open_target_source(recipe.data, bare_config(recipe, vocab_size=300))
    texts: list[str] = []
    for index in range(min(TOKENIZER_LESSONS, len(lessons))):
        for question, answer, _ in lessons.questions(index):
            texts.extend((" " + question, " " + answer))
    texts = sorted(set(texts))
    words = [*CATEGORIES, *COLOURS, *(f"{category}s" for category in CATEGORIES)]
    settings = recipe.student
    tokenizer = train_tokenizer(texts, words, settings.vocabulary, settings.num_thinking_tokens)
    tokenizer.save_pretrained(folder)
    (folder / "done").touch()
    return tokenizer


def check_eyes(recipe: Recipe) -> None:
    """Raise RecipeError where the encoder would be neither loaded nor trained: it would see nothing but noise."""
    settings = recipe.student
    given = recipe.init_from is not None or settings.encoder_weights is not None or settings.blind
    if not given and not any("encoder" in stage.train for stage in recipe.stages.values()):
        raise RecipeError(
            f"recipe {recipe.name} never trains its encoder, which would stay random: "
            "give student.encoder_weights=PATH (docs/guides/weights.md says where to get them)"
        )
