"""Looking into a sequence: states and attention are the model's own, and every position is called what it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dollhouse.evaluation.probing.activations import Activations, eager_attention, record_activations
from dollhouse.evaluation.probing.attention import (
    ANSWER,
    CELLS,
    EMPTY,
    ITSELF,
    OBJECTS,
    PREFIX,
    QUESTION,
    THINKING,
    AttentionSummary,
    groups_of,
)
from dollhouse.evaluation.probing.logit_lens import LogitLens
from tests.models.conftest import LABELS, tiny_pipeline
from tests.models.test_model import QUESTIONS, scene_of
from tests.models.test_thinking_tokens import with_passes


@pytest.mark.parametrize("placement", ["before_question", "after_question"])
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("blind", [False, True])
def test_scan_is_the_plain_sequence(placement: str, passes: int, blind: bool, photos: list[np.ndarray]) -> None:
    pipeline = with_passes(tiny_pipeline(placement, blind), passes)
    model = pipeline.model
    session = pipeline.encode_scene(scene_of(photos))
    before = model.language_model.config._attn_implementation
    with eager_attention(model):
        found = record_activations(session, QUESTIONS[0])
    assert model.language_model.config._attn_implementation == before
    inputs = pipeline.processor(images=photos, text=QUESTIONS[0])
    with torch.inference_mode():
        output = model(**inputs, output_hidden_states=True)
    ids = inputs["input_ids"][0]
    assert found.hidden_states.shape[:2] == (3, len(ids))
    for block, states in enumerate(output.hidden_states):
        torch.testing.assert_close(found.hidden_states[block], states[0], atol=2e-5, rtol=1e-4)
    thinking = [place for place, token in enumerate(ids.tolist()) if token in model.config.thinking_ids]
    assert found.thinking.tolist() == thinking
    torch.testing.assert_close(found.thinking_logits, output.logits[0, thinking], atol=2e-5, rtol=1e-4)
    assert found.slots.tolist() == [0, 1, 2, 3]
    assert int(ids[found.answer]) == model.config.answer_token_id
    words = pipeline.processor.tokenizer.decode(ids[found.question]).strip()
    assert words == QUESTIONS[0]
    torch.testing.assert_close(found.attention.sum(-1), torch.ones(2, len(ids)))
    assert not found.attention.triu(1).any()
    if blind:
        assert not found.filled.any()
    else:
        assert session.perception is not None
        assert torch.equal(found.filled, session.perception.objects.present[0] > 0)
        assert (found.labels >= 0).tolist() == found.filled.tolist()


def made_scan(filled: list[bool], placement: str) -> Activations:
    """Three slots, two thinking tokens, two words and the answer's mark, everything looked at alike."""
    thinking, question = ([3, 4], [5, 6]) if placement == "before_question" else ([5, 6], [3, 4])
    even = torch.tril(torch.ones(8, 8))
    return Activations(
        hidden_states=torch.zeros(3, 8, 4),
        attention=(even / even.sum(-1, keepdim=True)).repeat(2, 1, 1),
        thinking_logits=torch.zeros(2, 5),
        slots=torch.arange(3),
        filled=torch.tensor(filled),
        labels=torch.where(torch.tensor(filled), torch.tensor([0, 2, 2]), torch.tensor(-1)),
        thinking=torch.tensor(thinking),
        question=torch.tensor(question),
        answer=7,
    )


@pytest.mark.parametrize("placement", ["before_question", "after_question"])
def test_groups_part_what_can_be_seen(placement: str) -> None:
    made = made_scan([True, True, False], placement)
    for place in (*made.thinking.tolist(), made.answer):
        groups = groups_of(made, place)
        assert sorted(torch.cat(list(groups.values())).tolist()) == list(range(place + 1))
        assert (QUESTION in groups) == (placement == "after_question" or place == 7)
    assert groups_of(made, int(made.thinking[0])).keys() & {THINKING} == set(), "the first has none before it"
    assert groups_of(made, 7)[OBJECTS].tolist() == [0, 1]
    assert groups_of(made, 7)[EMPTY].tolist() == [2]
    blind = groups_of(made_scan([False] * 3, placement), 7)
    assert blind[PREFIX].tolist() == [0, 1, 2]


