"""A student small enough for tests, with a tokenizer that knows a few words."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.image_processing import DollhouseImageProcessor
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.models.dollhouse.processing import DollhouseProcessor
from dollhouse.models.dollhouse.tokenization import fill_token_ids, train_tokenizer

LABELS = ["chair", "table", "lamp"]
COLOURS = ["red", "blue"]


def tiny_pipeline(
    placement: str = "before_question",
    blind: bool = False,
    family: str = "gpt_neox",
    tied: bool = False,
    grid_size: int = 0,
) -> DollhousePipeline:
    """A random student of a few thousand weights; logits are spread out so that greedy choices are clear."""
    torch.manual_seed(3)
    texts = [
        " is the red chair near the table?",
        " which is taller, the lamp or the blue chair?",
        " yes",
        " no",
        " the lamp",
    ]
    tokenizer = train_tokenizer(texts, [*LABELS, *COLOURS], 330, 3)
    config = DollhouseConfig(
        vision_config={
            "image_size": 28,
            "patch_embed": "stem",
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "layerscale_value": 1.0,
            "heads": [],
        },
        text_config={
            "model_type": family,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "vocab_size": len(tokenizer),
            "tie_word_embeddings": tied,
        },
        image_size=28,
        trunk_width=32,
        trunk_layers=1,
        trunk_heads=2,
        object_layers=1,
        num_objects=4,
        grid_size=grid_size,
        max_referenced_views=2,
        num_views=2,
        labels=LABELS,
        colours=COLOURS,
        oriented_labels=["chair"],
        num_thinking_tokens=3,
        thinking_placement=placement,
        blind=blind,
    )
    fill_token_ids(config, tokenizer)
    model = DollhouseForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.language_model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.4)
    model.generation_config.update(
        pad_token_id=config.pad_token_id, eos_token_id=config.eos_token_id, suppress_tokens=model.suppress_tokens()
    )
    processor = DollhouseProcessor(DollhouseImageProcessor(28), tokenizer, 4, 3, placement, grid_size=grid_size)
    return DollhousePipeline(model, processor, "tiny")


@pytest.fixture
def photos() -> list[np.ndarray]:
    """Two photos of coloured noise, (28, 28, 3)."""
    draw = np.random.default_rng(5)
    return [draw.integers(0, 255, (28, 28, 3), dtype=np.uint8) for _ in range(2)]
