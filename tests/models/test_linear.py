"""The quick product is torch's product, and is taken only where nothing else is wanted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dollhouse.models import onednn_linear as products
from dollhouse.models.onednn_linear import MIN_ROWS, Linear

CAN = products._onednn is not None and products._IS_X86


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of what the quick product was asked for."""
    if not CAN:
        pytest.skip("this torch has no oneDNN product for this processor")
    calls: list[tuple[int, ...]] = []
    quick = products._onednn

    def counted(input: torch.Tensor, *more: Any) -> torch.Tensor:
        calls.append(tuple(input.shape))
        return quick(input, *more)

    monkeypatch.setattr(products, "_onednn", counted)
    return calls


def layers(width: int, out: int, bias: bool = True) -> tuple[Linear, nn.Linear]:
    torch.manual_seed(0)
    quick, plain = Linear(width, out, bias), nn.Linear(width, out, bias)
    plain.load_state_dict(quick.state_dict())
    return quick, plain


@pytest.mark.parametrize("shape", [(344, 48), (2, 81, 48), (1, 4, 81, 48), (MIN_ROWS, 48), (1, 1000, 7)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_the_same_numbers(shape: tuple[int, ...], bias: bool, taken: list[tuple[int, ...]]) -> None:
    quick, plain = layers(shape[-1], 33, bias)
    rows = torch.randn(shape)
    apart = torch.randn(shape[0], shape[-1], *shape[1:-1]).movedim(1, -1)  # not in one piece
    with torch.inference_mode():
        for given in (rows, apart):
            torch.testing.assert_close(quick(given), plain(given), atol=1e-5, rtol=1e-5)
    assert len(taken) == 2


@pytest.mark.parametrize("why", ["learning", "few rows", "no rows", "bfloat16", "autocast", "float64", "fake", "none"])
def test_otherwise_torch_itself(why: str, taken: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    quick, plain = layers(16, 8)
    rows = torch.randn({"few rows": MIN_ROWS - 1, "no rows": 0}.get(why, 200), 16)
    if why in ("bfloat16", "float64"):
        dtype = getattr(torch, why)
        quick, plain, rows = quick.to(dtype), plain.to(dtype), rows.to(dtype)
    if why == "none":
        monkeypatch.setattr(products, "_onednn", None)
    if why == "fake":
        fake = FakeTensorMode(allow_non_fake_inputs=True)
        with fake, torch.no_grad():
            assert quick(torch.empty(200, 16)).shape == (200, 8)
    elif why == "learning":
        quick(rows).sum().backward()
        plain(rows).sum().backward()
        assert torch.equal(quick.weight.grad, plain.weight.grad)  # type: ignore[arg-type]
    else:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=why == "autocast"):
            result, expected = quick(rows), plain(rows)
        assert result.dtype == expected.dtype
        assert torch.equal(result, expected)
    assert not taken


def test_a_layer_of_any_name() -> None:
    """Files of either kind of layer are read by the other, and it is initialised as the other is."""
    quick, plain = layers(16, 8)
    assert list(quick.state_dict()) == list(plain.state_dict())
    assert isinstance(quick, nn.Linear)
