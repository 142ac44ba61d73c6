"""The result of a text scorer, the check of its input, and imports of optional packages.

Sums are exactly rounded (``math.fsum``), so a mean depends neither on the order of the answers nor on the processor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import ScoreError


@dataclass(frozen=True, eq=False)
class TextScore:
    """A score over N answers: ``value`` of all, ``rows`` (N,) float64 of each.

    For most scores ``value`` is the mean of ``rows``; BLEU and chrF are computed over the corpus.
    """

    value: float
    rows: NDArray[np.float64]

    @classmethod
    def mean_of(cls, rows: Iterable[float]) -> TextScore:
        """Build the score whose value is the mean of its rows."""
        array = np.fromiter(rows, dtype=np.float64)
        return cls(math.fsum(array) / len(array), array)


def import_extra(module: str, package: str) -> Any:
    """Import ``module``; raises ScoreError where its package is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ScoreError(
            f"this score needs {package}; install it with: pip install 'dollhouse[evaluate]' ({error})"
        ) from error


def check_rows(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raise ScoreError unless there are answers, each a text with one or more references."""
    if len(predictions) != len(references):
        raise ScoreError(
            f"{len(predictions)} predictions but {len(references)} lists of references; give one list a prediction"
        )
    if not predictions:
        raise ScoreError("there is nothing to score: the list of predictions is empty")
    for row, (prediction, answers) in enumerate(zip(predictions, references, strict=True)):
        if not isinstance(prediction, str):
            raise ScoreError(
                f"row {row}: the prediction is {type(prediction).__name__}, not text; write it as a string"
            )
        if isinstance(answers, str) or not answers or not all(isinstance(answer, str) for answer in answers):
            raise ScoreError(f"row {row}: references must be a list of one or more texts, not {answers!r:.60}")
