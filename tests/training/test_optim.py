"""Muon: torch's own in bfloat16, and the same update with less rounding in float32."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn

from dollhouse.training.loss_weighting import UncertaintyWeighting
from dollhouse.training.optim import SIGMA_LEARNING_RATE, Muon, MuonWithAdamW, orthogonalize

SHAPES = ((32, 48), (96, 32), (40, 40))


def steps(kind: str, dtype: torch.dtype) -> list[torch.Tensor]:
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    settings = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.95}
    optimizer = torch.optim.Muon(parameters, **settings) if kind == "torch" else Muon(parameters, dtype, **settings)
    for _ in range(3):
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def test_bfloat16_is_torchs_own() -> None:
    for own, expected in zip(steps("own", torch.bfloat16), steps("torch", torch.bfloat16), strict=True):
        assert torch.equal(own, expected)


def test_float32_differs_by_rounding_only() -> None:
    for own, expected in zip(steps("own", torch.float32), steps("torch", torch.bfloat16), strict=True):
        torch.testing.assert_close(own, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_updates_are_nearly_orthogonal(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    update = orthogonalize(torch.randn(shape), 3.4445, -4.775, 2.0315)
    values = torch.linalg.svdvals(update)
    assert 0.6 < values.min() < values.max() < 1.3


def test_sigmas_have_a_learning_rate_of_their_own_and_no_decay() -> None:
    module = nn.ModuleDict({"weighting": UncertaintyWeighting(["text"]), "linear": nn.Linear(4, 4)})
    optimizer = MuonWithAdamW(module, learning_rate=1e-4, muon_learning_rate=0.0, weight_decay=0.1)
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    sigma = groups[id(module["weighting"].log_sigma["text"])]
    assert (sigma["lr"], sigma["weight_decay"]) == (SIGMA_LEARNING_RATE, 0.0)
    assert groups[id(module["linear"].weight)]["lr"] == 1e-4


def test_a_loaded_optimizer_is_saved_as_one_that_never_stopped() -> None:
    """Byte by byte, also where a matrix gets its first gradient afterwards."""

    def saved(optimizer: MuonWithAdamW) -> bytes:
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        return file.getvalue()

    def fresh() -> tuple[nn.ModuleList, MuonWithAdamW]:
        torch.manual_seed(0)
        model = nn.ModuleList([nn.Linear(32, 32), nn.Linear(32, 32)])
        return model, MuonWithAdamW(model, 0.01, 0.01, 0.0)

    def step(model: nn.ModuleList, optimizer: MuonWithAdamW, layers: int) -> None:
        optimizer.zero_grad()
        sum(layer(torch.ones(1, 32)).square().sum() for layer in model[:layers]).backward()
        optimizer.step()

    (model, whole), (other, resumed) = fresh(), fresh()
    step(model, whole, 1)
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(torch.load(io.BytesIO(saved(whole)), weights_only=True))
    step(model, whole, 2)
    step(other, resumed, 2)
    assert saved(resumed) == saved(whole)
