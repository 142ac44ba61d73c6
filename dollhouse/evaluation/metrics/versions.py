"""Versions of the scorers: the same version and the same input give the same bits."""

from __future__ import annotations

from collections.abc import Sequence

from dollhouse.evaluation.metrics import boxes, depth, spatial
from dollhouse.evaluation.metrics.text import CORE, SCORERS


def scorer_versions(text_scorers: Sequence[str] = CORE) -> dict[str, str]:
    """Return scorer -> version, such as ``{"depth": "depth:1"}``, with those of ``text_scorers``.

    Raises ScoreError where a package that a text scorer needs is not installed.
    """
    versions = {module.VERSION.partition(":")[0]: module.VERSION for module in (depth, boxes, spatial)}
    return versions | {name: SCORERS[name].version for name in text_scorers}
