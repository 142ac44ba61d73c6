"""Students to begin with: only what is compared differs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.dollhouse.checkpoint import load_student
from dollhouse.models.dollhouse.tokenization import vocabulary_hash
from dollhouse.scenes.open import open_scene
from experiments.paper.starts import SPREAD, altered, embeddings

QUESTIONS = ["is there a chair?", "what is near the bed?"]


@pytest.mark.parametrize(
    ("count", "placement"), [(0, "before_question"), (2, "after_question"), (16, "before_question")]
)
def test_thinking_tokens_are_newborn_and_all_else_stays(
    tiny_student: Path, tmp_path: Path, count: int, placement: str
) -> None:
    folder = altered(tiny_student, tmp_path, thinking=count, placement=placement, seed=3)
    before, _, _ = load_student(tiny_student)
    after, processor, _ = load_student(folder)
    config = after.config
    assert (config.num_thinking_tokens, len(config.thinking_ids), config.thinking_placement) == (
        count,
        count,
        placement,
    )
    assert processor.num_thinking_tokens == count
    assert set(config.thinking_ids) <= set(after.suppress_tokens())
    old, new = before.state_dict(), after.state_dict()
    changed = {name for name in old if old[name].shape != new[name].shape or not torch.equal(old[name], new[name])}
    assert all(name.endswith(("embed_in.weight", "lm_head.weight")) for name in changed)
    words = [row for row in range(len(embeddings(before))) if row not in config.thinking_ids]
    assert torch.equal(embeddings(before)[words], embeddings(after)[words])
    if count:
        born = embeddings(after)[list(config.thinking_ids)]
        assert 0.5 * SPREAD < float(born.detach().std()) < 2 * SPREAD
    assert len(DollhousePipeline.from_pretrained(folder).encode_scene(open_scene("rooms:test/1")).ask(QUESTIONS)) == 2
    assert vocabulary_hash(processor.tokenizer) == vocabulary_hash(load_student(tiny_student)[1].tokenizer)


def test_a_start_is_made_once_and_seeds_differ(tiny_student: Path, tmp_path: Path) -> None:
    first = altered(tiny_student, tmp_path, thinking=2, seed=0)
    made = (first / "model.safetensors").stat().st_mtime_ns
    assert altered(tiny_student, tmp_path, thinking=2, seed=0) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == made
    assert altered(tiny_student, tmp_path, thinking=2, seed=1) != first
    without = {
        altered(tiny_student, tmp_path, thinking=0, placement=one) for one in ("before_question", "after_question")
    }
    assert len(without) == 1, "K = 0 is shared by both placements"


def test_one_token_a_scene(tiny_student: Path, tmp_path: Path) -> None:
    """The mean over the objects that are there, and nothing of the empty slots."""
    pooled = DollhousePipeline.from_pretrained(altered(tiny_student, tmp_path, thinking=0, prefix="pooled"))
    many = DollhousePipeline.from_pretrained(altered(tiny_student, tmp_path, thinking=0))
    scene = open_scene("rooms:test/1")
    perception = many.encode_scene(scene).perception
    assert perception is not None
    with torch.inference_mode():
        tokens, one = many.model.embed_objects(perception.objects), pooled.model.embed_objects(perception.objects)
    there = perception.objects.present[0] > 0
    assert 0 < int(there.sum()) < tokens.shape[1]
    assert one.shape == (1, 1, tokens.shape[2])
    assert torch.allclose(one[0, 0], tokens[0, there].mean(0), atol=1e-5)
    assert pooled.processor.prompt("a?").count("<scene>") == 1
    asked = pooled.processor([view.image for view in scene.views], QUESTIONS[0])
    answer = pooled.model.generate(**asked, max_new_tokens=4)
    assert answer.shape[1] > asked["input_ids"].shape[1], "generate reads the one token"
