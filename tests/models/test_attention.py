"""Attention by every path equals its definition."""

import pytest
import torch

from dollhouse.models.attention import attention, chunked_attention, plain_attention
from dollhouse.training.speed import flop_counter


@pytest.mark.parametrize("length", [5, 86, 700])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_equals_its_definition(length: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 3, length, 32, dtype=torch.float64)
    expected = plain_attention(query, key, value)
    fused = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(fused, expected, atol=1e-12, rtol=0)
    found = attention(query.to(dtype), key.to(dtype), value.to(dtype))
    torch.testing.assert_close(found.double(), expected, atol=1e-5 if dtype == torch.float32 else 2e-2, rtol=0)


@pytest.mark.parametrize("weights", [1, 300, 10_000])
def test_chunked_attention_equals_plain_attention(weights: int) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 3, 70, 32, dtype=torch.float64)
    found = chunked_attention(query, key[:, :, :50], value[:, :, :50], weights)
    torch.testing.assert_close(found, plain_attention(query, key[:, :, :50], value[:, :, :50]), atol=1e-12, rtol=0)


def test_long_bfloat16_attention_with_and_without_gradient() -> None:
    """Above the limit of the plain path, the fused kernel is used with gradients and chunks without."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 4, 2100, 16, dtype=torch.float64)
    expected = plain_attention(query, key, value)
    rounded = [tensor.bfloat16() for tensor in (query, key, value)]
    torch.testing.assert_close(attention(*rounded).double(), expected, atol=2e-2, rtol=0)
    rounded[0].requires_grad_()
    found = attention(*rounded)
    torch.testing.assert_close(found.detach().double(), expected, atol=2e-2, rtol=0)
    found.sum().backward()
    assert rounded[0].grad is not None


def test_long_attention_of_two_dtypes_while_operations_are_counted() -> None:
    """As in the first step of a run with a frozen encoder: rotary embeddings leave queries and keys in float32."""
    query, value = torch.randn(1, 4, 2100, 16), torch.randn(1, 4, 2100, 16).bfloat16()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = attention(query, query, value)
        with flop_counter():
            found = attention(query, query, value)
    torch.testing.assert_close(found, expected)
