"""Parameters of a model by module, and their size on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

#: bits per weight of a matrix on disk, with its scales: a 16-bit scale per row of about a thousand in int8, per group
#: of 32 in int4
MATRIX_BITS = {"float32": 32.0, "bfloat16": 16.0, "int8": 8.0 + 16 / 1024, "int4": 4.0 + 16 / 32}
#: bits per element of vectors (norms, biases), which stay at 16 bits in quantised formats
VECTOR_BITS = {"float32": 32.0, "bfloat16": 16.0, "int8": 16.0, "int4": 16.0}


@dataclass(frozen=True)
class ModuleParameters:
    """The size of one module."""

    name: str
    parameters: int
    matrices: int  #: of them, those in tensors of two dimensions and more


def module_parameters(model: nn.Module, expanded: Sequence[str] = ("encoder",)) -> list[ModuleParameters]:
    """Count the parameters of the model's children; shared parameters count with the first.

    Args:
        model: may be on the meta device.
        expanded: children that are listed by their own children.
    """
    counted: set[int] = set()
    rows = []
    for name, child in model.named_children():
        inner = [(f"{name}.{part}", module) for part, module in child.named_children()] if name in expanded else []
        for part, module in inner or [(name, child)]:
            own = [parameter for parameter in module.parameters() if id(parameter) not in counted]
            counted.update(map(id, own))
            matrices = sum(parameter.numel() for parameter in own if parameter.ndim > 1)
            rows.append(ModuleParameters(part, sum(parameter.numel() for parameter in own), matrices))
    return rows


def disk_bytes(modules: Sequence[ModuleParameters]) -> dict[str, int]:
    """Return the size of all modules on disk by number format."""
    matrices = sum(module.matrices for module in modules)
    vectors = sum(module.parameters for module in modules) - matrices
    return {name: round((matrices * bits + vectors * VECTOR_BITS[name]) / 8) for name, bits in MATRIX_BITS.items()}
