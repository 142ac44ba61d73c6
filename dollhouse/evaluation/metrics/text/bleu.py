"""BLEU of the COCO captioning evaluation (on PTB words), of sacreBLEU (0 to 100) and of NLTK.

Sources: Papineni et al. (ACL 2002); Post, "A call for clarity in reporting BLEU scores" (WMT 2018).
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from dollhouse.evaluation.metrics.text.cider import ngrams
from dollhouse.evaluation.metrics.text.score import TextScore, import_extra

ORDERS = 4
_TINY, _SMALL = 1e-15, 1e-9  #: COCO adds these above and below each fraction
_SIMPLE_WORD = re.compile(r"\w+|[^\w\s]")


def simple_words(text: str) -> list[str]:
    """Split a text into lower-case words and single punctuation marks, for NLTK's scores."""
    return _SIMPLE_WORD.findall(text.lower())


class BleuCounts:
    """Counts of BLEU: matched and predicted n-grams for each n, and the two lengths."""

    def __init__(self) -> None:
        self.matched, self.predicted = [0] * ORDERS, [0] * ORDERS
        self.length = self.closest = 0

    @classmethod
    def of(cls, words: Sequence[str], references: Sequence[Sequence[str]]) -> BleuCounts:
        counts = cls()
        counts.length = len(words)
        counts.closest = min((abs(len(other) - len(words)), len(other)) for other in references)[1]
        counts.predicted = [max(0, len(words) - n) for n in range(ORDERS)]
        reference_counts = [ngrams(other) for other in references]
        for ngram, count in ngrams(words).items():
            counts.matched[len(ngram) - 1] += min(count, max(other[ngram] for other in reference_counts))
        return counts

    def add(self, other: BleuCounts) -> None:
        self.matched = [a + b for a, b in zip(self.matched, other.matched, strict=True)]
        self.predicted = [a + b for a, b in zip(self.predicted, other.predicted, strict=True)]
        self.length += other.length
        self.closest += other.closest

    def scores(self) -> list[float]:
        """Compute BLEU-1 to BLEU-4 with the brevity penalty."""
        ratio = (self.length + _TINY) / (self.closest + _SMALL)
        penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
        product, scores = 1.0, []
        for n in range(ORDERS):
            product *= (self.matched[n] + _TINY) / (self.predicted[n] + _SMALL)
            scores.append(product ** (1 / (n + 1)) * penalty)
        return scores


def coco_bleu(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> tuple[TextScore, ...]:
    """Compute BLEU-1 to BLEU-4 of N tokenised captions, in [0, 1].

    The brevity penalty takes the closest reference length, the shorter of two equally close.
    """
    total, rows = BleuCounts(), np.empty((len(predictions), ORDERS))
    for row, (words, others) in enumerate(zip(predictions, references, strict=True)):
        counts = BleuCounts.of(words, others)
        total.add(counts)
        rows[row] = counts.scores()
    return tuple(TextScore(value, rows[:, n].copy()) for n, value in enumerate(total.scores()))


def score_sacrebleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, TextScore]:
    """Compute ``sacrebleu`` and ``sacrebleu_lc`` (case ignored), 0 to 100.

    Rows use ``effective_order``, the corpus score does not.
    """
    bleu = import_extra("sacrebleu.metrics", "sacrebleu").BLEU
    columns = list(zip_longest(*references))  # sacreBLEU skips None, where a row has fewer references
    scores = {}
    for name, lowercase in (("sacrebleu", False), ("sacrebleu_lc", True)):
        metric = bleu(lowercase=lowercase, effective_order=True)
        rows = [metric.sentence_score(text, others).score for text, others in zip(predictions, references, strict=True)]
        corpus = bleu(lowercase=lowercase).corpus_score(predictions, columns)
        scores[name] = TextScore(float(corpus.score), np.array(rows))
    return scores


def score_nltk_bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, TextScore]:
    """Compute ``nltk_bleu_1`` and ``nltk_bleu_4``, in [0, 1]; rows smoothed by method 1, the corpus not."""
    bleu = import_extra("nltk.translate.bleu_score", "nltk")
    smooth = bleu.SmoothingFunction().method1
    words = [simple_words(text) for text in predictions]
    others = [[simple_words(text) for text in row] for row in references]
    bleu_1, bleu_4 = (
        [
            bleu.sentence_bleu(row, text, weights=weights, smoothing_function=smooth)
            for text, row in zip(words, others, strict=True)
        ]
        for weights in ((1,), (0.25, 0.25, 0.25, 0.25))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # NLTK warns where no four words agree
        corpus = float(bleu.corpus_bleu(others, words))
    return {
        "nltk_bleu_1": TextScore.mean_of(bleu_1),
        "nltk_bleu_4": TextScore(corpus, np.array(bleu_4, dtype=np.float64)),
    }
