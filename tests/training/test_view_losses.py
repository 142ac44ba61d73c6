"""Consistency losses on two views of a wall, against references; gradients against finite differences."""

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
from tests.training.test_losses import randn_with_grad


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(0)


def wall_points() -> SharedPoints:
    """Return shared points of two views of a wall, 0.4 metres apart."""
    poses = torch.eye(4, dtype=torch.float64).repeat(1, 2, 1, 1)
    poses[0, 1, 0, 3] = 0.4
    depth = torch.full((1, 2, 6, 6), 2.0, dtype=torch.float64)
    return shared_points(depth, poses, torch.ones(1, 2, dtype=torch.float64), 2)


def test_shared_points_of_a_wall() -> None:
    """0.4 metres at two metres and focal length 1 are a fifth of the image."""
    shared = wall_points()
    assert len(shared) == 9 + 6
    assert {(int(a), int(b)) for a, b in zip(shared.view, shared.other, strict=True)} == {(0, 1), (1, 0)}
    shift = (shared.other_uv - shared.uv)[shared.view == 0]
    torch.testing.assert_close(shift, torch.tensor([[-0.2, 0.0]], dtype=torch.float64).expand(9, 2))


def test_view_consistency_matches_a_reference() -> None:
    shared, patches = wall_points(), torch.randn(1, 2, 9, 5, dtype=torch.float64)

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


def test_label_consistency_compares_distributions() -> None:
    shared = wall_points()
    logits = torch.zeros(1, 2, 9, 3)
    logits[0, 0, :, 0], logits[0, 1, :, 1] = 50.0, 50.0
    assert float(label_consistency(logits, (3, 3), shared)) == pytest.approx(2.0)
    logits[0, 1] = logits[0, 0]
    assert float(label_consistency(logits, (3, 3), shared)) == pytest.approx(0.0)


def cameras_at(position: Tensor) -> Cameras:
    up, heading = torch.zeros_like(position), torch.zeros_like(position[..., :2])
    up[..., 1], heading[..., 0] = -1.0, 1.0
    return Cameras(up, heading, position, torch.ones_like(position[..., 0]))


def test_point_consistency_is_a_relative_squared_distance() -> None:
    """True depth and cameras agree; a camera 0.3 m off gives 0.09 over the distances; wrong depth gives a loss too."""
    shared = wall_points()
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
    first_to_second = [getattr(shared, name)[shared.view == 0] for name in vars(shared)]
    expected = (0.5**2 * slant / (2.5 * far[0][shared.view == 0])).mean()
    got = point_consistency(deeper, cameras_at(true), SharedPoints(*first_to_second))
    torch.testing.assert_close(got, expected)


def test_gradients_of_consistency_losses() -> None:
    shared = wall_points()
    position = torch.tensor([[[0.0, 0, 0], [0.4, 0.1, -0.1]]], dtype=torch.float64, requires_grad=True)
    log_depth = (0.1 * torch.randn(1, 2, 6, 6, dtype=torch.float64) + 0.7).requires_grad_()
    assert gradcheck(lambda d, p: point_consistency(d, cameras_at(p), shared), (log_depth, position))
    single = {"eps": 1e-3, "atol": 1e-3}  # it computes in float32
    assert gradcheck(lambda x: view_consistency(x, (3, 3), shared), randn_with_grad(1, 2, 9, 4), **single)
    assert gradcheck(lambda x: label_consistency(x, (3, 3), shared), randn_with_grad(1, 2, 9, 4), **single)
