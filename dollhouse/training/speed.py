"""Speed of training: operations of a micro-batch, counted once, and what a run's log says of its speed and memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

import dollhouse.models.attention  # noqa: F401  (registers dollhouse::chunked_attention)
from dollhouse.training.estimate.memory import peak_memory
from dollhouse.training.estimate.peak_flops import now, processor_flops


def _product_flops(input_shape: Any, weight_shape: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * int(torch.Size(input_shape).numel()) * int(weight_shape[0])


#: what torch's counter lacks: attention and products on a CPU
CPU_FLOPS: dict[Any, Any] = {
    torch.ops.dollhouse.chunked_attention: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda gradient, q, k, v, *_, **__: sdpa_backward_flop_count(gradient, q, k, v)
    ),
}
if torch.backends.mkldnn.is_available():
    CPU_FLOPS[torch.ops.mkldnn._linear_pointwise] = _product_flops


def flop_counter() -> FlopCounterMode:
    """Return a counter of floating-point operations; a multiplication and an addition are two."""
    return FlopCounterMode(display=False, custom_mapping=CPU_FLOPS)


class Speed:
    """Measures the steps of one process.

    Operations are counted in one micro-batch, forward and backward without what is recomputed, and taken to be those
    of every other: exact where batches are of one shape. ``scenes`` of a step are those of all processes,
    ``micro_batches`` those of this one.
    """

    def __init__(self, scenes: int, micro_batches: int, bfloat16: bool) -> None:
        self.scenes, self.micro_batches, self.bfloat16 = scenes, micro_batches, bfloat16
        self.flops: int | None = None  #: of a micro-batch
        self._recomputed: FlopCounterMode | None = None  #: while operations are counted
        self._last: tuple[int, float] | None = None  #: step, and when it began

    @contextmanager
    def counted(self, step: int) -> Iterator[None]:
        """Count the operations of the block; ``step`` is the number of steps done before it."""
        counter, self._recomputed = flop_counter(), flop_counter()
        with torch.compiler.set_stance("force_eager"), counter:  # compiled code hides its operations
            yield
        self.flops = counter.get_total_flops() - self._recomputed.get_total_flops()
        self._recomputed = None
        self._last = (step, now())

    def recomputation(self) -> AbstractContextManager[Any]:
        """Return the context in which activations are to be computed again."""
        return self._recomputed or nullcontext()

    def measure(self, step: int) -> dict[str, float]:
        """Return the speed since the last call, and the peak memory."""
        assert self.flops is not None
        assert self._last is not None
        (before, start), self._last = self._last, (step, now())
        seconds = (self._last[1] - start) / max(1, step - before)
        peak = processor_flops(self.bfloat16)
        return {
            "seconds_per_step": round(seconds, 4),
            "scenes_per_second": round(self.scenes / seconds, 3),
            "utilisation": round(self.micro_batches * self.flops / seconds / peak, 4),
            "peak_memory_bytes": peak_memory(),
        }
