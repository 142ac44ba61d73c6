"""Box geometry against hand-computed cases and against brute force over sampled points."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from dollhouse.geometry import inside_box
from dollhouse.scenes.box_relations import FLOOR, UNSUPPORTED, BoxRelations
from dollhouse.scenes.scene import Box


def box(id: int, center: tuple, size: tuple, yaw: float = 0.0, label: str = "thing") -> Box:
    return Box(id, label, np.array(center, dtype=float), np.array(size, dtype=float), yaw)


def standing(id: int, x: float, y: float, size: tuple, bottom: float = 0.0, yaw: float = 0.0) -> Box:
    return box(id, (x, y, bottom + 0.5 * size[2]), size, yaw)


def surface_points(box: Box, count: int = 15) -> np.ndarray:
    """Points (n, 3) on a grid through the whole of a box, its faces and corners included."""
    steps = np.linspace(-0.5, 0.5, count)
    own = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3) * box.size
    own = own[(np.abs(np.abs(own) - 0.5 * np.asarray(box.size)) < 1e-9).any(-1)]
    cos, sin = np.cos(box.yaw), np.sin(box.yaw)
    return own @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]).T + box.center


def random_boxes(count: int, seed: int) -> list[Box]:
    rng = np.random.default_rng(seed)
    return [
        box(i + 1, rng.uniform(-1.5, 1.5, 3), rng.uniform(0.3, 1.2, 3), rng.uniform(-np.pi, np.pi))
        for i in range(count)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_gaps_agree_with_sampled_points(seed: int) -> None:
    boxes = random_boxes(5, seed)
    gaps, depths = BoxRelations.from_boxes(boxes).separations
    for i, first in enumerate(boxes):
        for j, second in enumerate(boxes):
            if i == j:
                continue
            a, b = surface_points(first), surface_points(second)
            meet = inside_box(a, second.center, second.size, second.yaw).any()
            meet |= inside_box(b, first.center, first.size, first.yaw).any()
            if meet:
                assert gaps[i, j] == 0
                assert depths[i, j] > 0
            else:
                sampled = cKDTree(a).query(b)[0].min()
                step = max(first.size.max(), second.size.max()) / 14
                assert gaps[i, j] <= sampled + 1e-9
                assert gaps[i, j] > sampled - 1.5 * step


def test_gap_of_turned_boxes_is_exact() -> None:
    # A square turned by 45 degrees points a corner at the other: its half diagonal is 0.5 * sqrt(2).
    boxes = [standing(1, 0, 0, (1, 1, 1)), standing(2, 2, 0, (1, 1, 1), yaw=np.pi / 4)]
    gaps, depths = BoxRelations.from_boxes(boxes).separations
    assert gaps[0, 1] == pytest.approx(2 - 0.5 - 0.5 * np.sqrt(2))
    assert gaps[1, 0] == pytest.approx(gaps[0, 1])
    assert depths[0, 1] == 0


def test_gap_is_diagonal_when_boxes_are_apart_in_height_too() -> None:
    boxes = [standing(1, 0, 0, (1, 1, 1)), standing(2, 4, 0, (1, 1, 1), bottom=5)]
    assert BoxRelations.from_boxes(boxes).separations[0][0, 1] == pytest.approx(5.0)  # 3 across, 4 up


def test_crossing_boxes_without_a_corner_inside_meet() -> None:
    boxes = [standing(1, 0, 0, (4, 0.2, 1)), standing(2, 0, 0, (0.2, 4, 1))]
    gaps, depths = BoxRelations.from_boxes(boxes).separations
    assert gaps[0, 1] == 0
    assert depths[0, 1] == pytest.approx(1.0)  # lifting by its height parts them soonest


def test_supports_of_a_furnished_corner() -> None:
    boxes = [
        standing(1, 0, 0, (1, 1, 0.7)),  # table
        standing(2, 0.2, 0.1, (0.2, 0.2, 0.4), bottom=0.7),  # on it
        standing(3, 0.1, 0, (0.3, 0.3, 0.3)),  # under it, on the floor
        standing(4, 3, 0, (2, 1.5, 0.9)),  # bed with a head board
        standing(5, 3, 0, (0.4, 0.4, 0.2), bottom=0.5),  # pillow on the mattress
        standing(6, 6, 0, (0.1, 1, 0.6), bottom=1.2),  # picture on the wall
        standing(7, 0.2, 0.1, (0.1, 0.1, 0.1), bottom=1.1),  # on what is on the table
    ]
    assert BoxRelations.from_boxes(boxes).supports == [FLOOR, 0, FLOOR, FLOOR, 3, UNSUPPORTED, 1]


def test_a_lowered_floor_is_given_or_found() -> None:
    low = [standing(1, 0, 0, (1, 1, 1), bottom=-2.0), standing(2, 3, 0, (1, 1, 1))]
    assert BoxRelations.from_boxes(low).supports == [FLOOR, UNSUPPORTED]
    assert BoxRelations.from_boxes(low, floor=0.0).supports == [UNSUPPORTED, FLOOR]


def test_front_angles_are_measured_in_plan() -> None:
    layout = BoxRelations.from_boxes([box(1, (0, 0, 0), (1, 1, 1), yaw=np.pi / 2)])
    targets = np.array([[0, 3, 9.0], [3, 0, 0], [0, -3, 0], [-3, 3, 0]])
    assert layout.front_angles(targets)[0] == pytest.approx([0, np.pi / 2, np.pi, np.pi / 4])


def test_sizes_compared() -> None:
    layout = BoxRelations.from_boxes([box(1, (0, 0, 0), (1, 2, 3)), box(2, (0, 0, 0), (4, 1, 0.5))])
    assert layout.volumes.tolist() == [6, 2]
    assert layout.longest_sides.tolist() == [2, 4]


def test_no_boxes() -> None:
    layout = BoxRelations.from_boxes([])
    assert layout.supports == []
    assert layout.separations[0].shape == (0, 0)
