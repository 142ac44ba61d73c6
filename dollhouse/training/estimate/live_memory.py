"""Peak memory of computations on fake tensors, which have no data, and of a training step in several processes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

Module = TypeVar("Module", bound=nn.Module)
#: operations for which the CPU library copies its inputs into a layout of its own
_COPYING = {torch.ops.aten.convolution, torch.ops.aten._convolution}


def without_memory(build: Callable[[], Module]) -> tuple[FakeTensorMode, Module]:
    """Return the module that ``build`` builds with fake parameters, and the mode to use it in.

    Tied weights of transformers' models stay tied.
    """
    with torch.device("meta"):
        model = build()
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake:
        model = model.to_empty(device="cpu")
        if isinstance(model, PreTrainedModel):
            model.tie_weights()
    return fake, model


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of live tensors created inside it: ``now``, and at the ``peak`` with scratch memory.

    Tensors that are :meth:`set_apart` count in ``apart`` instead of ``now``, and in ``peak`` but not in
    ``peak_without_apart``.
    """

    def __init__(self, held: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.apart = self.peak = self.peak_without_apart = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in held}  # not counted, such as the weights
        self._apart: set[int] = set()

    def __torch_dispatch__(
        self, operation: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.count(tensor)
        if getattr(operation, "overloadpacket", None) in _COPYING:
            self._note_peak(
                sum(leaf.numel() * leaf.element_size() for leaf in tree_leaves(args) if isinstance(leaf, Tensor))
            )
        return result

    def count(self, tensor: Tensor) -> None:
        """Count a tensor that was created before, for as long as it lives."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes()
        self.now += size
        self._note_peak()
        weakref.finalize(storage, self._forget, key, size)

    def set_apart(self, tensor: Tensor) -> None:
        """Count a tensor apart from now on."""
        storage = tensor.untyped_storage()
        if storage._cdata in self._known - self._apart:
            self._apart.add(storage._cdata)
            self.now -= storage.nbytes()
            self.apart += storage.nbytes()

    def reset_peak(self) -> None:
        """Forget earlier peaks."""
        self.peak, self.peak_without_apart = self.now + self.apart, self.now

    def _note_peak(self, scratch: int = 0) -> None:
        self.peak = max(self.peak, self.now + self.apart + scratch)
        self.peak_without_apart = max(self.peak_without_apart, self.now + scratch)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        if key in self._apart:
            self._apart.discard(key)
            self.apart -= size
        else:
            self.now -= size


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
