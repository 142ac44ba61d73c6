"""Students to begin with: a trained one whose thinking tokens are others, or that reads one token a scene.

Whatever a run of Table II or III is to find out, it begins with the same language model; only what is compared
differs. Knows nothing of training.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from dollhouse.models.dollhouse.checkpoint import SHIPPED, load_student, save_student, weights_hash
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.special_tokens import thinking_tokens
from dollhouse.models.dollhouse.tokenization import fill_token_ids

SPREAD = 0.02  #: standard deviation of a thinking embedding at its birth, the paper's


def altered(
    student: Path | None,
    out: Path,
    *,
    thinking: int,
    placement: str = "before_question",
    prefix: Literal["objects", "pooled"] = "objects",
    passes: int = 1,
    seed: int = 0,
) -> Path:
    """A model folder below ``out``: ``student`` (None: the shipped one) with ``thinking`` newborn thinking tokens.

    All of them are new, also where the student had as many, so that no count has a head start. With ``prefix``
    "pooled" the language model reads the mean of the object tokens, one token a scene, as in the paper; ``passes`` go
    over the thinking tokens.
    """
    origin = weights_hash(folder_of(student))
    told = f"{origin}|{thinking}|{placement if thinking else ''}|{prefix}|{passes}|{seed if thinking else 0}"
    folder = out / sha256(told.encode()).hexdigest()[:12]
    if folder.is_dir():
        return folder
    model, processor, _ = load_student(student)
    config, tokenizer = model.config, processor.tokenizer
    names = thinking_tokens(thinking)
    tokenizer.add_tokens([name for name in names if name not in tokenizer.get_vocab()], special_tokens=True)
    if len(tokenizer) > len(embeddings(model)):
        model.language_model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        config.get_text_config().vocab_size = model.language_model.config.vocab_size
    config.num_thinking_tokens = processor.num_thinking_tokens = thinking
    config.thinking_placement = processor.thinking_placement = placement
    config.prefix = prefix
    if passes > 1:
        config.thinking_passes = passes
        model = with_map(model)
    processor.prefix_length = 1 if prefix == "pooled" else config.num_objects
    fill_token_ids(config, tokenizer)
    newborn = torch.randn(thinking, config.get_text_config().hidden_size, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        embeddings(model)[list(config.thinking_ids)] = SPREAD * newborn
    model.generation_config.suppress_tokens = model.suppress_tokens()
    save_student(model, processor, folder)
    return folder


def with_map(model: DollhouseForConditionalGeneration) -> DollhouseForConditionalGeneration:
    """The model with the map between passes that its config asks for, born silent."""
    mapped = DollhouseForConditionalGeneration(model.config)
    mapped.load_state_dict(model.state_dict(), strict=False)
    mapped.generation_config = model.generation_config
    return mapped


def embeddings(model: DollhouseForConditionalGeneration) -> Tensor:
    """The table of word embeddings (vocabulary, D), which is the model's own."""
    table = model.get_input_embeddings().weight
    assert isinstance(table, Tensor)
    return table


def folder_of(student: Path | None) -> Path:
    """Where a student's model lies; None: the shipped one's."""
    return SHIPPED if student is None else student
