"""Thinking tokens gone over several times: every path does it alike, once is as it always was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.net2net import widen
from dollhouse.models.dollhouse.serialization import save_student
from tests.models.conftest import tiny_pipeline
from tests.models.test_model import QUESTIONS, scene_of

PLACEMENTS = ["before_question", "after_question"]


def with_passes(pipeline: DollhousePipeline, passes: int) -> DollhousePipeline:
    """The same student, going over its thinking tokens ``passes`` times through a map that is not silent."""
    config = pipeline.model.config.to_dict() | {"thinking_passes": passes}
    model = type(pipeline.model)(DollhouseConfig(**config)).eval()
    model.load_state_dict(pipeline.model.state_dict(), strict=False)
    model.generation_config = pipeline.model.generation_config
    if passes > 1:
        with torch.no_grad():
            model.thinking_map.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(1))
    return DollhousePipeline(model, pipeline.processor, "thinks again")


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("passes", [2, 3])
def test_every_path_thinks_alike(placement: str, passes: int, photos: list[np.ndarray]) -> None:
    """Memory, generate (left-padded batches) and packed questions give the answers and logits of the plain path."""
    pipeline = with_passes(tiny_pipeline(placement), passes)
    model, processor = pipeline.model, pipeline.processor
    inputs = processor(images=photos, text=QUESTIONS)
    generated = model.generate(**inputs, max_new_tokens=6, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    plain = [text.strip() for text in processor.tokenizer.batch_decode(generated, skip_special_tokens=True)]
    memory = pipeline.encode_scene(scene_of(photos))
    assert memory.ask(QUESTIONS) != tiny_pipeline(placement).encode_scene(scene_of(photos)).ask(QUESTIONS), (
        "a second pass says more"
    )
    assert [answer.text for answer in memory.answer(QUESTIONS, max_new_tokens=6)] == plain
    ids = [processor.question_ids(question) for question in QUESTIONS]
    packed = torch.tensor([row + [0] * (max(map(len, ids)) - len(row)) for row in ids])
    with torch.inference_mode():
        scene = model.encode_prefix(model.get_image_features(inputs["pixel_values"][:1]))
        length = scene.get_seq_length()
        logits = model.get_output_embeddings()(model.encode_questions(scene, packed, torch.zeros(3, dtype=torch.long)))
        assert scene.get_seq_length() == length
        for row, question in enumerate(QUESTIONS):
            tokens = processor.tokenizer(processor.prompt(question), add_special_tokens=False, return_tensors="pt")
            whole = model(input_ids=tokens["input_ids"], pixel_values=inputs["pixel_values"][:1]).logits
            count = len(ids[row])
            torch.testing.assert_close(logits[row, :count], whole[0, -count:], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_passes_are_as_the_definition_says(placement: str, photos: list[np.ndarray]) -> None:
    """Reference: the whole sequence again and again, each thought's last state mapped onto its embedding."""
    pipeline = with_passes(tiny_pipeline(placement), 3)
    model, processor = pipeline.model, pipeline.processor
    inputs = processor(images=photos, text=QUESTIONS[0])
    ids = inputs["input_ids"]
    with torch.inference_mode():
        embeds = model.get_input_embeddings()(ids)
        embeds[ids == model.config.scene_token_id] = model.get_image_features(inputs["pixel_values"])[0]
        first = embeds.clone()
        for _ in range(2):
            states = model.language_model.base_model(inputs_embeds=embeds).last_hidden_state
            embeds = first.clone()
            for place, token in enumerate(ids[0].tolist()):
                if token in model.config.thinking_ids:
                    embeds[0, place] += model.thinking_map.weight @ states[0, place] + model.thinking_map.bias
        expected = model.language_model(inputs_embeds=embeds).logits
        torch.testing.assert_close(model(**inputs).logits, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_once_is_as_ever_and_a_silent_map_changes_nothing(placement: str, photos: list[np.ndarray]) -> None:
    pipeline = tiny_pipeline(placement)
    assert "thinking_map.weight" not in pipeline.model.state_dict()
    silent = with_passes(pipeline, 2)
    torch.nn.init.zeros_(silent.model.thinking_map.weight)
    inputs = pipeline.processor(images=photos, text=QUESTIONS[0])
    ids = inputs["input_ids"]
    with torch.inference_mode():
        embeds = pipeline.model.get_input_embeddings()(ids)
        embeds[ids == pipeline.model.config.scene_token_id] = pipeline.model.get_image_features(inputs["pixel_values"])[
            0
        ]
        assert torch.equal(pipeline.model(**inputs).logits, pipeline.model.language_model(inputs_embeds=embeds).logits)
        torch.testing.assert_close(silent.model(**inputs).logits, pipeline.model(**inputs).logits)


def test_a_fresh_map_is_silent_and_learns(photos: list[np.ndarray]) -> None:
    config = tiny_pipeline().model.config.to_dict() | {"thinking_passes": 2}
    model = type(tiny_pipeline().model)(DollhouseConfig(**config))
    assert not model.thinking_map.weight.any()
    inputs = tiny_pipeline().processor(images=photos, text=QUESTIONS[0])
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert model.thinking_map.weight.grad is not None
    assert model.thinking_map.weight.grad.any()


def test_passes_are_kept_in_a_model_folder(tmp_path: Path, photos: list[np.ndarray]) -> None:
    pipeline = with_passes(tiny_pipeline("after_question"), 2)
    save_student(pipeline.model, pipeline.processor, tmp_path / "model")
    again = DollhousePipeline.from_pretrained(tmp_path / "model")
    assert again.model.config.thinking_passes == 2
    rounded = pipeline.model.thinking_map.weight.to(torch.bfloat16).float()
    assert torch.equal(again.model.thinking_map.weight, rounded)


@pytest.mark.parametrize(("passes", "tokens"), [(0, 4), (2, 0)])
def test_passes_over_nothing_are_refused(passes: int, tokens: int) -> None:
    with pytest.raises(ValueError, match="thinking_passes"):
        DollhouseConfig(thinking_passes=passes, num_thinking_tokens=tokens)


@pytest.mark.parametrize("tied", [False, True])
def test_a_wider_student_thinks_again_alike(tied: bool, photos: list[np.ndarray]) -> None:
    pipeline = with_passes(tiny_pipeline(tied=tied), 2)
    torch.manual_seed(0)
    wide = DollhousePipeline(widen(pipeline.model), pipeline.processor, "wide")
    inputs = pipeline.processor(images=photos, text=QUESTIONS[0])
    with torch.inference_mode():
        logits, expected = wide.model(**inputs).logits, pipeline.model(**inputs).logits
    torch.testing.assert_close(logits, expected, atol=2e-3, rtol=1e-2)
