"""A written chain of thought: the named objects before the answer in training, and only the answer in use."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from dollhouse.data.config import DataConfig, SamplingConfig
from dollhouse.data.dataset import StepDataset
from dollhouse.data.object_mentions import MentionFinder
from dollhouse.data.target_source import SceneTargetSource
from dollhouse.data.targets import scene_targets
from dollhouse.data.tokenization import tokenize_questions
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.questions.written_steps import final_answer, write_steps
from dollhouse.scenes.synthetic.furniture import CATEGORIES, COLOURS
from dollhouse.scenes.synthetic.room_scene import room_scene


def test_steps_are_labels_and_decimetres() -> None:
    objects = [("office chair", np.array([1.24, -0.4, 3.06])), ("lamp", np.array([0.0, 1.0, 2.0]))]
    text = write_steps(objects, "a rug")
    assert text == "office chair 12 -4 31, lamp 0 10 20 => a rug"
    assert final_answer(text) == "a rug"
    assert write_steps([], "a rug") == final_answer("a rug") == "a rug"


def test_training_text_names_the_objects_of_the_question(
    mention_tokenizer: PreTrainedTokenizerBase, mention_config: DollhouseConfig
) -> None:
    objects = scene_targets(room_scene("train", 3), 126, CATEGORIES, list(COLOURS)).objects
    assert objects is not None
    labels = [CATEGORIES[label] for label in objects.label]
    named = next(number for number, label in enumerate(labels) if labels.count(label) == 1)
    asked = [(f"what is next to the {labels[named]}?", "the bin"), ("is there a room?", "yes")]
    finder = MentionFinder(mention_tokenizer, mention_config)
    rows = tokenize_questions(mention_tokenizer, mention_config, asked, objects, finder, written_steps=True)
    texts = [mention_tokenizer.decode(row.ids[row.start :], skip_special_tokens=True).strip() for row in rows]
    x, y, z = (10 * objects.center[named]).round().astype(int)
    assert texts == [f"{labels[named]} {x} {y} {z} => the bin", "yes"]


@pytest.mark.parametrize("written", [False, True])
def test_batches_hold_the_steps_where_a_stage_asks_for_them(
    mention_tokenizer: PreTrainedTokenizerBase, mention_config: DollhouseConfig, written: bool
) -> None:
    source = SceneTargetSource(DataConfig(scenes="rooms:train/0-1", questions_per_scene=8), mention_config)
    sampling = SamplingConfig(1, 2, 8, families=["proximity"], with_mentions=True, written_steps=written)
    batch = StepDataset(source, sampling, 0, mention_tokenizer, mention_config)[0]
    text = "".join(mention_tokenizer.decode(row) for chunk in batch.question_ids for row in chunk)
    assert ("=>" in text) == written


def test_users_get_the_answer_without_the_steps() -> None:
    session = DollhousePipeline.from_pretrained().encode_scene(room_scene("test", 0))
    assert session.finish("what is next to the sofa?", " sofa 12 -4 31 => a lamp", 0.9).text == "a lamp"
