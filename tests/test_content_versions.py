"""Caches are keyed by version constants: what a constant stands for is pinned here, so that none is forgotten.

Where a digest below changes, raise the constant beside the code that changed, then write the new digest here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dollhouse.data import target_source as lessons
from dollhouse.data.config import DataConfig
from dollhouse.data.target_source import questions_key, targets_key
from dollhouse.data.targets import TARGETS_VERSION, scene_targets
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.questions.generate import QUESTIONS_VERSION, generate_questions
from dollhouse.scenes.synthetic.furniture import CATEGORIES, COLOURS
from dollhouse.scenes.synthetic.homes.catalogue import assets_hash
from dollhouse.scenes.synthetic.homes.home_scene import HOMES_VERSION, home_scene
from dollhouse.scenes.synthetic.room_scene import ROOMS_VERSION, room_scene
from dollhouse.scenes.view_preprocessing import PREPROCESSING_VERSION


def digest(content: Any) -> str:
    return sha256(json.dumps(content).encode()).hexdigest()[:16]


def rounded(array: Any, decimals: int = 2) -> list[Any]:
    listed: list[Any] = (np.round(np.asarray(array, dtype=float), decimals) + 0.0).tolist()
    return listed


def rooms() -> list[Any]:
    scenes = [room_scene("train", number) for number in range(4)]
    boxes = [
        [(box.label, box.colour, rounded(box.center), rounded(box.size)) for box in scene.boxes or ()]
        for scene in scenes
    ]
    poses = [[rounded(view.world_from_camera) for view in scene.views] for scene in scenes]
    pictures = [
        rounded([np.median(view.image, axis=(0, 1)) // 16, [np.median(view.depth) / 0.2 // 1] * 3])
        for view in scenes[0].views
    ]
    return [boxes, poses, pictures]


def questions() -> list[Any]:
    return [
        [(question.text, question.answer) for question in generate_questions(room_scene("train", number))]
        for number in range(3)
    ]


def targets() -> list[Any]:
    made = scene_targets(room_scene("train", 0), 84, CATEGORIES, tuple(COLOURS))
    assert made.objects is not None
    return [
        list(made.images.shape),
        rounded(made.objects.center),
        made.objects.label.tolist(),
        (made.objects.patch_object >= 0).sum(-1).tolist(),
    ]


@pytest.mark.parametrize(
    ("versions", "content", "expected"),
    [
        ((ROOMS_VERSION,), rooms, [1, "d139bfd5430e341a"]),
        ((ROOMS_VERSION, QUESTIONS_VERSION), questions, [1, 1, "65a0cbe2b8cf49a1"]),
        ((ROOMS_VERSION, PREPROCESSING_VERSION, TARGETS_VERSION), targets, [1, 2, 1, "dbe5789ee463756a"]),
    ],
)
def test_content_is_that_of_its_version(
    versions: tuple[int, ...], content: Callable[[], Any], expected: list[Any]
) -> None:
    assert [*versions, digest(content())] == expected


@pytest.mark.skipif(assets_hash() != "816c2238b10a", reason="needs Debian's sweethome3d-furniture 1.8")
def test_homes_are_those_of_their_version() -> None:
    scenes = [home_scene("train", number, views=2) for number in range(3)]
    boxes = [[(b.label, b.colour, rounded(b.center), rounded(b.size)) for b in scene.boxes or ()] for scene in scenes]
    poses = [[rounded(view.world_from_camera) for view in scene.views] for scene in scenes]
    middle = float(np.median(scenes[0].views[0].depth) / 0.2 // 1)
    assert (HOMES_VERSION, digest([boxes, poses, middle])) == (3, "c18ca128b3519275")


@pytest.mark.parametrize(("constant", "key"), [("TARGETS_VERSIONS", "targets"), ("QUESTIONS_VERSIONS", "questions")])
def test_another_version_is_another_cache(constant: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, config = DataConfig(scenes="rooms:train/0-9"), DollhouseConfig()

    def keys() -> dict[str, str]:
        return {"targets": targets_key(data, config), "questions": questions_key()}

    before = keys()
    monkeypatch.setattr(lessons, constant, (*getattr(lessons, constant)[:-1], 99))
    after = keys()
    assert {name for name in before if before[name] != after[name]} == {key}


def test_records_and_their_reader_are_part_of_the_key() -> None:
    data, config = DataConfig(scenes="rooms:train/0-9"), DollhouseConfig()
    keys = {
        targets_key(data, config),
        targets_key(data, config, ["a"], 1),
        targets_key(data, config, ["a"], 2),
        targets_key(data, config, ["b"], 1),
    }
    assert len(keys) == 4


def test_the_label_table_is_part_of_the_keys_of_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DollhouseConfig()

    def keys() -> list[str]:
        scenes = ("rooms:train/0-9", str(tmp_path))
        return [questions_key(), *(targets_key(DataConfig(scenes=name), config) for name in scenes)]

    before, table = keys(), tmp_path / "labels.txt"
    table.write_text("chair = seat")
    monkeypatch.setattr(lessons, "TABLE", table)
    assert [old == new for old, new in zip(before, keys(), strict=True)] == [False, True, False]
