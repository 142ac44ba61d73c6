"""Memory of a training step by kind of tensor, and the peak of each of several processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class StepMemory:
    """Bytes of one stage, as a process without others would hold them."""

    frozen: int  #: weights
    trained: int  #: weights
    gradients: int  #: of the trained weights that have one
    states: int  #: of the optimizer
    activations: int  #: at the peak of a micro-batch's passes, without gradients
    passes: int  #: the same, with the gradients that exist by then
    update: int  #: scratch memory of the optimizer's step

    def peak(
        self,
        processes: int = 1,
        parallel: Literal["ddp", "fsdp"] = "ddp",
        micro_batches: int = 1,
        cuda: bool = False,
    ) -> int:
        """Return the most bytes of tensors at once in process 0, on its device.

        Args:
            micro_batches: of a step, of all processes.
            cuda: the device is a GPU. Main memory holds the whole weights that a sharded run starts from, too, and what
                process 0 gathers for a checkpoint.
        """
        if processes > 1 and parallel == "fsdp":
            return self._sharded_peak(processes, cuda)
        # DDP's buckets hold a gradient for every trained weight from the start
        kept = self.trained if processes > 1 else self.gradients if micro_batches > 1 else 0
        passes = self.activations if kept else self.passes
        step = max(kept + passes, (kept or self.gradients) + self.update)
        return self.frozen + self.trained + self.states + step

    def _sharded_peak(self, processes: int, cuda: bool) -> int:
        held = self.frozen + (self.trained + self.states) // processes
        gathered = self.trained + max(self.passes, self.trained)  # weights, and at first the buffer that they come in
        passes = held + self.gradients // processes + gathered
        if cuda:
            return passes
        checkpoint = held + self.trained + self.states
        return self.frozen + self.trained + max(passes, checkpoint)
