"""Ablations against a plain reference; an ablation that changes nothing leaves the answers unchanged."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from dollhouse.evaluation.probing.ablations import (
    ABLATIONS,
    UNMODIFIED,
    Ablation,
    AblationInputs,
    ablated_answers,
    noise,
    replace_embeddings,
)
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.torch_session import TorchSession
from tests.evaluation.probing.conftest import LONGEST
from tests.models.conftest import tiny_pipeline
from tests.models.test_model import QUESTIONS, scene_of
from tests.models.test_thinking_tokens import with_passes

PLACEMENTS = ["before_question", "after_question"]
BY_NAME = {ablation.name: ablation for ablation in ABLATIONS}


@pytest.fixture
def pictures() -> list[list[np.ndarray]]:
    """Photos of two scenes."""
    draw = np.random.default_rng(5)
    return [[draw.integers(0, 255, (28, 28, 3), dtype=np.uint8) for _ in range(2)] for _ in range(2)]


def encode_both(pipeline: DollhousePipeline, pictures: list[list[np.ndarray]]) -> tuple[TorchSession, TorchSession]:
    first, second = (pipeline.encode_scene(scene_of(photos)) for photos in pictures)
    return first, second


def under(
    pipeline: DollhousePipeline, name: str, session: TorchSession, other: TorchSession, seed: int = 0
) -> list[str]:
    return ablated_answers(session, other, QUESTIONS, [BY_NAME[name]], AblationInputs.of(pipeline, seed))[name]


def with_rows(pipeline: DollhousePipeline, rows: Tensor) -> DollhousePipeline:
    """The same student with other embeddings (K, D) of its thinking tokens: they are inputs, never outputs."""
    changed = copy.deepcopy(pipeline)
    with torch.no_grad():
        changed.model.get_input_embeddings().weight[list(pipeline.model.config.thinking_ids)] = rows
    return changed


def plain(pipeline: DollhousePipeline, prompt_ids: Tensor, prefix: Tensor, mask: Tensor | None, places: Tensor) -> str:
    """Greedy answer of up to LONGEST tokens by whole sequences, without any cache."""
    model = pipeline.model
    tokens: list[int] = []
    for _ in range(LONGEST):
        embeds = model.get_input_embeddings()(torch.cat([prompt_ids, torch.tensor(tokens, dtype=torch.long)]))
        embeds = torch.cat([prefix, embeds.unsqueeze(0)], 1)
        more = torch.arange(len(tokens)) + places[-1] + 1
        whole = None if mask is None else torch.cat([mask, torch.ones(len(tokens), dtype=torch.long)]).unsqueeze(0)
        with torch.no_grad():
            logits = model.language_model(
                inputs_embeds=embeds, attention_mask=whole, position_ids=torch.cat([places, more]).unsqueeze(0)
            ).logits[0, -1]
        logits[model.suppress_tokens()] = -torch.inf
        tokens.append(int(logits.argmax()))
        if tokens[-1] == model.config.eos_token_id:
            break
    return pipeline.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("blind", [False, True])
def test_untouched_and_replaced_by_themselves(
    placement: str, passes: int, blind: bool, pictures: list[list[np.ndarray]]
) -> None:
    pipeline = with_passes(tiny_pipeline(placement, blind), passes)
    session, other = encode_both(pipeline, pictures)
    themselves = Ablation("themselves", "", replace_embeddings(lambda inputs: inputs.trained.clone()))
    answers = ablated_answers(session, other, QUESTIONS, [UNMODIFIED, themselves], AblationInputs.of(pipeline, 0))
    assert answers["unmodified"] == [answer.text for answer in session.answer(QUESTIONS, max_new_tokens=LONGEST)]
    assert answers["themselves"] == answers["unmodified"]
    own = ablated_answers(session, session, QUESTIONS, [BY_NAME["shuffled"]], AblationInputs.of(pipeline, 0))
    assert own["shuffled"] == answers["unmodified"], "a scene shuffled with itself"


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("name", ["zeros", "first repeated", "plain tokens"])
def test_replaced_embeddings_are_those_of_another_vocabulary(
    placement: str, passes: int, name: str, pictures: list[list[np.ndarray]]
) -> None:
    pipeline = with_passes(tiny_pipeline(placement), passes)
    own = AblationInputs.of(pipeline, 0).trained
    the = pipeline.processor.tokenizer(" the", add_special_tokens=False)["input_ids"]
    table = pipeline.model.get_input_embeddings().weight.detach()
    rows = {
        "zeros": torch.zeros_like(own),
        "first repeated": own[[0, 0, 0]],
        "plain tokens": torch.stack([table[the[number % len(the)]] for number in range(3)]),
    }[name]
    session, _ = encode_both(pipeline, pictures)
    expected, _ = encode_both(with_rows(pipeline, rows), pictures)
    assert under(pipeline, name, session, session) == [
        answer.text for answer in expected.answer(QUESTIONS, max_new_tokens=LONGEST)
    ]
    assert under(pipeline, name, session, session) != under(pipeline, "noise", session, session)


def test_noise_is_as_long_as_what_it_replaces_and_seeded(pictures: list[list[np.ndarray]]) -> None:
    pipeline = tiny_pipeline()
    inputs = AblationInputs.of(pipeline, 3)
    drawn, again = noise(inputs), noise(AblationInputs.of(pipeline, 3))
    assert torch.equal(drawn, again)
    assert not torch.allclose(drawn, noise(inputs)), "every draw differs"
    torch.testing.assert_close(drawn.norm(dim=-1), inputs.trained.norm(dim=-1))
    session, _ = encode_both(pipeline, pictures)
    assert under(pipeline, "noise", session, session, seed=3) == under(pipeline, "noise", session, session, seed=3)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("name", ["masked", "removed"])
def test_masked_and_removed_by_whole_sequences(placement: str, name: str, pictures: list[list[np.ndarray]]) -> None:
    """Masked: not attended to, every position kept. Removed: as if the processor had never put them there."""
    pipeline = tiny_pipeline(placement)
    session, _ = encode_both(pipeline, pictures)
    config = pipeline.model.config
    expected = []
    for question in QUESTIONS:
        before = list(config.thinking_ids) if placement == "before_question" else []
        ids = torch.tensor(before + pipeline.processor.question_ids(question))
        kept = torch.cat([torch.ones(4, dtype=torch.bool), ~pipeline.model.thinking_mask(ids)])
        if name == "masked":
            expected.append(plain(pipeline, ids, session.prefix.clone(), kept.long(), torch.arange(len(kept))))
        else:
            expected.append(plain(pipeline, ids[kept[4:]], session.prefix.clone(), None, torch.arange(int(kept.sum()))))
    assert under(pipeline, name, session, session) == expected
    assert expected != [answer.text for answer in session.answer(QUESTIONS, max_new_tokens=LONGEST)]


def test_shuffled_takes_keys_and_values_of_the_other_scene(pictures: list[list[np.ndarray]]) -> None:
    pipeline = tiny_pipeline()
    draw = torch.Generator().manual_seed(2)
    unlike = [3 * torch.randn(1, 4, 32, generator=draw) for _ in range(2)]
    scene, pixels = scene_of(pictures[0]), torch.zeros(1, 1, 3, 28, 28)
    session, other, spliced = (TorchSession(pipeline, scene, pixels, unlike[number], None) for number in (0, 1, 0))
    with torch.inference_mode():
        spliced._scene_cache.key_values[..., 4:, :] = other._scene_cache.key_values[..., 4:, :]
    expected = [answer.text for answer in spliced.answer(QUESTIONS, max_new_tokens=LONGEST)]
    assert under(pipeline, "shuffled", session, other) == expected
    assert expected != [answer.text for answer in session.answer(QUESTIONS, max_new_tokens=LONGEST)]


def test_blind_thoughts_are_the_same_everywhere(pictures: list[list[np.ndarray]]) -> None:
    for placement in PLACEMENTS:
        pipeline = tiny_pipeline(placement, blind=True)
        session, other = encode_both(pipeline, pictures)
        assert under(pipeline, "shuffled", session, other) == under(pipeline, "shuffled", session, session)
