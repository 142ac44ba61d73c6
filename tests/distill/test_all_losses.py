"""All losses together on a tiny student: present, finite, absent where a target is, and each can be learned."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase, TrainerCallback

from dollhouse.distill import lessons as module
from dollhouse.distill.asked import Asked, question_tokens
from dollhouse.distill.batches import Batch, collate
from dollhouse.distill.dry_run import dry_run
from dollhouse.distill.lessons import Lessons
from dollhouse.distill.mentions import MentionFinder
from dollhouse.distill.objective import Objective
from dollhouse.distill.recipe import Recipe, check_recipe
from dollhouse.distill.run import choose_trained, distill
from dollhouse.distill.start import build_student
from dollhouse.distill.targets import SceneTargets, TeacherSight, scene_targets
from dollhouse.distill.trainer import DistillTrainer
from dollhouse.distill.weighting import StaticWeighting
from dollhouse.errors import RecipeError
from dollhouse.scenes.furniture import CATEGORIES
from dollhouse.scenes.source import open_scene
from dollhouse.student.checkpoint import load_student
from dollhouse.student.model import DollhouseForConditionalGeneration
from dollhouse.student.scratchpad import END_TOKEN
from dollhouse.teachers.teacher import TeacherAnswer

SEEING = ["depth_reg", "depth_ce", "depth_kl", "camera", "votes", "detection", "spatial", "multiview", "feature"]
ALL = ["text", "text_kl", "grounding", *SEEING]
PARTS = {
    *("spatial/features", "spatial/views", "spatial/relations"),
    *("multiview/points", "multiview/labels"),
    *("feature/labels", "feature/relations", "feature/depth"),
}
EYES = ["encoder", "trunk", "depth_head", "camera_head", "vote_head", "object_head"]
TREE: dict[str, Any] = {
    "name": "all",
    "precision": "float32",
    "threads": 1,
    "student": {
        "image_size": 56,
        "vision": {"patch_embed": "stem", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        "text": {
            "model_type": "gpt_neox",
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
        },
        "vocabulary": 400,
        "trunk_width": 32,
        "trunk_layers": 1,
        "trunk_heads": 2,
        "object_layers": 1,
        "num_thinking_tokens": 2,
    },
    "data": {"scenes": "rooms:train/0-2", "views": 4, "questions": 6, "workers": 0},
    "stages": {
        "all": {
            "steps": 3,
            "scenes": 2,
            "losses": ALL,
            "train": [*EYES, "projector", "language_model"],
            "true_grouping": 1.0,
            "learning_rate": 1e-3,
            "muon_learning_rate": 0.01,
            "save_every": 2,
            "log_every": 1,
        }
    },
}


def recipe_of(**changes: Any) -> Recipe:
    return check_recipe({**copy.deepcopy(TREE), **changes}, "made")


def taught(scene: SceneTargets, width: int = 20) -> SceneTargets:
    """A scene with what a made-up teacher saw there: features of the true depth, soft labels, depth hints."""
    objects = scene.objects
    assert objects is not None
    draw = np.random.default_rng(5)
    classes = 1 + len(CATEGORIES)
    labels = np.full((*objects.patch_object.shape, classes), 0.2 / classes, np.float32)
    true = np.where(objects.patch_object >= 0, objects.label[objects.patch_object.clip(0)], classes - 1)
    np.put_along_axis(labels, true[..., None], 0.8 + 0.2 / classes, -1)
    labels[:, 0] = 0
    known = np.ones(objects.patch_object.shape, dtype=bool)
    known[0, :3] = False
    features = np.sin(objects.patch_depth[..., None] * draw.uniform(0.3, 2, width)) + draw.normal(size=width)
    depth = objects.patch_depth * 1.05
    return replace(scene, teacher=TeacherSight(features.astype(np.float32), known, labels, depth, objects.relations))


def said(tokenizer: PreTrainedTokenizerBase, answers: list[str]) -> list[TeacherAnswer]:
    """A made-up teacher's answers, with three alternatives a token."""
    told = []
    for answer in answers:
        ids = np.array(tokenizer(f" {answer}{END_TOKEN}", add_special_tokens=False)["input_ids"], np.int32)
        others = np.stack([ids, (ids + 1) % 300, (ids + 2) % 300], -1).astype(np.int32)
        chances = np.tile(np.log(np.array([0.7, 0.2, 0.05], np.float32)), (len(ids), 1))
        told.append(TeacherAnswer(answer, ids, others, chances))
    return told


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[DollhouseForConditionalGeneration, Batch]:
    """A tiny student and a batch of two rooms about which a teacher told everything."""
    recipe = recipe_of()
    torch.manual_seed(0)
    model, processor = build_student(recipe, tmp_path_factory.mktemp("begun"))
    lessons = Lessons(recipe.data, model.config)
    finder = MentionFinder(processor.tokenizer, model.config)
    scenes, questions = [], []
    for number in range(2):
        scenes.append(taught(lessons.targets(number)))
        asked = [one[:2] for one in lessons.questions(number)[:8]]
        answers = said(processor.tokenizer, [answer for _, answer in asked])
        objects = scenes[-1].objects
        questions.append(question_tokens(processor.tokenizer, model.config, asked, objects, finder, answers))
    return model, collate(scenes, questions, model.config, group_by_truth=True)


