"""What a teacher tells reaches the batch: features, soft labels, depth hints, relations, alternatives to its tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dollhouse.data.collator import collate_batch
from dollhouse.data.target_cache import pack, unpack
from dollhouse.data.targets import SceneTargets, TeacherPatches, flip_horizontally, scene_targets, soft_relations
from dollhouse.data.tensors import IGNORE
from dollhouse.data.tokenization import TokenizedQA, pack_questions
from dollhouse.errors import RecipeError
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.scenes.scene import Box
from dollhouse.scenes.synthetic.furniture import CATEGORIES, COLOURS
from dollhouse.scenes.synthetic.room_scene import room_scene

CONFIG = DollhouseConfig(num_objects=16, labels=CATEGORIES, colours=list(COLOURS), pad_token_id=0)


def told_scene(number: int, width: int = 5) -> SceneTargets:
    """A room with a teacher that tells everything, differently in every patch."""
    targets = scene_targets(room_scene("train", number), 56, CATEGORIES, list(COLOURS))
    assert targets.objects is not None
    draw = np.random.default_rng(number)
    views, patches = targets.objects.patch_object.shape
    labels = draw.dirichlet(np.ones(len(CATEGORIES) + 1), (views, patches))
    sight = TeacherPatches(
        features=draw.normal(size=(views, patches, width)).astype(np.float32),
        known=draw.random((views, patches)) < 0.5,
        labels=labels.astype(np.float32),
        depth=draw.uniform(1, 3, (views, patches)).astype(np.float32),
        relations=targets.objects.relations,
    )
    return replace(targets, teacher=sight)


def test_kept_lessons_come_back_with_all_that_was_told() -> None:
    scene = told_scene(3)
    again = unpack(pack(scene))
    assert scene.teacher is not None
    assert again.teacher is not None
    for name, value in vars(scene.teacher).items():
        np.testing.assert_array_equal(getattr(again.teacher, name), value)
    assert scene.objects is not None
    assert again.objects is not None
    np.testing.assert_array_equal(again.objects.relations, scene.objects.relations)
    assert unpack(pack(replace(scene, teacher=TeacherPatches(depth=scene.teacher.depth)))).teacher.labels is None  # type: ignore[union-attr]
    assert unpack(pack(replace(scene, teacher=None))).teacher is None


def test_relations_of_a_room_are_chances_of_its_boxes() -> None:
    objects = told_scene(3).objects
    assert objects is not None
    relations = objects.relations
    assert relations is not None
    np.testing.assert_allclose(relations + relations.transpose(1, 0, 2), 1, atol=1e-6)
    x, z = objects.center[:, 0], objects.center[:, 2]
    for axis, place in enumerate((x, z)):
        apart = place[None] - place[:, None]
        assert (relations[apart > 0, axis] > 0.5).all()


def test_a_mirror_turns_right_into_left_and_patches_round() -> None:
    scene = told_scene(3)
    seen, teacher = flip_horizontally(scene), scene.teacher
    assert seen.objects is not None
    assert seen.teacher is not None
    assert teacher is not None
    assert scene.objects is not None
    assert seen.teacher.features is not None
    assert teacher.features is not None
    columns = scene.images.shape[2] // 14
    for row in range(scene.images.shape[1] // 14):
        for column in range(columns):
            there = row * columns + columns - 1 - column
            np.testing.assert_array_equal(seen.teacher.features[:, row * columns + column], teacher.features[:, there])
    objects = seen.objects
    boxes = [
        Box(number + 1, "chair", tuple(map(float, center)), tuple(map(float, size)), float(yaw))
        for number, (center, size, yaw) in enumerate(zip(objects.center, objects.size, objects.yaw, strict=True))
    ]
    np.testing.assert_allclose(objects.relations, soft_relations(boxes), atol=1e-5)
    twice = flip_horizontally(seen)
    assert twice.teacher is not None
    np.testing.assert_allclose(twice.teacher.relations, teacher.relations, atol=1e-6)
    np.testing.assert_array_equal(twice.teacher.labels, teacher.labels)


def test_scenes_of_which_less_is_told_are_marked_so() -> None:
    whole, bare = told_scene(3), replace(told_scene(11), teacher=None)
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
        collate_batch([told_scene(3), told_scene(11, width=7)], [[], []], CONFIG)


def test_alternatives_stand_beside_their_answer_tokens() -> None:
    told = TokenizedQA([5, 6, 7, 8], 2, (), np.array([[7, 9], [8, 1]], np.int32), np.log([[0.7, 0.2], [0.9, 0.05]]))
    narrow = TokenizedQA([5, 4, 3], 1, (), np.array([[4], [3]], np.int32), np.log([[0.5], [0.6]]))
    silent = TokenizedQA([5, 2, 2, 2, 2, 3], 1)
    packed = pack_questions([[silent, told], [narrow]], pad=0, chunks=1)
    labels, tops = packed.labels, packed.top_tokens
    top = tops[0]
    assert top is not None
    answers = labels[0][labels[0] != IGNORE]
    known = torch.isfinite(top.log_probs).any(-1)
    assert known.tolist() == [True] * 4 + [False] * 5
    assert torch.equal(top.ids[known, 0], answers[known])
    assert torch.isfinite(top.log_probs).sum(-1).tolist() == [1, 1, 2, 2, 0, 0, 0, 0, 0]
    assert pack_questions([[silent]], pad=0, chunks=1).top_tokens == [None]
