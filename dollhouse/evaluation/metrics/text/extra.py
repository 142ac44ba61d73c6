"""Imports of packages that only some text scores need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dollhouse.errors import ScoreError


def import_extra(module: str, package: str) -> Any:
    """Import ``module``; raises ScoreError where its package is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ScoreError(
            f"this score needs {package}; install it with: pip install 'dollhouse[evaluate]' ({error})"
        ) from error
