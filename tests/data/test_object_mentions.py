"""Mentions of objects in questions, sampling of questions by family, and true boxes with noise."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from dollhouse.data.collator import collate_batch
from dollhouse.data.config import DataConfig, SamplingConfig
from dollhouse.data.dataset import StepDataset
from dollhouse.data.object_mentions import MentionFinder
from dollhouse.data.oracle_objects import gt_objects, noisy_gt_objects
from dollhouse.data.target_source import SceneTargetSource
from dollhouse.data.targets import scene_targets
from dollhouse.data.tokenization import tokenize_questions
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.dollhouse.tokenization import fill_token_ids, train_tokenizer
from dollhouse.scenes.synthetic.furniture import CATEGORIES, COLOURS
from dollhouse.scenes.synthetic.room_scene import room_scene


def with_slots(config: DollhouseConfig, slots: int) -> DollhouseConfig:
    changed = copy.deepcopy(config)
    changed.num_objects = slots
    return changed


def test_mentions_are_resolved_by_label_and_colour(
    mention_tokenizer: PreTrainedTokenizerBase, mention_config: DollhouseConfig
) -> None:
    targets = scene_targets(room_scene("train", 3), 126, CATEGORIES, list(COLOURS))
    objects = targets.objects
    assert objects is not None
    finder = MentionFinder(mention_tokenizer, mention_config)
    labels = [CATEGORIES[label] for label in objects.label]
    index = next(number for number, label in enumerate(labels) if labels.count(label) == 1)
    absent = next(label for label in CATEGORIES if label not in labels)
    colour = list(COLOURS)[objects.colour[index]]
    other = next(name for name in COLOURS if name != colour)
    name = labels[index]
    question = f"in view 3, is the {name} left of the {colour} {name}, the {other} {name} or the {absent}?"
    asked = tokenize_questions(mention_tokenizer, mention_config, [(question, "yes")], objects, finder)[0]
    assert [(found.object, found.view) for found in asked.mentions] == [(index, 2), (index, 2)]
    for found in asked.mentions:
        assert found.position < asked.start
        assert mention_tokenizer.decode(asked.ids[: found.position + 1]).endswith(name)


def test_names_of_several_words_are_found(mention_tokenizer: PreTrainedTokenizerBase) -> None:
    """ "office chair" ends with the word of another label, "chair"."""
    targets = scene_targets(room_scene("train", 3), 126, CATEGORIES, list(COLOURS))
    assert targets.objects is not None
    count = len(targets.objects.label)
    objects = replace(targets.objects, label=np.array([0, 1] + [2] * (count - 2)))
    config = DollhouseConfig(num_objects=16, labels=["chair", "office chair", "lamp"], colours=list(COLOURS))
    fill_token_ids(config, mention_tokenizer)
    finder = MentionFinder(mention_tokenizer, config)
    found = [
        [mention.object for mention in finder.find(mention_tokenizer(question)["input_ids"], objects)]
        for question in ("is the office chair by the chair?", "is there a chair?", "is there an office?")
    ]
    assert found == [[1, 0], [0], []]


def test_colours_of_several_tokens_are_compared_whole() -> None:
    """A tokenizer of letters: the last one of "the" is also that of "white"."""
    tokenizer = train_tokenizer([], [], 300, 2)
    targets = scene_targets(room_scene("train", 3), 126, CATEGORIES, list(COLOURS))
    assert targets.objects is not None
    count = len(targets.objects.label)
    colours = np.array([0, 1] + [0] * (count - 2))
    objects = replace(targets.objects, label=np.array([0, 1] + [2] * (count - 2)), colour=colours)
    config = DollhouseConfig(num_objects=16, labels=["chair", "table", "lamp"], colours=["white", "blue"])
    fill_token_ids(config, tokenizer)
    finder = MentionFinder(tokenizer, config)
    found = [
        [mention.object for mention in finder.find(tokenizer(question)["input_ids"], objects)]
        for question in (" is the chair by the table?", " the white chair, the blue chair", " a blue table")
    ]
    assert found == [[0, 1], [0], [1]]


def test_ambiguous_names_are_left_out(
    mention_tokenizer: PreTrainedTokenizerBase, mention_config: DollhouseConfig
) -> None:
    targets = scene_targets(room_scene("train", 3), 126, CATEGORIES, list(COLOURS))
    assert targets.objects is not None
    objects = targets.objects
    objects.label[:2], objects.colour[:2] = objects.label[0], [0, 1]
    name, colours = CATEGORIES[objects.label[0]], list(COLOURS)
    finder = MentionFinder(mention_tokenizer, mention_config)
    asked = [(f"what colour is the {name}?", "red"), (f"is the {colours[1]} {name} tall?", "no")]
    vague, clear = tokenize_questions(mention_tokenizer, mention_config, asked, objects, finder)
    assert vague.mentions == ()
    assert [found.object for found in clear.mentions] == [1]


def test_objects_without_a_slot_are_left_out(
    mention_tokenizer: PreTrainedTokenizerBase, mention_config: DollhouseConfig
) -> None:
    targets = scene_targets(room_scene("train", 3), 126, CATEGORIES, list(COLOURS))
    assert targets.objects is not None
    last = len(targets.objects.label) - 1
    colour, name = list(COLOURS)[targets.objects.colour[last]], CATEGORIES[targets.objects.label[last]]
    asked = [(f"is the {colour} {name} tall?", "no")]
    enough, few = (MentionFinder(mention_tokenizer, with_slots(mention_config, slots)) for slots in (last + 1, last))
    assert [
        mention.object
        for mention in tokenize_questions(mention_tokenizer, mention_config, asked, targets.objects, enough)[0].mentions
    ] == [last]
    assert tokenize_questions(mention_tokenizer, mention_config, asked, targets.objects, few)[0].mentions == ()


def test_families_are_sampled_by_weight(
    mention_tokenizer: PreTrainedTokenizerBase, mention_config: DollhouseConfig
) -> None:
    data = DataConfig(scenes="rooms:train/0-5", questions_per_scene=10)
    weights = {"size": 3.0, "existence": 1.0, "proximity": 0.0}
    stage = SamplingConfig(steps=1, batch_size=6, questions_per_scene=10, families=weights)
    source = SceneTargetSource(data, mention_config)
    batches = StepDataset(source, stage, 0, mention_tokenizer, mention_config)
    asked = [source.questions(number) for number in range(6)]
    rng = np.random.default_rng(0)
    drawn = [of_scene[place][2] for of_scene in asked for _ in range(40) for place in batches._choose(of_scene, rng)]
    assert set(drawn) == {"size", "existence"}
    assert 0.55 < drawn.count("size") / len(drawn) < 0.8
    nothing = StepDataset(source, replace(stage, families={"proximity": 0.0}), 0, mention_tokenizer, mention_config)
    assert nothing._choose(asked[0], rng) == []


def test_noisy_objects_are_the_true_ones_and_spurious_ones_in_other_slots(mention_config: DollhouseConfig) -> None:
    scene = scene_targets(room_scene("train", 25), 126, CATEGORIES, list(COLOURS))
    batch = collate_batch([scene] * 8, [[]] * 8, mention_config)
    torch.manual_seed(1)
    exact, noisy = gt_objects(batch, mention_config), noisy_gt_objects(batch, mention_config)
    clear, present = [], exact.present[0] > 0
    for row in range(8):
        there = noisy.present[row] > 0
        distance = torch.cdist(noisy.center[row, there], exact.center[row, present])
        near = distance.min(0)
        assert int((near.values < 0.4).sum()) >= 0.7 * int(present.sum()), "most objects are there"
        logits = noisy.label_logits[row, there][near.indices]
        right = exact.label_logits[row, present].argmax(-1)
        above = logits.gather(1, right[:, None])[:, 0] - logits.median(-1).values
        clear += above[near.values < 0.4].tolist()
    assert min(clear) < 1.5
    assert max(clear) > 4
    empty = int((exact.present == 0).sum())
    spurious = int(noisy.present.sum()) - int(exact.present.sum())
    assert 0.1 * empty < spurious < 0.35 * empty
    assert not torch.equal(noisy.center[0], noisy.center[1])
