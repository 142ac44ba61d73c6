"""Activations computed again in the backward pass instead of kept, which saves memory and costs time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from dollhouse.models.dollhouse.trunk import TrunkBlock
from dollhouse.models.vggt.layers import Block
from dollhouse.training.loss_module import LossModule


@contextmanager
def recomputed_activations(
    module: LossModule, enabled: bool = True, context: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> Iterator[None]:
    """Keep only the inputs of each block of perception, and of the language model per chunk of questions.

    What ``context`` returns at each call is entered while its activations are computed again.

    The layers of the language model are not recomputed one by one, since each appends to a cache when it runs.
    """
    blocks = [(each, "forward") for each in module.student.modules() if isinstance(each, (Block, TrunkBlock))]
    calls: list[tuple[nn.Module, str]] = [
        *blocks,
        *[(module.student, name) for name in ("encode_questions", "question_hidden_states")],
    ]

    def recomputed(function: Callable[..., Any]) -> Callable[..., Any]:
        return partial(checkpoint, function, use_reentrant=False, context_fn=lambda: (nullcontext(), context()))

    with replaced_methods(calls if enabled else (), recomputed):
        yield


@contextmanager
def replaced_methods(
    methods: Iterable[tuple[nn.Module, str]], wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Let modules call what ``wrap`` makes of some of their methods, given by name."""
    earlier = [(owner, name, vars(owner).get(name)) for owner, name in methods]
    for owner, name, _ in earlier:
        setattr(owner, name, wrap(getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, method in earlier:
            delattr(owner, name)
            if method is not None:
                setattr(owner, name, method)
