"""Linear layers by the fastest correct path.

Knows nothing of what is multiplied. torch hands float32 products to MKL, which leaves the wider half of a processor
that is not Intel's idle: on an AMD EPYC with AVX-512, oneDNN, which torch carries too, takes less than half as long.
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Rows from which oneDNN's own preparations are worth it.
MIN_ROWS = 64
#: oneDNN's product as torch's compiler calls it; None where this torch has none. It has no public name.
_onednn = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
_RIGHT_PROCESSOR = platform.machine().lower() in ("x86_64", "amd64")  # elsewhere torch takes oneDNN by itself


class Linear(nn.Linear):
    """``nn.Linear`` that computes its product by :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """``input`` (..., in) -> (..., out)."""
        return linear(input, self.weight, self.bias)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What ``torch.nn.functional.linear`` computes, but for rounding; (..., in), (out, in), (out,) -> (..., out).

    By oneDNN where nothing is learnt and many rows are multiplied in float32 on a processor; by torch otherwise.
    """
    if (
        _onednn is not None
        and _RIGHT_PROCESSOR
        and type(input) is Tensor  # and not a stand-in without memory, as plans are made with
        and input.device.type == "cpu"
        and input.dtype == weight.dtype == torch.float32
        and input.numel() >= MIN_ROWS * input.shape[-1] > 0
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    ):
        product: Tensor = _onednn(input, weight, bias, "none", [], "")
        return product
    return functional.linear(input, weight, bias)
