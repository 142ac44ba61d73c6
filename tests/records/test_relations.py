"""Relation probabilities against counts of random points, and under a camera that turns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dollhouse.geometry import Array, look_at
from dollhouse.records.object_relations import MAX_BOXES, ordering_probabilities, pairwise_relations
from dollhouse.scenes.scene import Box, Scene
from tests.records.small_scenes import small_scene


def random_points(box: Box, rng: np.random.Generator, count: int = 4000) -> Array:
    own = (rng.random((count, 3)) - 0.5) * box.size
    cos, sin = np.cos(box.yaw), np.sin(box.yaw)
    return own @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) + box.center


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_probabilities_are_near_a_count_of_random_points(axis: int) -> None:
    boxes = small_scene(3).boxes
    assert boxes is not None
    rng = np.random.default_rng(0)
    moved = [replace(box, center=np.array([place, -place, 0.2 * place])) for place, box in enumerate(boxes)]
    points = [random_points(box, rng)[:, axis] for box in moved]
    counted = np.array([[np.mean(second > first) for second in points] for first in points])
    pairs = ~np.eye(len(boxes), dtype=bool)
    np.testing.assert_allclose(ordering_probabilities(moved, axis)[pairs], counted[pairs], atol=0.04)


def box_at(id: int, x: float, y: float, z: float) -> Box:
    return Box(id, "box", np.array([x, y, z]), np.full(3, 0.2), 0.0)


def test_right_is_in_the_frame_of_the_first_camera() -> None:
    boxes = [box_at(7, -1, 0, 0), box_at(3, 1, 0, 1)]
    scene = small_scene()
    for eye, expected in ((np.array([0, -4.0, 1]), 1.0), (np.array([0, 4.0, 1]), 0.0)):
        pose = look_at(eye, np.array([0, 0, 1.0]))
        first = replace(scene.views[0], world_from_camera=pose)
        (relation,) = pairwise_relations(boxes, Scene("made", (first, scene.views[1])))
        assert (relation.first, relation.second) == (7, 3)
        assert relation.right == pytest.approx(expected, abs=1e-6)
        assert relation.above == pytest.approx(1.0, abs=1e-6)


def test_without_poses_boxes_are_in_the_first_views_frame() -> None:
    boxes = [box_at(1, 0, 0, 0), box_at(2, 0.1, 5, 0)]
    (relation,) = pairwise_relations(boxes, small_scene(posed=False))
    assert 0.8 < relation.right < 1
    assert relation.above == pytest.approx(0.5)


def test_boxes_with_the_highest_scores_are_related() -> None:
    boxes = [replace(box_at(id, id, 0, 0), score=id / 100) for id in range(1, MAX_BOXES + 7)]
    relations = pairwise_relations(boxes, small_scene())
    assert len(relations) == MAX_BOXES * (MAX_BOXES - 1) // 2
    assert min(relation.second for relation in relations) == 7
