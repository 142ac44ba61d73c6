"""Floating-point operations per second that the processor at hand can do at most."""

from __future__ import annotations

import re
import time
from functools import cache

import torch

from dollhouse.models.onednn_linear import linear

#: of GPUs by a pattern of their name: bfloat16 and float32 in 10^12 a second, from NVIDIA's data sheets; bfloat16
#: without sparsity and with sums in float32, float32 without TF32, as torch computes it by default
GPU_TFLOPS = {
    r"H100 PCIe": (756.0, 51.0),
    r"H100 NVL": (835.0, 60.0),
    r"H100|H200|GH200": (989.0, 67.0),
    r"A100": (312.0, 19.5),
    r"L40S": (362.0, 91.6),
    r"L4": (121.0, 30.3),
    r"RTX 4090": (165.2, 82.6),
    r"RTX 3090": (71.0, 35.6),
}


def known_flops(name: str, bfloat16: bool) -> float | None:
    """Return a GPU's peak by its name; None where :data:`GPU_TFLOPS` has none."""
    for pattern, (half, full) in GPU_TFLOPS.items():
        if re.search(rf"\b(?:{pattern})\b", name):
            return 1e12 * (half if bfloat16 else full)
    return None


@cache
def processor_flops(bfloat16: bool) -> float:
    """Return the peak of the GPU, or of the CPU's threads: as stated where it is known, else measured."""
    known = known_flops(torch.cuda.get_device_name(), bfloat16) if torch.cuda.is_available() else None
    return known or matrix_flops(bfloat16)


@torch.no_grad()
def matrix_flops(bfloat16: bool) -> float:
    """Measure operations per second of large matrix products, the best of five: a tenth of a second on a CPU core."""
    cuda = torch.cuda.is_available()
    side = 8192 if cuda else 1024
    dtype, device = torch.bfloat16 if bfloat16 else torch.float32, "cuda" if cuda else "cpu"
    own = torch.Generator(device).manual_seed(0)  # the run's random numbers stay as they are
    left, right = (torch.randn(side, side, dtype=dtype, device=device, generator=own) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        start = now()
        linear(left, right, None)
        best = min(best, now() - start)
    return 2 * side**3 / best


def now() -> float:
    """Return seconds from any start, after what the GPU has still to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
