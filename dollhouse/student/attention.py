"""Scaled dot-product attention by the fastest correct path.

Knows nothing of masks, positions or caches: every token attends to every token.

Axes: B batch, H heads, N queries, M keys, D head width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: Attention weights (B x H x N x M) up to which the definition beats torch's fused kernel in bfloat16 on a CPU: there
#: that kernel's backward pass is two to six times slower on the short sequences of small encoders.
MOST_PLAIN_WEIGHTS = 2**24


def plain_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D)) v by its definition; (B, H, N, D), (B, H, M, D), (B, H, M, D) -> (B, H, N, D)."""
    weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    return weights.softmax(-1) @ value


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What :func:`plain_attention` computes, by torch's fused kernel or by the definition, whichever is faster."""
    if query.device.type == "cpu" and value.dtype == torch.bfloat16:
        batch, heads, queries, _ = query.shape
        if batch * heads * queries * key.shape[-2] <= MOST_PLAIN_WEIGHTS:
            return plain_attention(query, key, value)
    return functional.scaled_dot_product_attention(query, key, value)
