"""CIDEr-D of COCO on tokenised captions.

Source: Vedantam et al., "CIDEr: Consensus-based image description evaluation" (CVPR 2015): tf-idf of n-grams, Gaussian
penalty on length (sigma 6, in bigrams) and clipping, times 10. Document frequencies are counted over the references
scored together, so a row's score depends on the other rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from dollhouse.evaluation.metrics.text.score import TextScore

Words = tuple[str, ...]
ORDERS = 4
SIGMA = 6.0


def ngrams(words: Sequence[str]) -> Counter[Words]:
    """Count each run of 1 to 4 words."""
    return Counter(tuple(words[start : start + n]) for n in range(1, ORDERS + 1) for start in range(len(words) - n + 1))


class _Vector:
    """The tf-idf weights of a caption's n-grams, their norm for each n, and its length in bigrams."""

    def __init__(self, words: Sequence[str], documents: Counter[Words], log_rows: float) -> None:
        self.weights: dict[Words, float] = {}
        squares = [0.0] * ORDERS
        for ngram, count in ngrams(words).items():
            weight = float(count) * (log_rows - math.log(max(1.0, documents[ngram])))
            self.weights[ngram] = weight
            squares[len(ngram) - 1] += weight * weight
        self.norms = [math.sqrt(square) for square in squares]
        self.bigrams = max(0, len(words) - 1)

    def similarity(self, reference: _Vector) -> float:
        """Return the mean over n of clipped cosines, times the penalty on a difference in length."""
        products = [0.0] * ORDERS
        for ngram, weight in self.weights.items():
            other = reference.weights.get(ngram)
            if other is not None:
                products[len(ngram) - 1] += min(weight, other) * other
        for n in range(ORDERS):
            if self.norms[n] and reference.norms[n]:
                products[n] /= self.norms[n] * reference.norms[n]
        penalty = math.exp(-((self.bigrams - reference.bigrams) ** 2) / (2 * SIGMA**2))
        return sum(products) * penalty / ORDERS


def cider(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> TextScore:
    """Compute CIDEr-D of N tokenised captions, 0 to 10 (papers often print it times 100)."""
    documents: Counter[Words] = Counter()
    for row in references:
        documents.update({ngram for reference in row for ngram in ngrams(reference)})
    log_rows = math.log(len(references))

    def score(prediction: Sequence[str], row: Sequence[Sequence[str]]) -> float:
        vector = _Vector(prediction, documents, log_rows)
        return 10.0 * sum(vector.similarity(_Vector(words, documents, log_rows)) for words in row) / len(row)

    return TextScore.mean_of(map(score, predictions, references))
