"""Record ids and content hashes change exactly when the content does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dollhouse.records.content_hash import record_id, scene_hash
from dollhouse.scenes.scene import Scene
from tests.records.small_scenes import questions_for, small_scene

PROVENANCE = {"teacher": {"teacher": "made", "settings": {"top_k": 5}, "software": {"torch": "1"}}, "geometry": []}
GOLDEN = "b23b6452341b98c1b2a16744bbfe7242"


def test_record_id_is_pinned() -> None:
    scene = small_scene()
    assert record_id(scene_hash(scene), questions_for(scene), PROVENANCE) == GOLDEN


def test_record_id_is_equal_in_another_process() -> None:
    code = (
        "from tests.records.test_content_hash import *\n"
        "scene = small_scene()\nprint(record_id(scene_hash(scene), questions_for(scene), PROVENANCE))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert process.stdout.strip() == GOLDEN


def other_pixel(scene: Scene) -> Scene:
    image = scene.views[1].image.copy()
    image[3, 4, 1] ^= 1
    return replace(scene, views=(scene.views[0], replace(scene.views[1], open_image=lambda: image)))


def other_depth(scene: Scene) -> Scene:
    depth = scene.views[0].depth
    assert depth is not None
    return replace(scene, views=(replace(scene.views[0], open_depth=lambda: depth * 2), scene.views[1]))


def no_depth(scene: Scene) -> Scene:
    return replace(scene, views=tuple(replace(view, open_depth=None) for view in scene.views))


def other_pose(scene: Scene) -> Scene:
    pose = np.array(scene.views[0].world_from_camera)
    pose[0, 3] += 1e-9
    return replace(scene, views=(replace(scene.views[0], world_from_camera=pose), scene.views[1]))


def other_box(scene: Scene) -> Scene:
    assert scene.boxes is not None
    return replace(scene, boxes=(replace(scene.boxes[0], label="stool"), *scene.boxes[1:]))


def no_boxes(scene: Scene) -> Scene:
    return replace(scene, boxes=None)


def other_order(scene: Scene) -> Scene:
    return replace(scene, views=scene.views[::-1])


def other_name(scene: Scene) -> Scene:
    return replace(scene, name="another")


@pytest.mark.parametrize(
    "change",
    [other_pixel, other_depth, no_depth, other_pose, other_box, no_boxes, other_order, other_name],
    ids=lambda change: change.__name__,
)
def test_scene_hash_covers_everything_a_teacher_receives(change: Callable[[Scene], Scene]) -> None:
    scene = small_scene()
    assert scene_hash(change(scene)) != scene_hash(scene)


def test_scene_hash_ignores_metadata() -> None:
    scene = small_scene()
    assert scene_hash(replace(scene, metadata={"source": "elsewhere"})) == scene_hash(scene)


def test_record_id_covers_questions_and_settings_but_not_software() -> None:
    questions = questions_for(small_scene())
    known = record_id("0", questions, PROVENANCE)
    assert record_id("0", questions[:2], PROVENANCE) != known
    assert record_id("0", (replace(questions[0], text="what?"), *questions[1:]), PROVENANCE) != known
    assert record_id("0", questions, {**PROVENANCE, "geometry": [{"teacher": "scene"}]}) != known
    newer = {"teacher": {**PROVENANCE["teacher"], "software": {"torch": "2"}}, "geometry": []}  # type: ignore[dict-item]
    assert record_id("0", questions, newer) == known
