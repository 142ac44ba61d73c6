"""Packages that only some text scores need, imported when such a score is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dollhouse.errors import ScoreError


def imported(module: str, package: str) -> Any:
    """The module; ScoreError where its package is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ScoreError(
            f"this score needs {package}; install it with: pip install 'dollhouse[evaluate]' ({error})"
        ) from error
