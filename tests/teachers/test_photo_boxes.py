"""Boxes of photos prepared for training: main colours, and uncertain boxes as neither there nor absent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")

from dollhouse.data.targets import scene_targets
from dollhouse.scenes.labels import default_labels
from examples.photo_boxes import certain, coloured
from tests.teachers.test_scene_boxes import SCENE


def test_boxes_get_the_colour_of_their_pixels() -> None:
    red = np.array([165, 38, 30], dtype=np.uint8)
    view = SCENE.views[0]
    photo = np.broadcast_to(red, view.image.shape)
    scene = replace(SCENE, views=(replace(view, open_image=lambda: photo),))
    visible = [box for box in coloured(scene).boxes or () if box.colour is not None]
    assert visible
    assert {box.colour for box in visible} == {"red"}


def test_uncertain_boxes_are_ignored_in_training() -> None:
    boxes = SCENE.boxes or ()
    scored = tuple(replace(box, score=0.9 if number else 0.1) for number, box in enumerate(boxes))
    named = certain(scored, 0.4)
    assert [box.label for box in named[1:]] == [box.label for box in boxes[1:]]
    labels = default_labels()
    whole = scene_targets(replace(SCENE, boxes=scored), 126, labels, ()).objects
    ignoring = scene_targets(replace(SCENE, boxes=named), 126, labels, ()).objects
    assert whole is not None
    assert ignoring is not None
    assert len(ignoring.label) == len(whole.label) - 1
    assert len(ignoring.ignored_boxes) == len(whole.ignored_boxes) + 1
