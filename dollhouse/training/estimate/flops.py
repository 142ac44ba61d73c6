"""Counts floating-point operations, with the attention operations that torch's own counter lacks."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

import dollhouse.models.attention  # noqa: F401  (registers dollhouse::chunked_attention)


def flop_counter() -> FlopCounterMode:
    """Return a context that counts operations; a multiplication and an addition are two."""
    return FlopCounterMode(display=False, custom_mapping=_ATTENTION)


def _forward(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _backward(gradient: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


_aten = torch.ops.aten
#: torch's counter has the fused attention of GPUs only
_ATTENTION: dict[Any, Any] = {
    torch.ops.dollhouse.chunked_attention: _forward,
    _aten._scaled_dot_product_flash_attention_for_cpu: _forward,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward,
}
