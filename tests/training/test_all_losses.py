"""Every loss on a tiny student: finite, absent without targets, and falling when optimised."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dollhouse.data.collator import Batch, collate_batch
from dollhouse.data.object_mentions import MentionFinder
from dollhouse.data.target_source import SceneTargetSource
from dollhouse.data.targets import scene_targets
from dollhouse.data.tokenization import tokenize_questions
from dollhouse.errors import RecipeError
from dollhouse.models.dollhouse.modeling import DollhouseForConditionalGeneration
from dollhouse.scenes.open import open_scene
from dollhouse.training.loss_module import LossModule
from dollhouse.training.loss_weighting import StaticWeighting
from dollhouse.training.train import prepare_student
from tests.fixtures.teacher_targets import EVERY_LOSS, LOSS_PARTS, every_loss_recipe, teacher_answers, with_teacher


@pytest.fixture(scope="module")
def student_and_batch(tmp_path_factory: pytest.TempPathFactory) -> tuple[DollhouseForConditionalGeneration, Batch]:
    """Return a tiny student, and a batch of two rooms with all targets of a teacher."""
    recipe = every_loss_recipe()
    torch.manual_seed(0)
    model, processor, _ = prepare_student(recipe, tmp_path_factory.mktemp("student_and_batch"))
    source = SceneTargetSource(recipe.data, model.config)
    finder = MentionFinder(processor.tokenizer, model.config)
    scenes, questions = [], []
    for number in range(2):
        scenes.append(with_teacher(source.targets(number)))
        pairs = [row[:2] for row in source.questions(number)[:8]]
        answers = teacher_answers(processor.tokenizer, [answer for _, answer in pairs])
        objects = scenes[-1].objects
        questions.append(tokenize_questions(processor.tokenizer, model.config, pairs, objects, finder, answers))
    return model, collate_batch(scenes, questions, model.config, use_gt_assignment=True)


def loss_module_of(
    student_and_batch: tuple[DollhouseForConditionalGeneration, Batch], losses: list[str], **settings: Any
) -> tuple[LossModule, Batch]:
    model, batch = student_and_batch
    torch.manual_seed(0)
    weighting = StaticWeighting(dict.fromkeys(losses, 1.0))
    loss_module = LossModule(copy.deepcopy(model).train(), weighting, losses, **{"teacher_width": 20, **settings})
    return loss_module, batch


def test_every_loss_and_part_is_finite(student_and_batch: tuple[DollhouseForConditionalGeneration, Batch]) -> None:
    loss_module, batch = loss_module_of(student_and_batch, EVERY_LOSS)
    parts = loss_module(batch)
    assert set(parts) == {"loss", *EVERY_LOSS} | LOSS_PARTS
    assert all(bool(torch.isfinite(value)) and float(value.detach()) > 0 for value in parts.values())
    for name in ("labels", "spatial", "multiview", "feature"):
        inner = sum(float(value) for part, value in parts.items() if part.startswith(f"{name}/"))
        assert float(parts[name]) == pytest.approx(inner, rel=1e-5)
    total = sum(float(parts[name]) for name in EVERY_LOSS)
    assert float(parts["loss"].detach()) == pytest.approx(total, rel=1e-5)
    parts["loss"].backward()
    for name, parameter in loss_module.named_parameters():
        if "blind" not in name:
            assert parameter.grad is not None, name
            assert bool(torch.isfinite(parameter.grad).all()), name


@pytest.mark.parametrize("name", [name for name in EVERY_LOSS if name not in ("text_kl", "grounding")] + ["text_kl"])
def test_each_loss_falls_when_optimised_alone(
    name: str, student_and_batch: tuple[DollhouseForConditionalGeneration, Batch]
) -> None:
    losses = ["text", name] if name == "text_kl" else [name]
    loss_module, batch = loss_module_of(student_and_batch, losses)
    if name == "text_kl":
        loss_module.weighting = StaticWeighting({"text": 0.0, "text_kl": 1.0})
    optimizer = torch.optim.Adam(loss_module.parameters(), lr=3e-3)
    values: list[dict[str, float]] = []
    for _ in range(12):
        parts = loss_module(batch)
        values.append({part: float(value.detach()) for part, value in parts.items()})
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
    assert values[-1][name] < 0.9 * values[0][name]
    for part in LOSS_PARTS & set(values[0]):
        assert values[-1][part] < values[0][part], part


MISSING_TARGETS = {
    "teacher": (
        {"teacher": None},
        {"feature", "spatial/features", "feature/labels", "feature/relations", "feature/depth"},
    ),
    "depth": ({"depth": 0.0}, {"depth_reg", "depth_ce", "depth_kl"}),
    "relations": ({"relations": [None, None]}, {"spatial/relations"}),
    "alternatives": ({"top_tokens": [None, None, None]}, {"text_kl"}),
    "boxes": ({"boxes": [None, None]}, {"detection", "labels/objects", "spatial/relations", "feature/relations"}),
}


@pytest.mark.parametrize("what", MISSING_TARGETS)
def test_losses_without_targets_are_absent(
    what: str, student_and_batch: tuple[DollhouseForConditionalGeneration, Batch]
) -> None:
    losses = [name for name in EVERY_LOSS if name != "grounding"]
    loss_module, batch = loss_module_of(student_and_batch, losses)
    changes, absent = MISSING_TARGETS[what]
    changes = {key: 0 * batch.depth if key == "depth" else value for key, value in changes.items()}
    with torch.no_grad():
        parts = loss_module(Batch(**{**vars(batch), **changes}))
    assert ({*losses, *LOSS_PARTS} - set(parts)) == absent


def test_single_view_has_no_consistency_losses(tmp_path: Path) -> None:
    model, _, _ = prepare_student(every_loss_recipe(), tmp_path)
    room = open_scene("rooms:train/0")
    scene = scene_targets(replace(room, views=room.views[:1]), 56, model.config.labels, model.config.colours)
    loss_module = LossModule(model, StaticWeighting({"spatial": 1.0, "multiview": 1.0}), ["spatial", "multiview"])
    parts = loss_module(collate_batch([scene], [[]], model.config, use_gt_assignment=True))
    assert set(parts) == {"loss", "spatial", "spatial/relations"}


def test_features_of_another_width_are_refused(
    student_and_batch: tuple[DollhouseForConditionalGeneration, Batch],
) -> None:
    for width in (0, 21):
        loss_module, batch = loss_module_of(student_and_batch, ["spatial"], teacher_width=width)
        with pytest.raises(RecipeError, match=f"20 wide here and {width} in the first scenes"):
            loss_module(batch)


def test_relations_are_antisymmetric(
    student_and_batch: tuple[DollhouseForConditionalGeneration, Batch],
) -> None:
    model, batch = student_and_batch
    with torch.no_grad():
        relations = model.encode_scene(batch.pixel_values, batch.patch_assignment).relations
    assert relations is not None
    assert relations.shape == (2, 16, 16, 2)
    torch.testing.assert_close(relations, -relations.transpose(1, 2))
    assert float(relations.abs().max()) > 0


def test_hidden_states_are_kept_only_for_probes(
    student_and_batch: tuple[DollhouseForConditionalGeneration, Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("encode_questions", "question_hidden_states"):
        method = getattr(DollhouseForConditionalGeneration, name)
        monkeypatch.setattr(
            DollhouseForConditionalGeneration, name, lambda *given, n=name, m=method: calls.append(n) or m(*given)
        )
    for losses, expected in ((["text"], "encode_questions"), (["text", "grounding"], "question_hidden_states")):
        loss_module, batch = loss_module_of(student_and_batch, losses)
        calls.clear()
        with torch.no_grad():
            loss_module(batch)
        assert set(calls) == {expected}


def test_last_hidden_states_equal_encoded_questions(
    student_and_batch: tuple[DollhouseForConditionalGeneration, Batch],
) -> None:
    model, batch = student_and_batch
    with torch.no_grad():
        scene = model.encode_prefix(torch.randn(2, 16, 32))
        ids, owner = batch.question_ids[0], batch.scene_of_question[0]
        torch.testing.assert_close(
            model.encode_questions(scene, ids, owner), model.question_hidden_states(scene, ids, owner)[-1]
        )
