"""Thinking tokens gone over several times: every path does it alike, once is as it always was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dollhouse.inference.session import DollhousePipeline
from dollhouse.models.dollhouse.checkpoint import save_student
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.net2net import widen
from tests.models.conftest import tiny_house
from tests.models.test_model import QUESTIONS, scene_of

PLACEMENTS = ["before_question", "after_question"]


def with_passes(house: DollhousePipeline, passes: int) -> DollhousePipeline:
    """The same student, going over its thinking tokens ``passes`` times through a map that is not silent."""
    config = house.model.config.to_dict() | {"thinking_passes": passes}
    model = type(house.model)(DollhouseConfig(**config)).eval()
    model.load_state_dict(house.model.state_dict(), strict=False)
    model.generation_config = house.model.generation_config
    if passes > 1:
        with torch.no_grad():
            model.thinking_map.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(1))
    return DollhousePipeline(model, house.processor, "thinks again")


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("passes", [2, 3])
def test_every_path_thinks_alike(placement: str, passes: int, photos: list[np.ndarray]) -> None:
    """Memory, generate (left-padded batches) and packed questions give the answers and logits of the plain path."""
    house = with_passes(tiny_house(placement), passes)
    model, processor = house.model, house.processor
    inputs = processor(images=photos, text=QUESTIONS)
    generated = model.generate(**inputs, max_new_tokens=6, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    plain = [text.strip() for text in processor.tokenizer.batch_decode(generated, skip_special_tokens=True)]
    memory = house.see(scene_of(photos))
    assert memory.ask(QUESTIONS) != tiny_house(placement).see(scene_of(photos)).ask(QUESTIONS), (
        "a second pass says more"
    )
    assert [answer.text for answer in memory.answer(QUESTIONS, max_new_tokens=6)] == plain
    ids = [processor.question_ids(question) for question in QUESTIONS]
    packed = torch.tensor([row + [0] * (max(map(len, ids)) - len(row)) for row in ids])
    with torch.inference_mode():
        scene = model.read_scene(model.get_image_features(inputs["pixel_values"][:1]))
        length = scene.get_seq_length()
        logits = model.get_output_embeddings()(model.continue_from(scene, packed, torch.zeros(3, dtype=torch.long)))
        assert scene.get_seq_length() == length
        for row, question in enumerate(QUESTIONS):
            tokens = processor.tokenizer(processor.prompt(question), add_special_tokens=False, return_tensors="pt")
            whole = model(input_ids=tokens["input_ids"], pixel_values=inputs["pixel_values"][:1]).logits
            count = len(ids[row])
            torch.testing.assert_close(logits[row, :count], whole[0, -count:], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_passes_are_as_the_definition_says(placement: str, photos: list[np.ndarray]) -> None:
    """Reference: the whole sequence again and again, each thought's last state mapped onto its embedding."""
    house = with_passes(tiny_house(placement), 3)
    model, processor = house.model, house.processor
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
    house = tiny_house(placement)
    assert "thinking_map.weight" not in house.model.state_dict()
    silent = with_passes(house, 2)
    torch.nn.init.zeros_(silent.model.thinking_map.weight)
    inputs = house.processor(images=photos, text=QUESTIONS[0])
    ids = inputs["input_ids"]
    with torch.inference_mode():
        embeds = house.model.get_input_embeddings()(ids)
        embeds[ids == house.model.config.scene_token_id] = house.model.get_image_features(inputs["pixel_values"])[0]
        assert torch.equal(house.model(**inputs).logits, house.model.language_model(inputs_embeds=embeds).logits)
        torch.testing.assert_close(silent.model(**inputs).logits, house.model(**inputs).logits)


def test_a_fresh_map_is_silent_and_learns(photos: list[np.ndarray]) -> None:
    config = tiny_house().model.config.to_dict() | {"thinking_passes": 2}
    model = type(tiny_house().model)(DollhouseConfig(**config))
    assert not model.thinking_map.weight.any()
    inputs = tiny_house().processor(images=photos, text=QUESTIONS[0])
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert model.thinking_map.weight.grad is not None
    assert model.thinking_map.weight.grad.any()


def test_passes_are_kept_in_a_model_folder(tmp_path: Path, photos: list[np.ndarray]) -> None:
    house = with_passes(tiny_house("after_question"), 2)
    save_student(house.model, house.processor, tmp_path / "model")
    again = DollhousePipeline.from_pretrained(tmp_path / "model")
    assert again.model.config.thinking_passes == 2
    rounded = house.model.thinking_map.weight.to(torch.bfloat16).float()
    assert torch.equal(again.model.thinking_map.weight, rounded)


@pytest.mark.parametrize(("passes", "tokens"), [(0, 4), (2, 0)])
def test_passes_over_nothing_are_refused(passes: int, tokens: int) -> None:
    with pytest.raises(ValueError, match="thinking_passes"):
        DollhouseConfig(thinking_passes=passes, num_thinking_tokens=tokens)


@pytest.mark.parametrize("tied", [False, True])
def test_a_wider_student_thinks_again_alike(tied: bool, photos: list[np.ndarray]) -> None:
    house = with_passes(tiny_house(tied=tied), 2)
    torch.manual_seed(0)
    wide = DollhousePipeline(widen(house.model), house.processor, "wide")
    inputs = house.processor(images=photos, text=QUESTIONS[0])
    with torch.inference_mode():
        told, expected = wide.model(**inputs).logits, house.model(**inputs).logits
    torch.testing.assert_close(told, expected, atol=2e-3, rtol=1e-2)
