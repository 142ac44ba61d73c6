"""Linear layers by the fastest correct path.

torch uses MKL for float32 products, which leaves AVX-512 idle on processors that are not Intel's: on an AMD EPYC with
AVX-512, oneDNN, which torch includes too, takes less than half as long.
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Rows from which oneDNN is faster in spite of its preparation.
MIN_ROWS = 64
#: oneDNN's product as torch's compiler calls it; None where this torch has none. It has no public name.
_onednn = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
_IS_X86 = platform.machine().lower() in ("x86_64", "amd64")  # elsewhere torch chooses oneDNN by itself


class Linear(nn.Linear):
    """``nn.Linear`` computed by :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer to ``input`` (..., in) -> (..., out)."""
        return linear(input, self.weight, self.bias)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute ``torch.nn.functional.linear`` but for rounding; (..., in), (out, in), (out,) -> (..., out).

    By oneDNN for many rows in float32 on a CPU without gradient; by torch otherwise.
    """
    if (
        _onednn is not None
        and _IS_X86
        and type(input) is Tensor  # not a fake tensor, as memory estimates use
        and input.device.type == "cpu"
        and input.dtype == weight.dtype == torch.float32
        and input.numel() >= MIN_ROWS * input.shape[-1] > 0
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    ):
        product: Tensor = _onednn(input, weight, bias, "none", [], "")
        return product
    return functional.linear(input, weight, bias)
