"""How many parameters each part of a model has, and how large they are on disk.

Knows nothing of what the parts do; a model may be on the meta device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

#: Bits a weight of a matrix takes on disk, its share of scales included: one 16-bit scale for each row of about a
#: thousand in int8, one for each group of 32 in int4. Vectors (norms, biases) stay at 16 bits in those two.
MATRIX_BITS = {"float32": 32.0, "bfloat16": 16.0, "int8": 8.0 + 16 / 1024, "int4": 4.0 + 16 / 32}
VECTOR_BITS = {"float32": 32.0, "bfloat16": 16.0, "int8": 16.0, "int4": 16.0}


@dataclass(frozen=True)
class Part:
    """One part of a model."""

    name: str
    parameters: int
    matrices: int  #: of them, those in tensors of two dimensions and more


def parts_of(model: nn.Module, opened: tuple[str, ...] = ("encoder",)) -> list[Part]:
    """The model's children, in their order; those that ``opened`` names are told by their own children.

    Parameters that two parts share are counted with the first.
    """
    seen: set[int] = set()
    parts = []
    for name, child in model.named_children():
        inside = list(child.named_children()) if name in opened else []
        for part, module in [(f"{name}.{inner}", one) for inner, one in inside] or [(name, child)]:
            own = [parameter for parameter in module.parameters() if id(parameter) not in seen]
            seen.update(map(id, own))
            matrices = sum(parameter.numel() for parameter in own if parameter.ndim > 1)
            parts.append(Part(part, sum(parameter.numel() for parameter in own), matrices))
    return parts


def disk_bytes(parts: list[Part]) -> Mapping[str, int]:
    """Size of all parts on disk by number format."""
    matrices = sum(part.matrices for part in parts)
    vectors = sum(part.parameters for part in parts) - matrices
    return {name: round((matrices * bits + vectors * VECTOR_BITS[name]) / 8) for name, bits in MATRIX_BITS.items()}
