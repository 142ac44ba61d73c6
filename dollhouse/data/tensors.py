"""Base class of dataclasses of tensors, which batches are made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

IGNORE = -100  #: the label that carries no loss, as everywhere in transformers


@dataclass
class Tensors:
    """A dataclass of tensors that moves between devices as a whole."""

    def to(self, device: torch.device | str) -> Tensors:
        """Return a copy on ``device``; lists and nested dataclasses included."""
        moved = {}
        for name, value in vars(self).items():
            if isinstance(value, (Tensor, Tensors)):
                value = value.to(device)
            elif isinstance(value, list):
                value = [item.to(device) if isinstance(item, (Tensor, Tensors)) else item for item in value]
            moved[name] = value
        return type(self)(**moved)
