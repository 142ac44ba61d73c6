"""What a scorer gives back: one number over many answers, and the number of each answer.

Knows nothing of how numbers are made. Sums are exactly rounded (``math.fsum``), so a mean depends neither on the order
of the answers nor on the processor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dollhouse.errors import ScoreError


@dataclass(frozen=True, eq=False)
class TextScore:
    """``value`` is over all N answers; ``rows`` (N,) float64, one an answer, in the order given.

    For most scores ``value`` is the mean of ``rows``; BLEU and chrF count over the whole corpus instead.
    """

    value: float
    rows: NDArray[np.float64]

    @classmethod
    def mean_of(cls, rows: Iterable[float]) -> TextScore:
        """The score whose value is the mean of its rows."""
        array = np.fromiter(rows, dtype=np.float64)
        return cls(math.fsum(array) / len(array), array)

    @property
    def mean(self) -> float:
        """The mean of the rows."""
        return math.fsum(self.rows) / len(self.rows)


def check_rows(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raise :class:`~dollhouse.errors.ScoreError` unless there are answers, each text with one or more references."""
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
