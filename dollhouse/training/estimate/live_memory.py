"""How many bytes of tensors a computation holds at once, found without allocating any.

Runs ordinary torch code on fake tensors (shapes on the meta device under a processor's name) and follows every
storage from its birth to its death. Knows nothing of what is computed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

Module = TypeVar("Module", bound=nn.Module)
#: Operations for which the processor's library makes a copy of what it reads, in a layout of its own.
_LAID_OUT_ANEW = {torch.ops.aten.convolution, torch.ops.aten._convolution}


def without_memory(build: Callable[[], Module]) -> tuple[FakeTensorMode, Module]:
    """What ``build`` makes, all its parameters fake; and the mode to use it in.

    A model of transformers keeps its tied weights tied.
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
    """Counts the bytes of all tensors made inside it that are still alive, and the most there ever were.

    Attributes:
        now: bytes alive.
        peak: the most of it so far, scratch memory of single operations included.
    """

    def __init__(self, held: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()
        #: storages that others account for, such as the weights
        self._known.update(tensor.untyped_storage()._cdata for tensor in held)

    def __torch_dispatch__(
        self, operation: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.count(tensor)
        self.peak = max(self.peak, self.now + self._scratch(operation, args))
        return result

    def count(self, tensor: Tensor) -> None:
        """Take a tensor that was made before into account, for as long as it lives."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size

    @staticmethod
    def _scratch(operation: Any, args: tuple[Any, ...]) -> int:
        if getattr(operation, "overloadpacket", None) not in _LAID_OUT_ANEW:
            return 0
        tensors = [one for one in tree_leaves(args) if isinstance(one, Tensor)]
        return sum(one.numel() * one.element_size() for one in tensors)
