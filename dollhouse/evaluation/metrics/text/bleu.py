"""BLEU in its three usual shapes, which give three different numbers for the same text.

Knows nothing of files. ``coco_bleu`` is that of the COCO captioning evaluation, on PTB words; ``score_sacrebleu`` is
sacreBLEU's, on raw text, 0 to 100; ``score_nltk_bleu`` is NLTK's, on words split by a regular expression. Sources:
Papineni et al. (ACL 2002); Post, "A call for clarity in reporting BLEU scores" (WMT 2018).
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence

import numpy as np

from dollhouse.evaluation.metrics.text.cider import ngrams
from dollhouse.evaluation.metrics.text.extra import import_extra
from dollhouse.evaluation.metrics.text.score import TextScore

ORDERS = 4
_TINY, _SMALL = 1e-15, 1e-9  #: COCO adds these above and below each fraction
_SIMPLE_WORD = re.compile(r"\w+|[^\w\s]")


def simple_words(text: str) -> list[str]:
    """Lower-case words and single punctuation marks: what the NLTK scores are given here."""
    return _SIMPLE_WORD.findall(text.lower())


class BleuCounts:
    """What BLEU counts: n-grams found and guessed for each n, and the two lengths."""

    def __init__(self) -> None:
        self.found, self.guessed = [0] * ORDERS, [0] * ORDERS
        self.length = self.closest = 0

    @classmethod
    def of(cls, words: Sequence[str], references: Sequence[Sequence[str]]) -> BleuCounts:
        counts = cls()
        counts.length = len(words)
        counts.closest = min((abs(len(other) - len(words)), len(other)) for other in references)[1]
        counts.guessed = [max(0, len(words) - n) for n in range(ORDERS)]
        known = [ngrams(other) for other in references]
        for ngram, count in ngrams(words).items():
            counts.found[len(ngram) - 1] += min(count, max(other[ngram] for other in known))
        return counts

    def add(self, other: BleuCounts) -> None:
        self.found = [a + b for a, b in zip(self.found, other.found, strict=True)]
        self.guessed = [a + b for a, b in zip(self.guessed, other.guessed, strict=True)]
        self.length += other.length
        self.closest += other.closest

    def scores(self) -> list[float]:
        """BLEU-1 to BLEU-4: geometric means of the precisions, times the penalty on short captions."""
        ratio = (self.length + _TINY) / (self.closest + _SMALL)
        penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
        product, scores = 1.0, []
        for n in range(ORDERS):
            product *= (self.found[n] + _TINY) / (self.guessed[n] + _SMALL)
            scores.append(product ** (1 / (n + 1)) * penalty)
        return scores


def coco_bleu(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> tuple[TextScore, ...]:
    """BLEU-1 to BLEU-4 of N tokenised captions, in [0, 1]: over the corpus, and of each caption.

    The brevity penalty takes the closest reference length, the shorter of two equally close.
    """
    total, rows = BleuCounts(), np.empty((len(predictions), ORDERS))
    for row, (words, others) in enumerate(zip(predictions, references, strict=True)):
        counts = BleuCounts.of(words, others)
        total.add(counts)
        rows[row] = counts.scores()
    return tuple(TextScore(value, rows[:, n].copy()) for n, value in enumerate(total.scores()))


def score_sacrebleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, TextScore]:
    """``sacrebleu`` and ``sacrebleu_lc`` (case ignored), 0 to 100: over the corpus, and of each text.

    Rows without as many references as others simply have fewer. BLEU of one text uses the orders that it is long
    enough for (``effective_order``); that of the corpus is computed from the counts of the texts, as sacreBLEU does.
    """
    bleu = import_extra("sacrebleu.metrics", "sacrebleu").BLEU
    scores = {}
    for name, lowercase in (("sacrebleu", False), ("sacrebleu_lc", True)):
        metric = bleu(lowercase=lowercase, effective_order=True)
        counts, rows = np.zeros(2 * ORDERS + 2, dtype=np.int64), np.empty(len(predictions))
        for row, (text, others) in enumerate(zip(predictions, references, strict=True)):
            score = metric.sentence_score(text, others)
            counts += [*score.counts, *score.totals, score.sys_len, score.ref_len]
            rows[row] = score.score
        found, guessed, lengths = (part.tolist() for part in np.split(counts, [ORDERS, 2 * ORDERS]))
        corpus = bleu.compute_bleu(found, guessed, *lengths, smooth_method="exp")
        scores[name] = TextScore(float(corpus.score), rows)
    return scores


def score_nltk_bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, TextScore]:
    """``nltk_bleu_1`` and ``nltk_bleu_4``, in [0, 1]; rows smoothed by NLTK's method 1, BLEU-4 of the corpus not."""
    bleu = import_extra("nltk.translate.bleu_score", "nltk")
    smooth = bleu.SmoothingFunction().method1
    words = [simple_words(text) for text in predictions]
    others = [[simple_words(text) for text in row] for row in references]
    ones, fours = (
        [
            bleu.sentence_bleu(row, text, weights=weights, smoothing_function=smooth)
            for text, row in zip(words, others, strict=True)
        ]
        for weights in ((1,), (0.25, 0.25, 0.25, 0.25))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # NLTK warns, three times over, that no four words agree
        corpus = float(bleu.corpus_bleu(others, words))
    return {
        "nltk_bleu_1": TextScore.mean_of(ones),
        "nltk_bleu_4": TextScore(corpus, np.array(fours, dtype=np.float64)),
    }
