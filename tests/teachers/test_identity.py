"""A record is the same record if, and only if, what went into it is the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import ModelError
from dollhouse.records.content_hash import record_id, scene_hash
from dollhouse.system.hashing import folder_hash
from dollhouse.scenes.scene import Scene
from tests.teachers.small_scenes import asked_of, small_scene

PROVENANCE = {"teacher": {"teacher": "made", "settings": {"top_k": 5}, "software": {"torch": "1"}}, "geometry": []}
GOLDEN = "b23b6452341b98c1b2a16744bbfe7242"


def test_a_known_record_keeps_its_id() -> None:
    scene = small_scene()
    assert record_id(scene_hash(scene), asked_of(scene), PROVENANCE) == GOLDEN


def test_the_id_is_the_same_in_another_process() -> None:
    code = (
        "from tests.teachers.test_identity import *\n"
        "scene = small_scene()\nprint(record_id(scene_hash(scene), asked_of(scene), PROVENANCE))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert told.stdout.strip() == GOLDEN


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
def test_whatever_a_teacher_can_see_counts(change: Callable[[Scene], Scene]) -> None:
    scene = small_scene()
    assert scene_hash(change(scene)) != scene_hash(scene)


def test_metadata_does_not_count() -> None:
    scene = small_scene()
    assert scene_hash(replace(scene, metadata={"source": "elsewhere"})) == scene_hash(scene)


def test_questions_and_settings_count_and_software_does_not() -> None:
    asked = asked_of(small_scene())
    known = record_id("0", asked, PROVENANCE)
    assert record_id("0", asked[:2], PROVENANCE) != known
    assert record_id("0", (replace(asked[0], text="what?"), *asked[1:]), PROVENANCE) != known
    assert record_id("0", asked, {**PROVENANCE, "geometry": [{"teacher": "scene"}]}) != known
    newer = {"teacher": {**PROVENANCE["teacher"], "software": {"torch": "2"}}, "geometry": []}  # type: ignore[dict-item]
    assert record_id("0", asked, newer) == known


def test_a_folder_is_told_by_its_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model is there"):
        folder_hash(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"1")
    first = folder_hash(tmp_path)
    (tmp_path / "README.md").write_text("not of the model")
    assert folder_hash(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert folder_hash(tmp_path) != first
