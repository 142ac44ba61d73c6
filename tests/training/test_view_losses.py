"""What views say of one another, beside plain slow references on a wall seen twice; gradients beside differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from dollhouse.data.correspondence import SharedPoints, shared_points
from dollhouse.models.dollhouse.heads import Cameras
from dollhouse.training.losses.multiview import label_consistency, point_consistency
from dollhouse.training.losses.spatial import view_consistency
from tests.training.test_losses import free


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def some_points() -> SharedPoints:
    """Two views of a wall, shifted sideways by 0.4 metres."""
    poses = torch.eye(4, dtype=torch.float64).repeat(1, 2, 1, 1)
    poses[0, 1, 0, 3] = 0.4
    depth = torch.full((1, 2, 6, 6), 2.0, dtype=torch.float64)
    return shared_points(depth, poses, torch.ones(1, 2, dtype=torch.float64), 2)


def test_shared_points_of_the_wall() -> None:
    """0.4 metres at two metres and focal length 1 are a fifth of the picture."""
    shared = some_points()
    assert len(shared) == 9 + 6
    assert {(int(a), int(b)) for a, b in zip(shared.view, shared.other, strict=True)} == {(0, 1), (1, 0)}
    shift = (shared.other_uv - shared.uv)[shared.view == 0]
    torch.testing.assert_close(shift, torch.tensor([[-0.2, 0.0]], dtype=torch.float64).expand(9, 2))


def test_view_consistency_against_points_by_hand() -> None:
    shared, patches = some_points(), torch.randn(1, 2, 9, 5, dtype=torch.float64)

    def value(view: int, place: Tensor) -> Tensor:
        x, y = (place * 3 - 0.5).clamp(0, 2).tolist()
        total = torch.zeros(5, dtype=torch.float64)
        for row in range(3):
            for column in range(3):
                weight = max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
                total += weight * patches[0, view, row * 3 + column]
        return total / total.norm()

    expected = [
        float((value(int(shared.view[c]), shared.uv[c]) - value(int(shared.other[c]), shared.other_uv[c])).norm()) ** 2
        for c in range(len(shared))
    ]
    got = view_consistency(patches, (3, 3), shared)
    assert float(got) == pytest.approx(sum(expected) / len(shared), rel=1e-5)
    assert float(view_consistency(torch.ones(1, 2, 9, 5), (3, 3), shared)) == pytest.approx(0)


def test_label_consistency_is_between_distributions() -> None:
    shared = some_points()
    logits = torch.zeros(1, 2, 9, 3)
    logits[0, 0, :, 0], logits[0, 1, :, 1] = 50.0, 50.0
    assert float(label_consistency(logits, (3, 3), shared)) == pytest.approx(2.0)
    logits[0, 1] = logits[0, 0]
    assert float(label_consistency(logits, (3, 3), shared)) == pytest.approx(0.0)


def cameras_at(position: Tensor) -> Cameras:
    up, heading = torch.zeros_like(position), torch.zeros_like(position[..., :2])
    up[..., 1], heading[..., 0] = -1.0, 1.0
    return Cameras(up, heading, position, torch.ones_like(position[..., 0]))


def test_point_consistency_is_the_squared_distance_of_lifted_points() -> None:
    """True depth and cameras agree; a camera 0.3 m off disagrees by 0.09 over the distances; depth is pulled too."""
    shared = some_points()
    log_depth = torch.full((1, 2, 6, 6), math.log(2.0), dtype=torch.float64)
    true = torch.tensor([[[0.0, 0, 0], [0.4, 0, 0]]], dtype=torch.float64)
    assert float(point_consistency(log_depth, cameras_at(true), shared)) == pytest.approx(0, abs=1e-12)
    off = true + torch.tensor([[[0.0, 0, 0], [0, 0, 0.3]]])
    far = [2.0 * (1 + (place - 0.5).square().sum(-1)).sqrt() for place in (shared.uv, shared.other_uv)]
    expected = (0.09 / (far[0] * far[1])).mean()
    torch.testing.assert_close(point_consistency(log_depth, cameras_at(off), shared), expected)
    deeper = log_depth.clone()
    deeper[0, 1] = math.log(2.5)
    c = shared.other_uv[shared.view == 0] - 0.5
    slant = (1 + c.square().sum(-1)).sqrt()
    one_way = [getattr(shared, name)[shared.view == 0] for name in vars(shared)]
    expected = (0.5**2 * slant / (2.5 * far[0][shared.view == 0])).mean()
    got = point_consistency(deeper, cameras_at(true), SharedPoints(*one_way))
    torch.testing.assert_close(got, expected)


def test_gradients_of_what_views_say() -> None:
    shared = some_points()
    position = torch.tensor([[[0.0, 0, 0], [0.4, 0.1, -0.1]]], dtype=torch.float64, requires_grad=True)
    log_depth = (0.1 * torch.randn(1, 2, 6, 6, dtype=torch.float64) + 0.7).requires_grad_()
    assert gradcheck(lambda d, p: point_consistency(d, cameras_at(p), shared), (log_depth, position))
    single = {"eps": 1e-3, "atol": 1e-3}  # inside it is float32
    assert gradcheck(lambda x: view_consistency(x, (3, 3), shared), free(1, 2, 9, 4), **single)
    assert gradcheck(lambda x: label_consistency(x, (3, 3), shared), free(1, 2, 9, 4), **single)
