"""Teacher targets in the batch: features, soft labels, depth, relations and top tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dollhouse.data.collator import collate_batch
from dollhouse.data.target_cache import pack, unpack
from dollhouse.data.targets import SceneTargets, TeacherPatches, scene_targets, soft_relations
from dollhouse.data.tokenization import TokenizedQA, pack_questions
from dollhouse.data.view_transforms import flip_horizontally
from dollhouse.errors import RecipeError
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.models.tensors import IGNORE
from dollhouse.scenes.scene import Box
from dollhouse.scenes.synthetic.furniture import CATEGORIES, COLOURS
from dollhouse.scenes.synthetic.room_scene import room_scene

CONFIG = DollhouseConfig(num_objects=16, labels=CATEGORIES, colours=list(COLOURS), pad_token_id=0)


def scene_with_teacher(number: int, width: int = 5) -> SceneTargets:
    """Return a room with random targets of a teacher in every patch."""
    targets = scene_targets(room_scene("train", number), 56, CATEGORIES, list(COLOURS))
    assert targets.objects is not None
    rng = np.random.default_rng(number)
    views, patches = targets.objects.patch_object.shape
    labels = rng.dirichlet(np.ones(len(CATEGORIES) + 1), (views, patches))
    teacher = TeacherPatches(
        features=rng.normal(size=(views, patches, width)).astype(np.float32),
        known=rng.random((views, patches)) < 0.5,
        labels=labels.astype(np.float32),
        depth=rng.uniform(1, 3, (views, patches)).astype(np.float32),
        relations=targets.objects.relations,
    )
    return replace(targets, teacher=teacher)


def test_unpack_restores_packed_targets() -> None:
    scene = scene_with_teacher(3)
    restored = unpack(pack(scene))
    assert scene.teacher is not None
    assert restored.teacher is not None
    for name, value in vars(scene.teacher).items():
        np.testing.assert_array_equal(getattr(restored.teacher, name), value)
    assert scene.objects is not None
    assert restored.objects is not None
    np.testing.assert_array_equal(restored.objects.relations, scene.objects.relations)
    assert unpack(pack(replace(scene, teacher=TeacherPatches(depth=scene.teacher.depth)))).teacher.labels is None  # type: ignore[union-attr]
    assert unpack(pack(replace(scene, teacher=None))).teacher is None


def test_soft_relations_follow_the_boxes() -> None:
    objects = scene_with_teacher(3).objects
    assert objects is not None
    relations = objects.relations
    assert relations is not None
    np.testing.assert_allclose(relations + relations.transpose(1, 0, 2), 1, atol=1e-6)
    x, z = objects.center[:, 0], objects.center[:, 2]
    for axis, place in enumerate((x, z)):
        apart = place[None] - place[:, None]
        assert (relations[apart > 0, axis] > 0.5).all()


def test_horizontal_flip_reverses_patches_and_relations() -> None:
    scene = scene_with_teacher(3)
    flipped, teacher = flip_horizontally(scene), scene.teacher
    assert flipped.objects is not None
    assert flipped.teacher is not None
    assert teacher is not None
    assert scene.objects is not None
    assert flipped.teacher.features is not None
    assert teacher.features is not None
    columns = scene.images.shape[2] // 14
    for row in range(scene.images.shape[1] // 14):
        for column in range(columns):
            target = row * columns + columns - 1 - column
            np.testing.assert_array_equal(
                flipped.teacher.features[:, row * columns + column], teacher.features[:, target]
            )
    objects = flipped.objects
    boxes = [
        Box(number + 1, "chair", tuple(map(float, center)), tuple(map(float, size)), float(yaw))
        for number, (center, size, yaw) in enumerate(zip(objects.center, objects.size, objects.yaw, strict=True))
    ]
    np.testing.assert_allclose(objects.relations, soft_relations(boxes), atol=1e-5)
    twice = flip_horizontally(flipped)
    assert twice.teacher is not None
    np.testing.assert_allclose(twice.teacher.relations, teacher.relations, atol=1e-6)
    np.testing.assert_array_equal(twice.teacher.labels, teacher.labels)


def test_scenes_without_teacher_have_no_targets() -> None:
    whole, bare = scene_with_teacher(3), replace(scene_with_teacher(11), teacher=None)
    batch = collate_batch([bare, whole], [[], []], CONFIG)
    teacher = batch.teacher
    assert teacher is not None
    assert whole.teacher is not None
    assert float(teacher.known[0].sum()) == 0
    assert float(teacher.labels[0].sum()) == 0
    assert float(teacher.depth[0].sum()) == 0
    assert teacher.relations[0] is None
    np.testing.assert_array_equal(teacher.known[1].numpy() > 0, whole.teacher.known.reshape(-1))  # type: ignore[union-attr]
    np.testing.assert_array_equal(teacher.features[1, 17], whole.teacher.features[1, 1])  # type: ignore[index]
    assert collate_batch([bare], [[]], CONFIG).teacher is None
    with pytest.raises(RecipeError, match="5 and 7 wide"):
        collate_batch([scene_with_teacher(3), scene_with_teacher(11, width=7)], [[], []], CONFIG)


def test_top_tokens_are_aligned_with_answer_tokens() -> None:
    answered = TokenizedQA([5, 6, 7, 8], 2, (), np.array([[7, 9], [8, 1]], np.int32), np.log([[0.7, 0.2], [0.9, 0.05]]))
    narrow = TokenizedQA([5, 4, 3], 1, (), np.array([[4], [3]], np.int32), np.log([[0.5], [0.6]]))
    unanswered = TokenizedQA([5, 2, 2, 2, 2, 3], 1)
    packed = pack_questions([[unanswered, answered], [narrow]], pad=0, chunks=1)
    labels, tops = packed.labels, packed.top_tokens
    top = tops[0]
    assert top is not None
    answers = labels[0][labels[0] != IGNORE]
    known = torch.isfinite(top.log_probs).any(-1)
    assert known.tolist() == [True] * 4 + [False] * 5
    assert torch.equal(top.ids[known, 0], answers[known])
    assert torch.isfinite(top.log_probs).sum(-1).tolist() == [1, 1, 2, 2, 0, 0, 0, 0, 0]
    assert pack_questions([[unanswered]], pad=0, chunks=1).top_tokens == [None]
