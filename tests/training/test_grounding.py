"""Names in questions: which object is meant, what must be known of it, and that the loss says so."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from dollhouse.data.collator import collate_batch
from dollhouse.data.config import DataConfig, SamplingConfig
from dollhouse.data.dataset import StepDataset
from dollhouse.data.object_mentions import MentionFinder
from dollhouse.data.oracle_objects import gt_objects, noisy_gt_objects
from dollhouse.data.target_source import SceneTargetSource
from dollhouse.data.targets import scene_targets
from dollhouse.data.tokenization import ReferredObjects, tokenize_questions
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.proposal_head import BOX_FEATURES, ObjectProjector
from dollhouse.models.dollhouse.tokenization import fill_token_ids, train_tokenizer
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

VIEWS = 4


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    texts = [" in view 1, is the red chair left of the bed?", " in view 2, 3, 4", " is there a chair?"]
    return train_tokenizer(texts, [*CATEGORIES, *COLOURS], 400, 2)


@pytest.fixture(scope="module")
def config(tokenizer: PreTrainedTokenizerBase) -> DollhouseConfig:
    made = DollhouseConfig(
        num_objects=16, labels=CATEGORIES, colours=list(COLOURS), pad_token_id=0, max_referenced_views=VIEWS
    )
    fill_token_ids(made, tokenizer)
    return made


def replace_slots(config: DollhouseConfig, slots: int) -> DollhouseConfig:
    changed = copy.deepcopy(config)
    changed.num_objects = slots
    return changed


def test_mentions_are_the_objects_that_the_words_single_out(
    tokenizer: PreTrainedTokenizerBase, config: DollhouseConfig
) -> None:
    targets = scene_targets(room_scene("train", 3), 126, CATEGORIES, list(COLOURS))
    objects = targets.objects
    assert objects is not None
    finder = MentionFinder(tokenizer, config)
    labels = [CATEGORIES[label] for label in objects.label]
    one = next(index for index, label in enumerate(labels) if labels.count(label) == 1)
    absent = next(label for label in CATEGORIES if label not in labels)
    colour = list(COLOURS)[objects.colour[one]]
    other = next(name for name in COLOURS if name != colour)
    name = labels[one]
    question = f"in view 3, is the {name} left of the {colour} {name}, the {other} {name} or the {absent}?"
    asked = tokenize_questions(tokenizer, config, [(question, "yes")], objects, finder)[0]
    assert [(found.object, found.view) for found in asked.mentions] == [(one, 2), (one, 2)]
    for found in asked.mentions:
        assert found.position < asked.start
        assert tokenizer.decode(asked.ids[: found.position + 1]).endswith(name)


def test_two_of_a_kind_are_told_apart_by_colour_or_not_at_all(
    tokenizer: PreTrainedTokenizerBase, config: DollhouseConfig
) -> None:
    targets = scene_targets(room_scene("train", 3), 126, CATEGORIES, list(COLOURS))
    assert targets.objects is not None
    objects = targets.objects
    objects.label[:2], objects.colour[:2] = objects.label[0], [0, 1]
    name, colours = CATEGORIES[objects.label[0]], list(COLOURS)
    finder = MentionFinder(tokenizer, config)
    asked = [(f"what colour is the {name}?", "red"), (f"is the {colours[1]} {name} tall?", "no")]
    vague, clear = tokenize_questions(tokenizer, config, asked, objects, finder)
    assert vague.mentions == ()
    assert [found.object for found in clear.mentions] == [1]


def test_objects_beyond_the_slots_are_not_asked_of(tokenizer: PreTrainedTokenizerBase, config: DollhouseConfig) -> None:
    targets = scene_targets(room_scene("train", 3), 126, CATEGORIES, list(COLOURS))
    assert targets.objects is not None
    last = len(targets.objects.label) - 1
    colour, name = list(COLOURS)[targets.objects.colour[last]], CATEGORIES[targets.objects.label[last]]
    asked = [(f"is the {colour} {name} tall?", "no")]
    enough, few = (MentionFinder(tokenizer, replace_slots(config, slots)) for slots in (last + 1, last))
    assert [
        one.object for one in tokenize_questions(tokenizer, config, asked, targets.objects, enough)[0].mentions
    ] == [last]
    assert tokenize_questions(tokenizer, config, asked, targets.objects, few)[0].mentions == ()


def test_families_are_asked_as_often_as_they_weigh(tokenizer: PreTrainedTokenizerBase, config: DollhouseConfig) -> None:
    data = DataConfig(scenes="rooms:train/0-5", questions_per_scene=10)
    weights = {"size": 3.0, "existence": 1.0, "proximity": 0.0}
    stage = SamplingConfig(steps=1, batch_size=6, questions_per_scene=10, families=weights)
    lessons = SceneTargetSource(data, config)
    batches = StepDataset(lessons, stage, 0, tokenizer, config)
    asked = [lessons.questions(number) for number in range(6)]
    draw = np.random.default_rng(0)
    drawn = [of_scene[place][2] for of_scene in asked for _ in range(40) for place in batches._choose(of_scene, draw)]
    assert set(drawn) == {"size", "existence"}
    assert 0.55 < drawn.count("size") / len(drawn) < 0.8
    nothing = StepDataset(lessons, replace(stage, families={"proximity": 0.0}), 0, tokenizer, config)
    assert nothing._choose(asked[0], draw) == []


def test_targets_are_the_true_measures(tokenizer: PreTrainedTokenizerBase, config: DollhouseConfig) -> None:
    scene = scene_targets(room_scene("train", 11), 126, CATEGORIES, list(COLOURS))
    batch = collate_batch([scene], [[]], config)
    objects = gt_objects(batch, config)
    facts = ObjectProjector(config.trunk_width, 32, VIEWS).geometry_features(objects)[0]
    truth = batch.boxes[0]
    assert truth is not None
    count = len(truth.label)
    target = grounding_targets(facts[:count], VIEWS, torch.full((count,), 1))
    torch.testing.assert_close(target.values[:, :3], truth.center)
    torch.testing.assert_close(target.values[:, 3:6], truth.size.log())
    torch.testing.assert_close(target.values[:, 7], truth.center[:, 2] + 0.5 * truth.size[:, 2])
    seen = objects.view_observations[0, :count, 1]
    torch.testing.assert_close(target.values[:, -4:], seen)
    assert torch.equal(target.weight[:, -1] > 0, seen[:, 3] > 0)
    unnamed = grounding_targets(facts[:count], VIEWS, torch.full((count,), -1))
    assert not unnamed.weight[:, -4:].any()


def test_loss_is_huber_over_what_can_be_known() -> None:
    rng = np.random.default_rng(0)
    said, told = (torch.tensor(rng.normal(0, 1, (5, 7)), dtype=torch.float64) for _ in range(2))
    weight = torch.tensor(rng.integers(0, 2, (5, 7)), dtype=torch.float64)
    weight[:, 0] = 1
    expected = 0.0
    for k in range(5):
        total = 0.0
        for f in range(7):
            error = abs(float(said[k, f].float() - told[k, f]))
            total += float(weight[k, f]) * (0.5 * error**2 / 0.3 if error < 0.3 else error - 0.15)
        expected += total / float(weight[k].sum()) / 5
    assert float(grounding_errors(said, GroundingTargets(told, weight)).mean()) == pytest.approx(expected, rel=1e-5)


def test_pairs_are_told_by_their_differences(config: DollhouseConfig) -> None:
    scene = scene_targets(room_scene("train", 11), 126, CATEGORIES, list(COLOURS))
    batch = collate_batch([scene], [[]], config)
    objects, truth = gt_objects(batch, config), batch.boxes[0]
    assert truth is not None
    facts = ObjectProjector(config.trunk_width, 32, VIEWS).geometry_features(objects)[0, :3]
    target = pair_targets(facts[None], VIEWS, torch.tensor([0]), torch.tensor([1]))
    told = target.values[0]
    torch.testing.assert_close(told[:3], truth.center[1] - truth.center[0])
    torch.testing.assert_close(told[3:6], (truth.size[1] / truth.size[0]).log())
    for place, (i, j) in zip((9, 10, 11), ((0, 1), (0, 2), (1, 2)), strict=True):
        torch.testing.assert_close(told[place], (truth.center[i] - truth.center[j]).norm())
    ahead = torch.stack([truth.yaw[0].cos(), truth.yaw[0].sin()])
    towards = F.normalize(truth.center[1, :2] - truth.center[0, :2], dim=0)
    torch.testing.assert_close(told[12], ahead @ towards)
    seen = objects.view_observations[0, :2, 0]
    torch.testing.assert_close(told[13:], seen[1] - seen[0])
    assert bool(target.weight[0, -1] > 0) == bool((seen[:, 3] > 0).all())
    of_two = pair_targets(facts[None], VIEWS, torch.tensor([-1]), torch.tensor([0]))
    assert not of_two.weight[0, 10:12].any()
    assert not of_two.weight[0, 13:].any()


def test_gradient_reaches_names_first_and_the_question_s_end_above() -> None:
    torch.manual_seed(0)
    grounding = GroundingProbe(16, 8, VIEWS)
    states = [torch.randn(2, 5, 16, requires_grad=True) for _ in range(9)]
    facts = torch.randn(1, 3, BOX_FEATURES + 1 + 36 + VIEWS * 5)
    names = torch.tensor([[0, 2, 0, -1], [1, 0, 1, 2], [1, 3, 2, 2]])
    pairs = torch.tensor([[1, 4, 2, 1, 2, -1]])
    grounding(states, facts, torch.tensor([0, 0]), ReferredObjects(names, pairs)).backward()
    touched = {
        layer: sorted(map(tuple, state.grad.abs().sum(-1).nonzero().tolist()))
        for layer, state in enumerate(states)
        if state.grad is not None
    }
    assert touched == {3: [(0, 2), (1, 0), (1, 3)], 4: [(0, 2), (1, 0), (1, 3)], 5: [(1, 4)]}


def test_roughened_objects_are_the_true_ones_in_other_slots(config: DollhouseConfig) -> None:
    scene = scene_targets(room_scene("train", 25), 126, CATEGORIES, list(COLOURS))
    batch = collate_batch([scene, scene], [[], []], config)
    torch.manual_seed(1)
    exact, rough = gt_objects(batch, config), noisy_gt_objects(batch, config)
    for row in range(2):
        there = rough.present[row] > 0
        distance = torch.cdist(rough.center[row, there], exact.center[row][exact.present[row] > 0])
        assert float(distance.min(1).values.max()) < 0.4
        assert there.sum() <= exact.present[row].sum()
    assert not torch.equal(rough.center[0], rough.center[1])


def test_every_answer_counts_whatever_its_length() -> None:
    logits = torch.randn(6, 10)
    labels, lengths = torch.tensor([1, 2, 3, 4, 5, 6]), torch.tensor([1.0, 1.0, 4.0, 4.0, 4.0, 4.0])
    each = F.cross_entropy(logits, labels, reduction="none")
    expected = (each[0] + each[1] + each[2:].sum() / 2) / 3
    assert float(text_loss(logits, labels, lengths)) == pytest.approx(float(expected), rel=1e-6)
