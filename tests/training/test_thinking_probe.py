"""Thinking probe: targets, the features assigned to each token, and the loss on a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from dollhouse.data.collator import Batch, BoxTargets, collate_batch
from dollhouse.data.dataset import StepDataset
from dollhouse.data.object_mentions import MentionFinder
from dollhouse.data.oracle_objects import gt_objects
from dollhouse.data.target_source import SceneTargetSource
from dollhouse.data.targets import scene_targets
from dollhouse.data.tokenization import ReferredObjects, tokenize_questions
from dollhouse.errors import RecipeError
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.proposal_head import BOX_FEATURES, ObjectProjector
from dollhouse.models.dollhouse.tokenization import fill_token_ids, train_tokenizer
from dollhouse.scenes.synthetic.furniture import CATEGORIES, COLOURS
from dollhouse.scenes.synthetic.room_scene import room_scene
from dollhouse.training.config import Recipe
from dollhouse.training.estimate.dry_run import dry_run
from dollhouse.training.loss_module import LossModule
from dollhouse.training.loss_weighting import StaticWeighting
from dollhouse.training.losses.grounding import grounding_targets, pair_targets
from dollhouse.training.losses.thinking_probe import ABSENT_WEIGHT, ThinkingProbe, named_objects, thinking_targets
from dollhouse.training.recipes import check_recipe
from dollhouse.training.train import prepare_student
from tests.fixtures.recipes import TINY

VIEWS = 4
K = 3
PLACEMENTS = ["before_question", "after_question"]
TEXT = {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 8, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    texts = [" in view 1, is the red chair left of the bed?", " in view 2, 3, 4", " is there a chair?"]
    return train_tokenizer(texts, [*CATEGORIES, *COLOURS], 400, K)


def config_of(tokenizer: PreTrainedTokenizerBase, placement: str, **changes: Any) -> DollhouseConfig:
    shape = {"num_objects": 16, "labels": CATEGORIES, "colours": list(COLOURS), "max_referenced_views": VIEWS}
    config = DollhouseConfig(
        text_config=dict(TEXT), num_thinking_tokens=K, thinking_placement=placement, **{**shape, **changes}
    )
    fill_token_ids(config, tokenizer)
    return config


def three_boxes() -> BoxTargets:
    """A table on the floor, a lamp on it, and far away a chair."""
    return BoxTargets(
        label=torch.tensor([1, 2, 0]),
        colour=torch.tensor([0, 0, 1]),
        center=torch.tensor([[0.0, 2.0, 0.5], [0.3, 2.4, 1.2], [3.0, 6.0, 0.4]]),
        size=torch.tensor([[1.5, 1.0, 1.0], [0.2, 0.2, 0.4], [0.5, 0.5, 0.8]]),
        yaw=torch.zeros(3),
        has_front=torch.zeros(3),
        oblong=torch.zeros(3),
    )


def test_thinking_targets_of_a_scene() -> None:
    target = thinking_targets(three_boxes(), labels=5, max_objects=16)
    assert target.values[:5].tolist() == [1, 1, 1, 0, 0]
    assert target.values[5:10].tolist() == [0, 0, 1, 0, 0], "the lamp stands on the table"
    apart = np.sqrt(0.3**2 + 0.4**2 + 0.7**2)
    angle = 2 * np.arctan2(0.4, 0.3)
    expected = [apart, np.cos(angle), np.sin(angle), 0.15, 2.2, 0.85]
    np.testing.assert_allclose(target.values[10:].numpy(), expected, rtol=1e-5)
    assert target.weight.tolist() == pytest.approx([1, 1, 1, ABSENT_WEIGHT, ABSENT_WEIGHT, 1, 1, 1, 0, 0, *[1] * 6])


def test_thinking_targets_ignore_order_and_objects_without_slots() -> None:
    boxes = three_boxes()
    turned = boxes.take(torch.tensor([2, 1, 0]))
    assert torch.allclose(thinking_targets(turned, 5, 16).values, thinking_targets(boxes, 5, 16).values, atol=1e-6)
    two = thinking_targets(boxes, 5, 2)
    assert two.values[:5].tolist() == [0, 1, 1, 0, 0]
    single = thinking_targets(boxes, 5, 1)
    assert not single.weight[10:].any(), "one object has no neighbour"
    none = thinking_targets(boxes.take(torch.zeros(0, dtype=torch.long)), 5, 16)
    assert not none.values.any()
    assert none.weight.sum() == pytest.approx(5 * ABSENT_WEIGHT)


def test_each_thinking_token_predicts_its_features(tokenizer: PreTrainedTokenizerBase) -> None:
    """Reference: token k's part of one linear map, applied to token k's own state."""
    torch.manual_seed(0)
    probe = ThinkingProbe(config_of(tokenizer, "before_question"))
    states = torch.randn(2, K, 16, requires_grad=True)
    predicted = probe.predict(states)
    shares = np.array_split(np.arange(predicted.shape[1]), K)
    for token, share in enumerate(shares):
        alone = probe.norm(states[:, token]) @ probe.head.weight[share].T + probe.head.bias[share]
        torch.testing.assert_close(predicted[:, share], alone)
    (gradient,) = torch.autograd.grad(predicted[:, shares[1]].sum(), states)
    assert gradient[:, 1].any()
    assert not gradient[:, [0, 2]].any()


def test_scenes_without_boxes_are_absent(tokenizer: PreTrainedTokenizerBase) -> None:
    torch.manual_seed(0)
    probe = ThinkingProbe(config_of(tokenizer, "before_question"))
    states = [torch.randn(3, 16 + K, 16, requires_grad=True) for _ in range(9)]
    errors = probe.scene_errors(states, [three_boxes(), None, three_boxes()])
    assert errors.shape == (2,)
    torch.testing.assert_close(errors[:1], probe.scene_errors(states, [three_boxes(), None, None]))
    errors.sum().backward()
    touched = [layer for layer, state in enumerate(states) if state.grad is not None]
    assert touched == [5], "the layer of the grounding probe for pairs"
    reached = states[5].grad
    assert reached is not None
    assert reached[[0, 2], -K:].any(-1).all()
    assert not reached[1].any()
    assert not reached[:, :-K].any()
    assert probe.scene_errors(states, [None, None, None]).shape == (0,)


def test_named_objects_of_questions() -> None:
    names = torch.tensor([[0, 2, 4, -1], [1, 0, 1, 2], [1, 3, 2, 2], [3, 1, 0, 1]])
    pairs = torch.tensor([[1, 4, 2, 1, 2, -1]])
    rows = named_objects(ReferredObjects(names, pairs)).tolist()
    assert sorted(rows) == [[0, -1, 4, -1, -1], [1, 2, 1, 2, -1], [3, 1, 0, -1, -1]]


def test_question_errors_are_of_named_objects(tokenizer: PreTrainedTokenizerBase) -> None:
    torch.manual_seed(0)
    config = config_of(tokenizer, "after_question")
    probe = ThinkingProbe(config)
    features = torch.randn(2, 3, BOX_FEATURES + 1 + 36 + VIEWS * 5)
    think = list(config.thinking_ids)
    ids = torch.tensor([[50, 51, *think, 3, 60, 0], [50, *think, 3, 60, 0, 0], [50, 51, 52, *think, 3, 61]])
    states = [torch.randn(3, 8, 16, requires_grad=True) for _ in range(9)]
    referred = ReferredObjects(
        torch.tensor([[1, 0, 2, -1], [2, 0, 1, 3], [2, 2, 0, 3]]), torch.tensor([[2, 6, 3, 1, 0, -1]])
    )
    errors = probe.question_errors(states, ids, features, torch.tensor([0, 1, 0]), referred)
    assert errors.shape == (2,), "the first question names no object"

    first = grounding_targets(features[[1], 2], VIEWS, torch.tensor([-1]))
    predicted = probe.predict(states[5][[1], 1 : 1 + K])[:, : first.values.shape[1]]
    error = torch.nn.functional.smooth_l1_loss(predicted, first.values, reduction="none", beta=0.3) * first.weight
    torch.testing.assert_close(errors[0], error.sum() / first.weight.sum())

    both = [grounding_targets(features[[0], object_], VIEWS, torch.tensor([3])) for object_ in (1, 0)]
    both.append(pair_targets(features[[0]][:, [1, 0, 0]], VIEWS, torch.tensor([3]), torch.tensor([False])))
    values, weight = (torch.cat([getattr(part, name) for part in both], 1) for name in ("values", "weight"))
    error = torch.nn.functional.smooth_l1_loss(
        probe.predict(states[5][[2], 3 : 3 + K]), values, reduction="none", beta=0.3
    )
    torch.testing.assert_close(errors[1], (error * weight).sum() / weight.sum())

    errors.sum().backward()
    reached = states[5].grad
    assert reached is not None
    assert sorted(map(tuple, reached.abs().sum(-1).nonzero().tolist())) == [
        *((1, place) for place in (1, 2)),  # features of the last token are of a second object
        *((2, place) for place in range(3, 3 + K)),
    ]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_pairs_are_probed_at_the_answer_token(tokenizer: PreTrainedTokenizerBase, placement: str) -> None:
    """In both placements, pairs are probed at the answer token, which attends to all names."""
    targets = scene_targets(room_scene("train", 3), 126, CATEGORIES, list(COLOURS))
    objects = targets.objects
    assert objects is not None
    labels = [CATEGORIES[label] for label in objects.label]
    single = [name for name in labels if labels.count(name) == 1]
    config = config_of(tokenizer, placement)
    text = f"in view 2, is the {single[0]} left of the {single[1]}?"
    tokenized = tokenize_questions(tokenizer, config, [(text, "yes")], objects, MentionFinder(tokenizer, config))[0]
    batch = collate_batch([targets], [[tokenized]], config)
    row, place, view, *named = batch.mentions[0].pairs[0].tolist()
    assert int(batch.question_ids[0][row, place]) == config.answer_token_id
    assert (view, named) == (1, [labels.index(single[0]), labels.index(single[1]), -1])
    for name, (_, at, _, _) in zip(single, batch.mentions[0].names.tolist(), strict=False):
        assert tokenizer.decode(batch.question_ids[0][0, : at + 1]).endswith(name)
    thinking = torch.isin(batch.question_ids[0][row], torch.tensor(config.thinking_ids)).nonzero().squeeze(-1)
    assert thinking.tolist() == ([] if placement == "before_question" else list(range(place - K, place)))


def recipe_of(placement: str, passes: int, losses: list[str]) -> Recipe:
    student = {**TINY["student"], "thinking_placement": placement, "thinking_passes": passes}
    stage = {**TINY["stages"]["finetune_end_to_end"], "losses": losses, "object_source": "teacher"}
    return check_recipe({**TINY, "student": student, "stages": {"finetune_end_to_end": stage}}, "test")


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_loss_falls_on_a_single_batch(placement: str, tmp_path: Any) -> None:
    """In both placements, with two passes."""
    losses = ["text", "grounding", "thinking_probe"]
    recipe = recipe_of(placement, 2, losses)
    torch.manual_seed(0)
    model, processor, _ = prepare_student(recipe, tmp_path)
    source = SceneTargetSource(recipe.data.model_copy(update={"views": 4}), model.config)
    batch: Batch = StepDataset(
        source, recipe.stages["finetune_end_to_end"].sampling(recipe.data), 0, processor.tokenizer, model.config
    )[0]
    objective = LossModule(model, StaticWeighting(dict.fromkeys(losses, 1.0)), losses, use_gt_objects=True)
    optimizer = torch.optim.AdamW(objective.parameters(), 5e-3)
    history: list[dict[str, float]] = []
    for _ in range(40):
        torch.manual_seed(1)  # the same noise of the boxes
        parts = objective(batch)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
        history.append({name: float(value.detach()) for name, value in parts.items()})
    assert set(history[0]) == {"loss", *losses}
    for name in losses:
        assert history[-1][name] < 0.8 * history[0][name], name
    assert model.thinking_map.weight.any()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_dry_run_with_thinking_passes(placement: str) -> None:
    recipe = recipe_of(placement, 2, ["text", "thinking_probe"])
    (check,) = dry_run(recipe.model_copy(update={"data": recipe.data.model_copy(update={"views": 4})}))
    assert set(check.losses) == {"text", "thinking_probe"}
    assert not [name for name in check.without_gradient if "thinking_map" in name or "thinking_probe" in name]


def test_probe_without_thinking_tokens_is_refused() -> None:
    student = {**TINY["student"], "num_thinking_tokens": 0}
    stage = {**TINY["stages"]["finetune_end_to_end"], "losses": ["text", "thinking_probe"]}
    with pytest.raises(
        RecipeError, match=r"stage finetune_end_to_end: thinking_probe needs student\.num_thinking_tokens"
    ):
        check_recipe({**TINY, "student": student, "stages": {"finetune_end_to_end": stage}}, "test")
    with pytest.raises(RecipeError, match="add the loss text"):
        check_recipe({**TINY, "stages": {"finetune_end_to_end": {**stage, "losses": ["thinking_probe"]}}}, "test")
    with pytest.raises(RecipeError, match="thinking tokens"):
        ThinkingProbe(DollhouseConfig(num_thinking_tokens=0))


def test_thinking_targets_match_the_object_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    """Targets of a room agree with the object tokens."""
    config = config_of(tokenizer, "before_question")
    scene = scene_targets(room_scene("train", 11), 126, CATEGORIES, list(COLOURS))
    batch = collate_batch([scene], [[]], config)
    boxes = batch.boxes[0]
    assert boxes is not None
    values = thinking_targets(boxes, len(CATEGORIES), config.num_objects).values
    features = ObjectProjector(config.trunk_width, 32, VIEWS).geometry_features(gt_objects(batch, config))[0]
    present = gt_objects(batch, config).present[0] > 0
    center = features[present, :3]
    nearest = torch.cdist(center, center).fill_diagonal_(torch.inf).min()
    torch.testing.assert_close(values[2 * len(CATEGORIES)], nearest)
    assert values[: len(CATEGORIES)].sum() <= present.sum()
