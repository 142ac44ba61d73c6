"""How much was kept: answers, depth and boxes of a model compared with the truth, and a report of it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dollhouse.evaluate.run import evaluate

__all__ = ["evaluate"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'dollhouse.evaluate' has no attribute {name!r}")
    return getattr(import_module("dollhouse.evaluate.run"), name)
