"""Base class of dataclasses of tensors, which batches and outputs of modules are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

IGNORE = -100  #: the label that carries no loss, as everywhere in transformers


@dataclass
class Tensors:
    """A dataclass of tensors that are moved, selected and joined together; lists and nested ones included."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Return a copy with what ``function`` returns of every tensor."""

        def mapped(value: Any) -> Any:
            if isinstance(value, list):
                return [mapped(item) for item in value]
            if isinstance(value, Tensors):
                return value.map(function)
            return function(value) if isinstance(value, Tensor) else value

        return type(self)(**{name: mapped(value) for name, value in vars(self).items()})

    def to(self, device: torch.device | str) -> Self:
        """Return a copy on ``device``."""
        return self.map(lambda value: value.to(device))

    def take(self, rows: Any) -> Self:
        """Return the ``rows`` of every tensor: what ``tensor[rows]`` takes."""
        return self.map(lambda value: value[rows])

    @classmethod
    def concat(cls, parts: Sequence[Self], join: Callable[[tuple[Tensor, ...]], Tensor] = torch.cat) -> Self:
        """Join the tensors of several of these, each with those of its field; fields that are None remain so."""

        def joined(values: tuple[Any, ...]) -> Any:
            if isinstance(values[0], list):
                return [join(each) for each in zip(*values, strict=True)]
            return None if values[0] is None else join(values)

        return cls(*map(joined, zip(*[vars(part).values() for part in parts], strict=True)))
