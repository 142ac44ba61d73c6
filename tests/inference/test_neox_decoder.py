"""The GPT-NeoX decoder equals the plain decoder; other models use the plain one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dollhouse.inference.generation import PlainDecoder
from dollhouse.inference.neox_decoder import NeoxDecoder, select_decoder
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from tests.models.conftest import tiny_pipeline
from tests.models.test_model import QUESTIONS, scene_of

TOLERANCE = {"atol": 1e-4, "rtol": 1e-5}  # of logits some tens large, in float32


def model_with(**settings: Any) -> DollhouseForConditionalGeneration:
    """The tiny student with another GPT-NeoX."""
    model = tiny_pipeline(settings.pop("placement", "before_question")).model
    settings_of_text = model.config.get_text_config().to_dict() | settings
    torch.manual_seed(1)
    model.language_model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings_of_text)).eval()
    model.config.text_config = model.language_model.config
    with torch.no_grad():
        for parameter in model.language_model.parameters():
            parameter.normal_(std=0.3)
    return model


@pytest.mark.parametrize(
    "settings",
    [
        {"use_parallel_residual": False},
        {"use_parallel_residual": True},
        {"attention_bias": False},
        {"tie_word_embeddings": True},
        {"placement": "after_question"},
        {"hidden_act": "relu"},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 1.0}},
        {"hidden_size": 48, "num_attention_heads": 3, "num_hidden_layers": 3},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_steps_equal_the_plain_decoder(settings: dict[str, Any]) -> None:
    model = model_with(**settings)
    plain, quick = PlainDecoder(model), select_decoder(model)
    assert isinstance(quick, NeoxDecoder)
    prefix = torch.randn(1, 4, model.config.get_text_config().hidden_size)
    with torch.inference_mode():
        scenes = plain.encode_prefix(prefix), quick.encode_prefix(prefix)
        for skip in (0, 3):
            pasts = plain.expand(scenes[0], 3, 12), quick.expand(scenes[1], 3, 12)
            ids = torch.randint(10, 300, (3, 6))
            for _ in range(4):
                expected, actual = plain.step(pasts[0], ids, skip), quick.step(pasts[1], ids, skip)
                torch.testing.assert_close(actual, expected, **TOLERANCE)
                ids = expected.argmax(-1, keepdim=True)


def test_dynamic_caches_are_equal() -> None:
    model = model_with()
    plain, quick = PlainDecoder(model), NeoxDecoder(model)
    prefix = torch.randn(1, 4, 32)
    with torch.inference_mode():
        caches = (
            plain.dynamic_cache(plain.encode_prefix(prefix), 2),
            quick.dynamic_cache(quick.encode_prefix(prefix), 2),
        )
    for expected, actual in zip(caches[0].layers, caches[1].layers, strict=True):
        torch.testing.assert_close(actual.keys, expected.keys, **TOLERANCE)
        torch.testing.assert_close(actual.values, expected.values, **TOLERANCE)


@pytest.mark.parametrize("skip", [0, 3])
def test_a_dynamic_cache_is_continued(skip: int) -> None:
    model = model_with()
    plain, quick = PlainDecoder(model), NeoxDecoder(model)
    ids = torch.randint(10, 300, (2, 6))
    with torch.inference_mode():
        cache = plain.dynamic_cache(plain.encode_prefix(torch.randn(1, 4, 32)), 2)
        past = quick.continued(cache, 12)
        for _ in range(3):
            expected, actual = plain.step(cache, ids, skip), quick.step(past, ids, skip)
            torch.testing.assert_close(actual, expected, **TOLERANCE)
            ids = expected.argmax(-1, keepdim=True)


def test_changed_weights_give_a_new_decoder(photos: list[np.ndarray]) -> None:
    """Answers after a change of weights are those of the new weights."""
    pipeline = tiny_pipeline()
    session = pipeline.encode_scene(scene_of(photos))
    decoder = pipeline.decoder
    assert pipeline.decoder is decoder
    before = session.ask(QUESTIONS)
    with torch.no_grad():
        for layer in pipeline.model.language_model.base_model.layers:
            layer.mlp.dense_4h_to_h.weight.neg_()
    assert pipeline.decoder is not decoder
    after = pipeline.encode_scene(scene_of(photos))
    with torch.inference_mode():
        plain = PlainDecoder(pipeline.model)
        ids = torch.tensor([pipeline.processor.question_ids(QUESTIONS[0])])
        expected = plain.step(plain.expand(plain.encode_prefix(after.prefix), 1, 0), ids)
        actual = after.decoder.step(after.prefill(ids, 0), ids)
    torch.testing.assert_close(actual, expected, **TOLERANCE)
    assert after.ask(QUESTIONS) != before


@pytest.mark.parametrize("why", ["family", "half", "passes"])
def test_other_models_use_the_plain_decoder(why: str) -> None:
    pipeline = tiny_pipeline(family="llama" if why == "family" else "gpt_neox")
    if why == "half":
        pipeline.model.language_model.bfloat16()
    if why == "passes":
        pipeline.model.config.thinking_passes = 2
    assert isinstance(pipeline.decoder, PlainDecoder)