def objective_of(
    begun: tuple[DollhouseForConditionalGeneration, Batch], losses: list[str], **settings: Any
) -> tuple[Objective, Batch]:
    model, batch = begun
    torch.manual_seed(0)
    weighting = StaticWeighting(dict.fromkeys(losses, 1.0))
    objective = Objective(copy.deepcopy(model).train(), weighting, losses, **{"teacher_width": 20, **settings})
    return objective, batch


def test_every_loss_and_part_is_there_and_finite(begun: tuple[DollhouseForConditionalGeneration, Batch]) -> None:
    objective, batch = objective_of(begun, ALL)
    parts = objective(batch)
    assert set(parts) == {"loss", *ALL} | PARTS
    assert all(bool(torch.isfinite(value)) and float(value.detach()) > 0 for value in parts.values())
    for name in ("spatial", "multiview", "feature"):
        inner = sum(float(value) for part, value in parts.items() if part.startswith(f"{name}/"))
        assert float(parts[name]) == pytest.approx(inner, rel=1e-5)
    total = sum(float(parts[name]) for name in ALL)
    assert float(parts["loss"].detach()) == pytest.approx(total, rel=1e-5)
    parts["loss"].backward()
    for name, parameter in objective.named_parameters():
        if "blind" not in name:
            assert parameter.grad is not None, name
            assert bool(torch.isfinite(parameter.grad).all()), name


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("text_kl", "grounding")] + ["text_kl"])
def test_each_loss_goes_down_when_stepped_alone(
    name: str, begun: tuple[DollhouseForConditionalGeneration, Batch]
) -> None:
    losses = ["text", name] if name == "text_kl" else [name]
    objective, batch = objective_of(begun, losses)
    if name == "text_kl":
        objective.weighting = StaticWeighting({"text": 0.0, "text_kl": 1.0})
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    values: list[dict[str, float]] = []
    for _ in range(12):
        parts = objective(batch)
        values.append({part: float(value.detach()) for part, value in parts.items()})
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
    assert values[-1][name] < 0.9 * values[0][name]
    for part in PARTS & set(values[0]):
        assert values[-1][part] < values[0][part], part


LACKING = {
    "teacher": (
        {"teacher": None},
        {"feature", "spatial/features", "feature/labels", "feature/relations", "feature/depth"},
    ),
    "depth": ({"depth": 0.0}, {"depth_reg", "depth_ce", "depth_kl"}),
    "relations": ({"relations": [None, None]}, {"spatial/relations"}),
    "alternatives": ({"top_tokens": [None, None, None]}, {"text_kl"}),
    "boxes": ({"boxes": [None, None]}, {"detection", "spatial/relations", "feature/relations"}),
}


@pytest.mark.parametrize("what", LACKING)
def test_what_a_batch_lacks_is_absent(what: str, begun: tuple[DollhouseForConditionalGeneration, Batch]) -> None:
    losses = [name for name in ALL if name != "grounding"]
    objective, batch = objective_of(begun, losses)
    changes, absent = LACKING[what]
    changes = {key: 0 * batch.depth if key == "depth" else value for key, value in changes.items()}
    with torch.no_grad():
        parts = objective(Batch(**{**vars(batch), **changes}))
    assert ({*losses, *PARTS} - set(parts)) == absent


def test_one_view_shares_nothing(tmp_path: Path) -> None:
    model, _ = build_student(recipe_of(), tmp_path)
    room = open_scene("rooms:train/0")
    scene = scene_targets(replace(room, views=room.views[:1]), 56, model.config.labels, model.config.colours)
    objective = Objective(model, StaticWeighting({"spatial": 1.0, "multiview": 1.0}), ["spatial", "multiview"])
    parts = objective(collate([scene], [[]], model.config, group_by_truth=True))
    assert set(parts) == {"loss", "spatial", "spatial/relations"}


def test_features_of_another_width_are_refused(begun: tuple[DollhouseForConditionalGeneration, Batch]) -> None:
    for width in (0, 21):
        objective, batch = objective_of(begun, ["spatial"], teacher_width=width)
        with pytest.raises(RecipeError, match=f"20 wide here and {width} in the first scenes"):
            objective(batch)


