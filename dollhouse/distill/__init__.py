"""Distilling: recipes, batches, losses, their weighting, and the trainer.

The two names a user needs are here: ``read_recipe`` and ``distill``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dollhouse.distill.recipe import read_recipe
    from dollhouse.distill.run import distill

__all__ = ["distill", "read_recipe"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'dollhouse.distill' has no attribute {name!r}")
    return getattr(import_module(f"dollhouse.distill.{'recipe' if name == 'read_recipe' else 'run'}"), name)
