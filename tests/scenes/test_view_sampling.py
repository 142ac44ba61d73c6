"""Overlap of views against a plain reference, and what chosen views have in common and do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dollhouse.geometry import back_project, invert_rigid, project, transform_points
from dollhouse.scenes import view_sampling
from dollhouse.scenes.scene import Scene
from dollhouse.scenes.synthetic.room_scene import room_scene
from dollhouse.scenes.view_sampling import (
    FRACTION,
    LEAST_OVERLAP,
    MARGIN,
    MAX_KEY_FRAMES,
    MOST_OVERLAP,
    ViewGraph,
    choose_views,
    key_frames,
    measure_views,
)
from dollhouse.scenes.visibility import compute_visibility


@pytest.fixture(scope="module")
def walk() -> Scene:
    """A walk around a room: neighbours share about half of what they show."""
    return room_scene("train", 0, views=24, image_size=56)


@pytest.fixture(scope="module")
def graph(walk: Scene) -> ViewGraph:
    measured = measure_views(walk)
    assert measured is not None
    return measured


def slow_overlap(scene: Scene, first: int, second: int) -> float:
    """Count, pixel by pixel, the surface of one view that another shows."""
    a, b = scene.views[first], scene.views[second]
    points = transform_points(a.world_from_camera, back_project(a.depth, a.intrinsics)[a.depth > 0])
    shown = 0
    for point in transform_points(invert_rigid(b.world_from_camera), points):
        (x, y), z = project(point, b.intrinsics)
        if z > 0 and 0 <= x < b.depth.shape[1] and 0 <= y < b.depth.shape[0]:
            depth = b.depth[int(y), int(x)]
            shown += bool(depth > 0 and abs(depth - z) <= max(MARGIN, FRACTION * z))
    return shown / len(points)


def test_overlap_is_that_of_a_plain_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = room_scene("train", 2, views=4, image_size=28)
    monkeypatch.setattr(view_sampling, "POINTS", 10**6)
    graph = measure_views(scene)
    expected = [[slow_overlap(scene, first, second) for second in range(4)] for first in range(4)]
    np.testing.assert_allclose(graph.overlap, expected, atol=2 / 28**2)


def test_a_subset_of_points_and_pixels_is_close_to_all(walk: Scene, graph: ViewGraph) -> None:
    expected = [[slow_overlap(walk, first, second) for second in (0, 1, 2, 12)] for first in (0, 5)]
    assert np.abs(graph.overlap[np.ix_([0, 5], [0, 1, 2, 12])] - expected).max() < 0.12


def test_shares_are_close_to_those_of_instance_masks(walk: Scene, graph: ViewGraph) -> None:
    true = compute_visibility(walk).shares
    assert graph.shares.shape == true.shape
    assert np.abs(graph.shares - true).mean() < 0.01
    assert ((graph.shares > 0.0035) == (true > 0.0035)).mean() > 0.9


@pytest.mark.parametrize("draw", [None, 0, 1, 2, 3, 4, 5])
def test_chosen_views_are_connected_but_differ(graph: ViewGraph, draw: int | None) -> None:
    chosen = choose_views(graph, 4, draw=draw)
    assert len(set(chosen)) == 4
    assert chosen == sorted(chosen)
    mutual = 0.5 * (graph.overlap + graph.overlap.T)[np.ix_(chosen, chosen)]
    assert mutual[~np.eye(4, dtype=bool)].max() <= MOST_OVERLAP
    reached, new = {0}, {0}
    while new:
        new = {int(other) for view in new for other in np.flatnonzero(mutual[view] >= LEAST_OVERLAP)} - reached
        reached |= new
    assert reached == {0, 1, 2, 3}
    assert chosen == choose_views(graph, 4, draw=draw)


def test_draws_differ_and_together_show_the_whole_capture(graph: ViewGraph) -> None:
    samples = [tuple(choose_views(graph, 4, draw=draw)) for draw in range(16)]
    assert len(set(samples)) > 12
    assert len({view for sample in samples for view in sample}) > 18


def test_the_best_sample_shows_more_boxes_than_consecutive_frames(graph: ViewGraph) -> None:
    def boxes(views: list[int]) -> int:
        return int((graph.shares[:, views].max(1) >= 0.0035).sum())

    consecutive = np.mean([boxes(list(range(start, start + 4))) for start in range(20)])
    assert boxes(choose_views(graph, 4)) >= consecutive


def test_candidates_are_respected(graph: ViewGraph) -> None:
    candidates = np.arange(0, 24, 3)
    for draw in (None, 0, 1):
        assert set(choose_views(graph, 4, candidates, draw)) <= set(candidates.tolist())
    assert choose_views(graph, 4, np.array([5, 2])) == [2, 5]


def test_views_without_any_overlap_are_still_chosen() -> None:
    graph = ViewGraph(np.arange(6), np.eye(6, dtype=np.float32), np.zeros((0, 6), dtype=np.float32))
    assert len(choose_views(graph, 3)) == 3
    same = ViewGraph(np.arange(6), np.ones((6, 6), dtype=np.float32), np.zeros((0, 6), dtype=np.float32))
    assert len(choose_views(same, 3, draw=1)) == 3


def test_key_frames_are_spread_and_divided_by_a_hold_out() -> None:
    assert key_frames(100) == list(range(100))
    for count in (300, 512, 5000):
        frames = key_frames(count)
        assert frames[0] == 0
        assert frames == sorted(set(frames))
        assert len(frames) <= MAX_KEY_FRAMES
        assert np.diff(frames).max() <= 2.1 * count / MAX_KEY_FRAMES
        held_out = sum((frame + 1) % 4 == 0 for frame in frames)
        assert 0.1 < held_out / len(frames) < 0.4


def test_scenes_without_poses_or_depth_have_no_graph(walk: Scene) -> None:
    assert measure_views(replace(walk, views=tuple(replace(view, open_depth=None) for view in walk.views))) is None
    assert (
        measure_views(replace(walk, views=tuple(replace(view, world_from_camera=None) for view in walk.views))) is None
    )