def test_even_attention_is_told_as_even() -> None:
    tally = AttentionSummary(tuple(LABELS))
    for filled in ([True, True, False], [True, False, False]):
        tally.add(made_scan(filled, "before_question"))
    found = tally.result()
    assert found["questions"] == 2
    for row in found["sources"].values():
        for entry in row.values():
            assert entry["mean"] == pytest.approx(entry["uniform"])
            assert entry["layers"] == pytest.approx([entry["uniform"]] * 2)
        assert sum(entry["mean"] for entry in row.values()) == pytest.approx(1)
    assert found["sources"][ANSWER][THINKING]["mean"] == pytest.approx(2 / 8)
    assert found["sources"]["thinking token 1"][ITSELF]["mean"] == pytest.approx(1 / 4)
    assert found["labels"]["chair"] == {"slots": 2, "ratio": pytest.approx([1, 1])}
    assert found["labels"]["lamp"]["slots"] == 1
    assert "table" not in found["labels"], "never seen"


def test_attention_goes_where_it_went() -> None:
    tally = AttentionSummary(tuple(LABELS))
    made = made_scan([True, True, True], "before_question")
    made.attention[:, 4] = torch.tensor([0.6, 0.1, 0.1, 0.1, 0.1, 0, 0, 0])
    made.attention[:, 7] = torch.tensor([0, 0, 0, 0.5, 0.3, 0, 0.1, 0.1])
    tally.add(made)
    found = tally.result()
    second = {name: entry["mean"] for name, entry in found["sources"]["thinking token 2"].items()}
    assert second == pytest.approx({OBJECTS: 0.8, THINKING: 0.1, ITSELF: 0.1})
    answer = {name: entry["mean"] for name, entry in found["sources"][ANSWER].items()}
    assert answer == pytest.approx({OBJECTS: 0, THINKING: 0.8, QUESTION: 0.1, ITSELF: 0.1})
    mean = 0.8 / 3
    assert found["labels"]["chair"]["ratio"] == pytest.approx([1, 0.6 / mean])
    assert found["labels"]["lamp"]["ratio"] == pytest.approx([1, 0.1 / mean])


def test_read_out_tells_the_likeliest_words() -> None:
    tokenizer = tiny_pipeline().processor.tokenizer
    words = {word: tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in ("chair", "lamp", "red")}
    read = LogitLens(tokenizer)
    for scene, first in (("a", "chair"), ("b", "chair"), ("c", "lamp"), ("d", "chair")):
        logits = torch.zeros(2, len(tokenizer))
        logits[0, words[first]] = 9.0
        logits[1, words["red"]] = 9.0
        read.add(scene, logits)
    result = read.result()
    assert result["title"] == "untrained readout"
    assert result["tokens"][0]["argmax"] == [{"token": "chair", "scenes": 3}, {"token": "lamp", "scenes": 1}]
    assert (result["tokens"][0]["distinct"], result["tokens"][1]["distinct"]) == (2, 1)
    assert result["tokens"][1]["top"][0]["token"] == "red"
    assert len(result["tokens"][1]["top"]) == 5
    chance = float(torch.tensor(9.0).exp() / (torch.tensor(9.0).exp() + len(tokenizer) - 1))
    assert result["tokens"][1]["top"][0]["probability"] == pytest.approx(chance, rel=1e-4)
    assert list(result["examples"]) == ["a", "b", "c"]
    assert result["examples"]["c"][0][0]["token"] == "lamp"


def test_cells_of_the_views_are_a_group_of_their_own(photos: list[np.ndarray]) -> None:
    pipeline = tiny_pipeline(grid_size=2)
    with eager_attention(pipeline.model):
        found = record_activations(pipeline.encode_scene(scene_of(photos)), QUESTIONS[0])
    groups = groups_of(found, found.answer)
    assert groups[CELLS].tolist() == list(range(4, 4 + 2 * 4))
    assert found.slots.tolist() == list(range(4))
    assert found.thinking.tolist() == [12, 13, 14]
    assert sorted(place for places in groups.values() for place in places.tolist()) == list(range(found.answer + 1))
