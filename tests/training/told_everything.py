"""A recipe of every loss for a tiny student, and a made-up teacher that tells everything they want."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from dollhouse.data.targets import SceneTargets, TeacherPatches
from dollhouse.models.dollhouse.special_tokens import END_TOKEN
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.synthetic.furniture import CATEGORIES
from dollhouse.training.config import Recipe, check_recipe

SEEING = ["depth_reg", "depth_ce", "depth_kl", "camera", "voting", "detection", "spatial", "multiview", "feature"]
ALL = ["text", "text_kl", "grounding", *SEEING]
PARTS = {
    *("spatial/features", "spatial/views", "spatial/relations"),
    *("multiview/points", "multiview/labels"),
    *("feature/labels", "feature/relations", "feature/depth"),
}
EYES = ["encoder", "trunk", "depth_head", "camera_head", "voting_head", "proposal_head"]
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
    "data": {"scenes": "rooms:train/0-2", "views": 4, "questions_per_scene": 6, "workers": 0},
    "stages": {
        "all": {
            "steps": 3,
            "batch_size": 2,
            "losses": ALL,
            "train": [*EYES, "projector", "language_model"],
            "gt_assignment_prob": 1.0,
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
    return replace(scene, teacher=TeacherPatches(features.astype(np.float32), known, labels, depth, objects.relations))


def said(tokenizer: PreTrainedTokenizerBase, answers: list[str]) -> list[TeacherAnswer]:
    """A made-up teacher's answers, with three alternatives a token."""
    told = []
    for answer in answers:
        ids = np.array(tokenizer(f" {answer}{END_TOKEN}", add_special_tokens=False)["input_ids"], np.int32)
        others = np.stack([ids, (ids + 1) % 300, (ids + 2) % 300], -1).astype(np.int32)
        chances = np.tile(np.log(np.array([0.7, 0.2, 0.05], np.float32)), (len(ids), 1))
        told.append(TeacherAnswer(answer, ids, others, chances))
    return told
