"""chrF: how much a text shares of its references' runs of one to six characters, in sacreBLEU's default setting.

Knows nothing of words: white space is removed first. Source: Popović, "chrF: character n-gram F-score for automatic MT
evaluation" (WMT 2015), beta 2. Written out here because sacreBLEU keeps the n-grams of all references in memory at
once, gigabytes for 100,000 answers; the tests hold it to sacreBLEU's numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from dollhouse.evaluation.metrics.text.score import TextScore

ORDERS = 6
_RECALL_WEIGHT = 2.0**2  #: beta squared

Statistics = list[int]  #: guessed, wanted, found of each order, one after the other


@lru_cache(maxsize=1 << 12)
def _runs(text: str) -> tuple[Counter[str], ...]:
    text = "".join(text.split())
    return tuple(Counter(text[start : start + n] for start in range(len(text) - n + 1)) for n in range(1, ORDERS + 1))


def _compare(text: str, reference: str) -> Statistics:
    statistics = []
    for guessed, wanted in zip(_runs(text), _runs(reference), strict=True):
        found = sum(min(count, wanted[run]) for run, count in guessed.items() if run in wanted)
        # Without a run in the reference, those of the text are not held against it.
        statistics += [guessed.total() if wanted else 0, wanted.total(), found]
    return statistics


def _score(statistics: Statistics) -> float:
    """Precision and recall, each averaged over the orders that both texts are long enough for, as F."""
    precision = recall = 0.0
    orders = 0
    for guessed, wanted, found in zip(*(statistics[part::3] for part in range(3)), strict=True):
        if guessed and wanted:
            orders += 1
            precision += found / guessed
            recall += found / wanted
    if not precision + recall:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return 100 * ((1 + _RECALL_WEIGHT) * precision * recall / (_RECALL_WEIGHT * precision + recall))


def score_chrf(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, TextScore]:
    """``chrf``, 0 to 100: over the corpus, each text counted with its best reference, and of each text."""
    total, rows = np.zeros(3 * ORDERS, dtype=np.int64), np.empty(len(predictions))
    for row, (text, others) in enumerate(zip(predictions, references, strict=True)):
        compared = [_compare(text, other) for other in others]
        scores = [_score(statistics) for statistics in compared]
        rows[row] = max(scores)
        total += compared[scores.index(rows[row])]
    return {"chrf": TextScore(_score(total.tolist()), rows)}