@pytest.fixture
def teaching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lessons as records of a teacher that tells everything would make them."""
    targets, tokens = Lessons.targets, module.question_tokens

    def with_alternatives(tokenizer: Any, config: Any, questions: Any, *rest: Any) -> list[Asked]:
        objects, finder = rest[:2]
        return tokens(tokenizer, config, questions, objects, finder, said(tokenizer, [one for _, one in questions]))

    monkeypatch.setattr(Lessons, "targets", lambda self, number: taught(targets(self, number)))
    monkeypatch.setattr(module, "question_tokens", with_alternatives)


def test_a_run_with_all_losses_and_its_dry_run(teaching: None, tmp_path: Path) -> None:
    recipe = recipe_of()
    check = dry_run(recipe)[0]
    assert set(check.losses) == {*ALL} | PARTS
    assert not check.without_gradient
    folder = distill(recipe, tmp_path / "run", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    told = [line for line in lines if "text" in line]
    assert len(told) == 3
    for line in told:
        assert {*ALL, *PARTS, *(f"weight_{name}" for name in ALL)} <= line.keys()
        assert all(np.isfinite(line[name]) for name in (*ALL, *PARTS))
        assert line["dropped_steps"] == 0
    student, _, _ = load_student(folder)
    assert student.config.depth_bins == 32
    assert student.config.relation_head
    assert (tmp_path / "run" / "curves.png").stat().st_size > 10_000


def test_resuming_keeps_the_learned_weights(teaching: None, tmp_path: Path) -> None:
    """A run that stops at step 2 and goes on ends with the very sigmas, map and student of one that did not."""
    recipe = recipe_of()
    distill(recipe, tmp_path / "whole", progress=False)

    class Stop(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(recipe, tmp_path / "stopped", progress=False, callbacks=[Stop()])
    kept = load_file(tmp_path / "stopped" / "all" / "checkpoint-2" / "model.safetensors")
    sigmas = {name: value for name, value in kept.items() if name.startswith("weighting.")}
    assert len(sigmas) == len(ALL)
    assert all(float(value.abs()) > 0 for value in sigmas.values())
    seen = {}
    trained = DistillTrainer.train

    def watched(self: DistillTrainer, *arguments: Any, **settings: Any) -> Any:
        result = trained(self, *arguments, **settings)
        seen[self.args.output_dir] = {name: value.clone() for name, value in self.model.state_dict().items()}
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DistillTrainer, "train", watched)
        distill(recipe, tmp_path / "stopped", progress=False)
        distill(recipe, tmp_path / "again", progress=False)
    resumed, whole = seen.values()
    assert any(name.startswith("weighting.") for name in whole)
    assert "teacher_map.weight" in whole
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_model_without_a_head_gets_it_fresh_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = {**TREE["stages"]["all"], "losses": ["depth_reg", "text"], "steps": 1}
    folder = distill(recipe_of(stages={"all": plain}), tmp_path / "plain", progress=False)
    before, _, _ = load_student(folder)
    assert (before.config.depth_bins, before.config.relation_head) == (0, False)
    tree = {key: value for key, value in TREE.items() if key != "student"}
    seeing = {**TREE["stages"]["all"], "losses": ["depth_ce", "spatial"], "train": ["trunk"]}
    recipe = check_recipe({**tree, "start_from": str(folder), "stages": {"all": seeing}}, "made")
    capsys.readouterr()
    model, _ = build_student(recipe, tmp_path)
    line = capsys.readouterr().out.splitlines()
    assert len(line) == 1
    assert "no depth_bin_head and no relation_head" in line[0]
    assert torch.equal(model.trunk.project.weight, before.trunk.project.weight)
    assert float(model.depth_bin_head.mlp[0].weight.detach().std()) == pytest.approx(0.02, rel=0.2)
    trained = choose_trained(recipe.stages["all"], model)
    assert trained == {"trunk", "depth_bin_head", "relation_head"}
    model.save_pretrained(tmp_path / "kept")
    again = DollhouseForConditionalGeneration.from_pretrained(tmp_path / "kept")
    assert torch.equal(again.relation_head.first.weight, model.relation_head.first.weight)


def test_relations_of_a_pair_turned_round_are_the_opposite(
    begun: tuple[DollhouseForConditionalGeneration, Batch],
) -> None:
    model, batch = begun
    with torch.no_grad():
        relations = model.see(batch.pixel_values, batch.member).relations
    assert relations is not None
    assert relations.shape == (2, 16, 16, 2)
    torch.testing.assert_close(relations, -relations.transpose(1, 2))
    assert float(relations.abs().max()) > 0


def test_language_model_holds_all_states_only_where_they_are_read(
    begun: tuple[DollhouseForConditionalGeneration, Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("continue_from", "hidden_states_from"):
        method = getattr(DollhouseForConditionalGeneration, name)
        monkeypatch.setattr(
            DollhouseForConditionalGeneration, name, lambda *given, n=name, m=method: asked.append(n) or m(*given)
        )
    for losses, expected in ((["text"], "continue_from"), (["text", "grounding"], "hidden_states_from")):
        objective, batch = objective_of(begun, losses)
        asked.clear()
        with torch.no_grad():
            objective(batch)
        assert set(asked) == {expected}


def test_states_are_the_same_either_way(begun: tuple[DollhouseForConditionalGeneration, Batch]) -> None:
    model, batch = begun
    with torch.no_grad():
        scene = model.read_scene(torch.randn(2, 16, 32))
        ids, owner = batch.question_ids[0], batch.scene_of_question[0]
        torch.testing.assert_close(
            model.continue_from(scene, ids, owner), model.hidden_states_from(scene, ids, owner)[-1]
        )
