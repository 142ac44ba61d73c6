"""The version of every scorer, for reports: the same version and the same input give the same bits.

Knows the scorers' names and nothing of what they compute.
"""

from __future__ import annotations

from collections.abc import Sequence

from dollhouse.evaluation.metrics import boxes, depth, poses, spatial
from dollhouse.evaluation.metrics.text import CORE, SCORERS


def scorer_versions(text_scorers: Sequence[str] = CORE) -> dict[str, str]:
    """Scorer -> version, as ``{"depth": "depth:1", ...}``; of the text scorers, those named.

    The version of a text scorer that rests on other packages names theirs, and that of WordNet. Raises
    :class:`~dollhouse.errors.ScoreError` where such a package is not installed.
    """
    versions = {module.VERSION.partition(":")[0]: module.VERSION for module in (depth, boxes, poses, spatial)}
    return versions | {name: SCORERS[name].version for name in text_scorers}
