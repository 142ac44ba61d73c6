"""Activations computed again in the backward pass instead of kept, which saves memory and costs time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from dollhouse.models.dollhouse.trunk import TrunkBlock
from dollhouse.models.vggt.layers import Block
from dollhouse.training.loss_module import LossModule


@contextmanager
def recomputed_activations(module: LossModule, enabled: bool = True) -> Iterator[None]:
    """Keep only the inputs of each block of perception, and of the language model per chunk of questions.

    The layers of the language model are not recomputed one by one, since each appends to a cache when it runs.
    """
    blocks = [(each, "forward") for each in module.student.modules() if isinstance(each, (Block, TrunkBlock))]
    calls: list[tuple[nn.Module, str]] = [
        *blocks,
        *[(module.student, name) for name in ("encode_questions", "question_hidden_states")],
    ]
    for owner, name in calls if enabled else ():
        function: Any = getattr(owner, name)
        setattr(owner, name, partial(checkpoint, function, use_reentrant=False))
    try:
        yield
    finally:
        for owner, name in calls if enabled else ():
            delattr(owner, name)
