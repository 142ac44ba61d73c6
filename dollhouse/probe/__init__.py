"""Do the thinking tokens of a trained student carry anything? Controls, read-out, attention, linear probe."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dollhouse.probe.run import probe

__all__ = ["probe"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'dollhouse.probe' has no attribute {name!r}")
    return getattr(import_module("dollhouse.probe.run"), name)
