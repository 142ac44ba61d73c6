"""What the learner is given: the same as the teacher will see later, in the axes of the view that is asked about."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from dollhouse.distill.batches import IGNORE, collate
from dollhouse.distill.lessons import Lessons
from dollhouse.distill.nano_teacher.learner import posed_views
from dollhouse.distill.nano_teacher.lessons import in_axes_of
from dollhouse.distill.nano_teacher.run import named_things
from dollhouse.geometry import level_from_world
from dollhouse.scenes.source import open_scene
from dollhouse.teachers.llava3d import preprocess
from tests.distill.nano_teacher.made import TINY, Pieces, tiny_recipe


@pytest.mark.parametrize("view", [0, 2])
def test_boxes_and_poses_stand_in_the_axes_of_a_view(made: Pieces, view: int) -> None:
    scene = open_scene("rooms:train/1")
    level = level_from_world(scene.views[view].world_from_camera)
    turned = in_axes_of(made.lessons.targets(1), view)
    poses = np.stack([level @ one.world_from_camera for one in scene.views])
    np.testing.assert_allclose(turned.level_from_camera, poses, atol=1e-9)
    np.testing.assert_allclose(turned.level_from_camera[view][:3, 3], 0, atol=1e-9)
    moved = [box.moved(level) for box in scene.boxes or ()]
    assert turned.objects is not None
    for center, yaw in zip(turned.objects.center, turned.objects.yaw, strict=True):
        box = min(moved, key=lambda one: float(np.linalg.norm(one.center - center)))
        np.testing.assert_allclose(center, box.center, atol=1e-5)
        assert np.cos(yaw - box.yaw) == pytest.approx(1, abs=1e-6)


def test_a_scene_without_boxes_cannot_be_turned(made: Pieces) -> None:
    with pytest.raises(ValueError, match="no poses or no boxes"):
        in_axes_of(replace(made.lessons.targets(1), objects=None), 0)


def test_learner_sees_what_the_teacher_will_see() -> None:
    """The batch of a room as large as the nano teacher sees it, beside what preprocessing makes of the same room."""
    recipe = tiny_recipe(model={**TINY["model"], "image_size": 126})
    named = named_things(recipe)
    targets = Lessons(recipe.data, named).targets(1)
    seen = posed_views(collate([targets], [[]], named))
    scene = open_scene("rooms:train/1")
    expected = preprocess.posed_views(scene, preprocess.Framing(126))
    torch.testing.assert_close(seen.images, expected.images, atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.intrinsics, expected.intrinsics, atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.depths, expected.depths, atol=0, rtol=1e-3)  # lessons keep half precision
    level = torch.from_numpy(level_from_world(scene.views[0].world_from_camera)).float()
    torch.testing.assert_close(seen.world_from_camera, level @ expected.world_from_camera, atol=1e-5, rtol=0)


def test_questions_about_other_views_wait(made: Pieces) -> None:
    posed = made.posed()
    named = set()
    for number in range(len(posed)):
        batch = posed[number]
        poses = batch.level_from_camera[0].double().numpy()
        at = int(np.argmin([np.abs(level_from_world(pose) - np.eye(4)).max() for pose in poses]))
        for ids in batch.question_ids[0]:
            text = made.tokenizer.decode(ids[ids > 2])
            if (view := re.search(r"\bview (\d)", text.partition("ASSISTANT")[0])) is not None:
                assert int(view[1]) - 1 == at, text
                named.add(at)
        assert set(batch.mentions[0].names[:, 3].tolist()) <= {at}
    assert len(named) > 1


def test_an_item_is_the_same_each_time(made: Pieces) -> None:
    first, again = made.posed()[3], made.posed()[3]
    assert torch.equal(first.question_ids[0], again.question_ids[0])
    assert torch.equal(first.level_from_camera, again.level_from_camera)
    assert len(made.posed()) == 8  # rooms: 4 steps of 2


def test_only_answers_carry_loss(made: Pieces) -> None:
    batch = made.posed()[0]
    for ids, labels in zip(batch.question_ids[0], batch.question_labels[0], strict=True):
        answer = labels[labels != IGNORE]
        assert answer[-1] == made.tokenizer.eos_token_id
        told = made.tokenizer.decode(answer, skip_special_tokens=True).strip()
        whole = made.tokenizer.decode(ids[ids > 0], skip_special_tokens=True)
        assert told
        assert whole.endswith(f"ASSISTANT: {told}")
