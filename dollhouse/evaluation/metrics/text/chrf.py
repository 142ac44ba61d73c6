"""chrF of character 1- to 6-grams with beta 2, in sacreBLEU's default setting.

Source: Popović, "chrF: character n-gram F-score for automatic MT evaluation" (WMT 2015). Not sacreBLEU's own, because
that needs gigabytes for 100,000 answers; the tests compare both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from dollhouse.evaluation.metrics.text.score import TextScore

ORDERS = 6
_RECALL_WEIGHT = 2.0**2  #: beta squared

Statistics = list[int]  #: predicted, expected, matched of each order


@lru_cache(maxsize=1 << 12)
def _runs(text: str) -> tuple[Counter[str], ...]:
    text = "".join(text.split())
    return tuple(Counter(text[start : start + n] for start in range(len(text) - n + 1)) for n in range(1, ORDERS + 1))


def _compare(text: str, reference: str) -> Statistics:
    statistics = []
    for predicted, expected in zip(_runs(text), _runs(reference), strict=True):
        matched = sum(min(count, expected[run]) for run, count in predicted.items() if run in expected)
        # Where the reference has no run of this order, those of the text do not count.
        statistics += [predicted.total() if expected else 0, expected.total(), matched]
    return statistics


def _score(statistics: Statistics) -> float:
    """Compute F of precision and recall averaged over the orders that both texts are long enough for."""
    precision = recall = 0.0
    orders = 0
    for predicted, expected, matched in zip(*(statistics[part::3] for part in range(3)), strict=True):
        if predicted and expected:
            orders += 1
            precision += matched / predicted
            recall += matched / expected
    if not precision + recall:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return 100 * ((1 + _RECALL_WEIGHT) * precision * recall / (_RECALL_WEIGHT * precision + recall))


def score_chrf(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, TextScore]:
    """Compute ``chrf``, 0 to 100; the corpus counts each text with its best reference."""
    total, rows = np.zeros(3 * ORDERS, dtype=np.int64), np.empty(len(predictions))
    for row, (text, others) in enumerate(zip(predictions, references, strict=True)):
        compared = [_compare(text, other) for other in others]
        scores = [_score(statistics) for statistics in compared]
        rows[row] = max(scores)
        total += compared[scores.index(rows[row])]
    return {"chrf": TextScore(_score(total.tolist()), rows)}
