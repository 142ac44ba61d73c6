"""Initial models of training runs: the student with new thinking tokens or one token a scene; a stand-in teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dollhouse.models.dollhouse.checkpoint import load_student, save_student
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.net2net import widen
from dollhouse.models.dollhouse.special_tokens import thinking_tokens
from dollhouse.models.dollhouse.tokenization import fill_token_ids
from experiments.paper.spec import Init

INIT_STD = 0.02  #: standard deviation of new thinking embeddings, the paper's
STAND_IN: dict[str, Any] = {"width_multiplier": 2, "use_rgbd": True}  #: shape of the stand-in teacher


def write_init(student: Path, init: Init, seed: int, out: Path) -> None:
    """Write ``student`` with the thinking tokens, prefix and passes of ``init`` to the model folder ``out``.

    All thinking tokens are new, also where the student had as many, so that no count has an advantage. With ``prefix``
    "pooled" the language model receives the mean of the object tokens, one token a scene, as in the paper.
    """
    model, processor, _ = load_student(student)
    config, tokenizer = model.config, processor.tokenizer
    names = thinking_tokens(init.num_thinking_tokens)
    tokenizer.add_tokens([name for name in names if name not in tokenizer.get_vocab()], special_tokens=True)
    if len(tokenizer) > len(embeddings(model)):
        model.language_model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        config.get_text_config().vocab_size = model.language_model.config.vocab_size
    config.num_thinking_tokens = processor.num_thinking_tokens = init.num_thinking_tokens
    config.thinking_placement = processor.thinking_placement = init.placement
    config.prefix = init.prefix
    if init.passes > 1:  # a model with the map between passes, which begins at zero
        config.thinking_passes = init.passes
        mapped = DollhouseForConditionalGeneration(config)
        mapped.load_state_dict(model.state_dict(), strict=False)
        mapped.generation_config = model.generation_config
        model = mapped
    processor.prefix_length = 1 if init.prefix == "pooled" else config.num_objects
    fill_token_ids(config, tokenizer)
    generator = torch.Generator().manual_seed(seed)
    fresh = torch.randn(init.num_thinking_tokens, config.get_text_config().hidden_size, generator=generator)
    with torch.no_grad():
        embeddings(model)[list(config.thinking_ids)] = INIT_STD * fresh
    model.generation_config.suppress_tokens = model.suppress_tokens()
    save_student(model, processor, out)


def write_stand_in(student: Path, out: Path) -> None:
    """Write a model of the teacher's shape that was never trained: ``student`` of twice the width, with RGB-D input.

    Its answers mean nothing; its speed, size and memory are those of a trained teacher of this shape.
    """
    torch.manual_seed(0)
    model, processor, _ = load_student(student)
    save_student(widen(model, **STAND_IN), processor, out)


def embeddings(model: DollhouseForConditionalGeneration) -> Tensor:
    """Return the model's own table of word embeddings (vocabulary, D)."""
    table = model.get_input_embeddings().weight
    assert isinstance(table, Tensor)
    return table
