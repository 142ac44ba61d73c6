"""A widened model computes what the original does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.dollhouse.net2net import expanded_config, widen
from dollhouse.scenes.synthetic.room_scene import room_scene
from dollhouse.scenes.view_preprocessing import preprocess_view


@pytest.fixture(scope="module")
def shipped() -> DollhousePipeline:
    return DollhousePipeline.from_pretrained()


@pytest.fixture(scope="module")
def wide(shipped: DollhousePipeline) -> DollhousePipeline:
    torch.manual_seed(0)
    return DollhousePipeline(widen(shipped.model), shipped.processor, "wide")


def test_a_widened_model_answers_the_same(shipped: DollhousePipeline, wide: DollhousePipeline) -> None:
    scene = room_scene("test", 3)
    questions = ["how many chairs are there?", "describe the room.", "is there a bed?"]
    narrow, broad = shipped.encode_scene(scene), wide.encode_scene(scene)
    np.testing.assert_allclose(broad.depth, narrow.depth, rtol=1e-4)
    assert [box.label for box in broad.boxes] == [box.label for box in narrow.boxes]
    for expected, other in zip(narrow.boxes, broad.boxes, strict=True):
        np.testing.assert_allclose(other.center, expected.center, atol=1e-3)
    for expected, other in zip(narrow.answer(questions), broad.answer(questions), strict=True):
        assert other.text == expected.text
        assert other.confidence == pytest.approx(expected.confidence, abs=1e-3)


def test_every_width_is_doubled(shipped: DollhousePipeline, wide: DollhousePipeline) -> None:
    small, large = shipped.model.config, wide.model.config
    assert large.get_vision_config().hidden_size == 2 * small.get_vision_config().hidden_size
    assert large.get_text_config().hidden_size == 2 * small.get_text_config().hidden_size
    assert large.trunk_width == 2 * small.trunk_width
    narrow, broad = ({name: part.numel() for name, part in each.model.named_parameters()} for each in (shipped, wide))
    widened = [name for name in narrow if "backbone" not in name]  # a pretrained stem keeps its width
    ratio = sum(broad[name] for name in widened) / sum(narrow[name] for name in widened)
    assert 3.3 < ratio < 4


def test_duplicated_weights_differ(wide: DollhousePipeline) -> None:
    """The weights of duplicated inputs differ, so that training separates them."""
    weight = wide.model.encoder.aggregator.frame_blocks[0].mlp.fc1.weight
    first, second = weight.chunk(2, dim=1)
    assert (first - second).abs().mean() > 0.1 * weight.abs().mean()


def test_the_rgbd_embedding_starts_without_effect(shipped: DollhousePipeline) -> None:
    """A model that is given depth and poses uses them (its depth is exact) and still answers."""
    scene = room_scene("test", 3)
    teacher = DollhousePipeline(widen(shipped.model, width_multiplier=1, use_rgbd=True), shipped.processor, "teacher")
    seen = teacher.encode_scene(scene)
    true = np.stack([preprocess_view(view, teacher.image_size).depth for view in scene.views])
    np.testing.assert_allclose(seen.depth[true > 0], true[true > 0], rtol=1e-5)
    assert seen.ask("is there a bed?")[0] in ("yes", "no")


def test_another_language_model_is_refused(shipped: DollhousePipeline) -> None:
    config = expanded_config(shipped.model.config, width_multiplier=1)
    config.get_text_config().model_type = "llama"
    model = shipped.model
    kept, model.config = model.config, config
    try:
        with pytest.raises(ValueError, match="only GPT-NeoX"):
            widen(model)
    finally:
        model.config = kept
