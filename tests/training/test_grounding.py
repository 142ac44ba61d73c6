"""Grounding probe: targets of names and pairs, and gradients; and the text loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from dollhouse.data.collator import collate_batch
from dollhouse.data.oracle_objects import gt_objects
from dollhouse.data.targets import scene_targets
from dollhouse.data.tokenization import ReferredObjects
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.proposal_head import BOX_FEATURES, ObjectProjector
from dollhouse.scenes.synthetic.furniture import CATEGORIES, COLOURS
from dollhouse.scenes.synthetic.room_scene import room_scene
from dollhouse.training.losses.grounding import (
    GroundingProbe,
    GroundingTargets,
    grounding_errors,
    grounding_targets,
    pair_targets,
)
from dollhouse.training.losses.text import text_loss
from tests.fixtures.mentions import MENTION_VIEWS


def test_targets_of_names_are_the_true_boxes(
    mention_tokenizer: PreTrainedTokenizerBase, mention_config: DollhouseConfig
) -> None:
    scene = scene_targets(room_scene("train", 11), 126, CATEGORIES, list(COLOURS))
    batch = collate_batch([scene], [[]], mention_config)
    objects = gt_objects(batch, mention_config)
    facts = ObjectProjector(mention_config.trunk_width, 32, MENTION_VIEWS).geometry_features(objects)[0]
    truth = batch.boxes[0]
    assert truth is not None
    count = len(truth.label)
    target = grounding_targets(facts[:count], MENTION_VIEWS, torch.full((count,), 1))
    torch.testing.assert_close(target.values[:, :3], truth.center)
    torch.testing.assert_close(target.values[:, 3:6], truth.size.log())
    torch.testing.assert_close(target.values[:, 7], truth.center[:, 2] + 0.5 * truth.size[:, 2])
    observations = objects.view_observations[0, :count, 1]
    torch.testing.assert_close(target.values[:, -4:], observations)
    assert torch.equal(target.weight[:, -1] > 0, observations[:, 3] > 0)
    unnamed = grounding_targets(facts[:count], MENTION_VIEWS, torch.full((count,), -1))
    assert not unnamed.weight[:, -4:].any()


def test_errors_are_smooth_l1_over_known_features() -> None:
    rng = np.random.default_rng(0)
    predicted, target = (torch.tensor(rng.normal(0, 1, (5, 7)), dtype=torch.float64) for _ in range(2))
    weight = torch.tensor(rng.integers(0, 2, (5, 7)), dtype=torch.float64)
    weight[:, 0] = 1
    expected = 0.0
    for k in range(5):
        total = 0.0
        for f in range(7):
            error = abs(float(predicted[k, f].float() - target[k, f]))
            total += float(weight[k, f]) * (0.5 * error**2 / 0.3 if error < 0.3 else error - 0.15)
        expected += total / float(weight[k].sum()) / 5
    assert float(grounding_errors(predicted, GroundingTargets(target, weight)).mean()) == pytest.approx(
        expected, rel=1e-5
    )


def test_targets_of_pairs_are_differences(mention_config: DollhouseConfig) -> None:
    scene = scene_targets(room_scene("train", 11), 126, CATEGORIES, list(COLOURS))
    batch = collate_batch([scene], [[]], mention_config)
    objects, truth = gt_objects(batch, mention_config), batch.boxes[0]
    assert truth is not None
    facts = ObjectProjector(mention_config.trunk_width, 32, MENTION_VIEWS).geometry_features(objects)[0, :3]
    target = pair_targets(facts[None], MENTION_VIEWS, torch.tensor([0]), torch.tensor([1]))
    values = target.values[0]
    torch.testing.assert_close(values[:3], truth.center[1] - truth.center[0])
    torch.testing.assert_close(values[3:6], (truth.size[1] / truth.size[0]).log())
    for place, (i, j) in zip((9, 10, 11), ((0, 1), (0, 2), (1, 2)), strict=True):
        torch.testing.assert_close(values[place], (truth.center[i] - truth.center[j]).norm())
    ahead = torch.stack([truth.yaw[0].cos(), truth.yaw[0].sin()])
    towards = F.normalize(truth.center[1, :2] - truth.center[0, :2], dim=0)
    torch.testing.assert_close(values[12], ahead @ towards)
    observations = objects.view_observations[0, :2, 0]
    torch.testing.assert_close(values[13:], observations[1] - observations[0])
    assert bool(target.weight[0, -1] > 0) == bool((observations[:, 3] > 0).all())
    of_two = pair_targets(facts[None], MENTION_VIEWS, torch.tensor([-1]), torch.tensor([0]))
    assert not of_two.weight[0, 10:12].any()
    assert not of_two.weight[0, 13:].any()


def test_gradients_reach_names_and_question_ends() -> None:
    torch.manual_seed(0)
    grounding = GroundingProbe(16, 8, MENTION_VIEWS)
    states = [torch.randn(2, 5, 16, requires_grad=True) for _ in range(9)]
    facts = torch.randn(1, 3, BOX_FEATURES + 1 + 36 + MENTION_VIEWS * 5)
    names = torch.tensor([[0, 2, 0, -1], [1, 0, 1, 2], [1, 3, 2, 2]])
    pairs = torch.tensor([[1, 4, 2, 1, 2, -1]])
    grounding(states, facts, torch.tensor([0, 0]), ReferredObjects(names, pairs)).backward()
    touched = {
        layer: sorted(map(tuple, state.grad.abs().sum(-1).nonzero().tolist()))
        for layer, state in enumerate(states)
        if state.grad is not None
    }
    assert touched == {3: [(0, 2), (1, 0), (1, 3)], 4: [(0, 2), (1, 0), (1, 3)], 5: [(1, 4)]}


def test_text_loss_weights_answers_by_length() -> None:
    logits = torch.randn(6, 10)
    labels, lengths = torch.tensor([1, 2, 3, 4, 5, 6]), torch.tensor([1.0, 1.0, 4.0, 4.0, 4.0, 4.0])
    each = F.cross_entropy(logits, labels, reduction="none")
    expected = (each[0] + each[1] + each[2:].sum() / 2) / 3
    assert float(text_loss(logits, labels, lengths)) == pytest.approx(float(expected), rel=1e-6)
