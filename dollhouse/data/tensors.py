"""Dataclasses of tensors: what batches are made of.

Knows nothing of what the tensors hold.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

IGNORE = -100  #: the label that carries no loss, as everywhere in transformers


@dataclass
class Tensors:
    """A dataclass of tensors that moves between devices as one."""

    def to(self, device: torch.device | str) -> Tensors:
        moved = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (Tensor, Tensors)):
                value = value.to(device)
            elif isinstance(value, list):
                value = [one.to(device) if isinstance(one, (Tensor, Tensors)) else one for one in value]
            moved[field.name] = value
        return type(self)(**moved)
