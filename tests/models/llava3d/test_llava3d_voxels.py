"""Unprojection and voxel pooling beside plain references."""

import numpy as np
import torch

from dollhouse.models.llava3d.voxel_pooling import mean_by_voxel, voxel_numbers, world_points


def test_voxels_are_those_of_a_plain_loop_in_lexicographic_order() -> None:
    generator = torch.Generator().manual_seed(0)
    points = 3 * torch.randn(500, 3, generator=generator)
    points[:100] = (points[:100] / 0.1).round() * 0.1  # many on a boundary
    values = torch.randn(500, 4, generator=generator, dtype=torch.float64)
    # the division itself is part of what decides ties
    cells = [tuple(int(x) for x in np.round(row)) for row in (points / 0.2).numpy()]
    order = {cell: number for number, cell in enumerate(sorted(set(cells)))}

    numbers, count = voxel_numbers(points, 0.2)
    assert count == len(order)
    assert numbers.tolist() == [order[cell] for cell in cells]

    means = mean_by_voxel(values, numbers, count)
    for cell, number in order.items():
        members = [values[row] for row in range(500) if cells[row] == cell]
        torch.testing.assert_close(means[number], torch.stack(members).mean(0))


def test_halves_go_to_the_even_voxel() -> None:
    points = torch.tensor([[0.25, 0, 0], [0.75, 0, 0], [1.25, 0, 0], [-0.25, 0, 0]])
    numbers, count = voxel_numbers(points, 0.5)  # 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, -0.5 -> 0
    assert (numbers.tolist(), count) == ([0, 1, 1, 0], 2)


def test_weighted_mean_leaves_out_what_weighs_nothing() -> None:
    values = torch.tensor([[1.0], [5.0], [7.0]])
    means = mean_by_voxel(values, torch.tensor([0, 0, 1]), 2, torch.tensor([0.0, 1.0, 0.0]))
    assert means.tolist() == [[5.0], [0.0]]


def test_a_mean_in_bfloat16_does_not_lose_the_last_of_many() -> None:
    values = torch.full((2000, 1), 1.0, dtype=torch.bfloat16)
    assert mean_by_voxel(values, torch.zeros(2000, dtype=torch.long), 1).item() == 1.0


def test_unprojection() -> None:
    depths = torch.rand(2, 6, 8, generator=torch.Generator().manual_seed(1)) + 1
    depths[0, 0, 0] = 0
    intrinsics = torch.tensor([[5.0, 0, 3.2, 0], [0, 6.0, 2.1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).expand(2, 4, 4)
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # the camera looks along the world's x axis
    pose[:3, 3] = torch.tensor([1.0, 2, 3])
    points = world_points(depths, intrinsics, pose.expand(2, 4, 4))
    assert points.shape == (2, 6, 8, 3)
    z = depths[1, 4, 5]
    expected = torch.stack([1 + z, 2 - (5 - 3.2) * z / 5, 3 - (4 - 2.1) * z / 6])
    torch.testing.assert_close(points[1, 4, 5], expected)
    assert torch.equal(points[0, 0, 0], pose[:3, 3])  # no depth: the camera's centre
    sparse = world_points(depths, intrinsics, pose.expand(2, 4, 4), stride=2)
    torch.testing.assert_close(sparse, points[:, ::2, ::2])
