"""METEOR as NLTK computes it: words aligned by identity, stem and synonym (Lavie and Agarwal, WMT 2007).

Without WordNet there are no synonyms, and the score is named ``meteor_exact_stem``. Neither is METEOR 1.5 of the COCO
evaluation, which needs a table of paraphrases.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from dollhouse.evaluation.metrics.text.bleu import simple_words
from dollhouse.evaluation.metrics.text.extra import import_extra
from dollhouse.evaluation.metrics.text.score import TextScore
from dollhouse.evaluation.metrics.text.wordnet import NoWordNet, WordNet, installed_wordnet


class _Stems:
    """NLTK's Porter stemmer, each word stemmed once."""

    def __init__(self) -> None:
        self.stem = lru_cache(maxsize=1 << 16)(import_extra("nltk.stem.porter", "nltk").PorterStemmer().stem)


def score_meteor(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    wordnet: WordNet | NoWordNet | None = None,
) -> dict[str, TextScore]:
    """Compute ``meteor`` (without WordNet ``meteor_exact_stem``), in [0, 1], the best over the references.

    Args:
        wordnet: default the installed one. Other parameters are NLTK's: alpha 0.9, beta 3, gamma 0.5.
    """
    wordnet = wordnet or installed_wordnet()
    meteor = import_extra("nltk.translate.meteor_score", "nltk").meteor_score
    stems = _Stems()

    def score(prediction: str, row: Sequence[str]) -> float:
        others = [simple_words(reference) for reference in row]
        return float(meteor(others, simple_words(prediction), stemmer=stems, wordnet=wordnet))

    name = "meteor" if isinstance(wordnet, WordNet) else "meteor_exact_stem"
    return {name: TextScore.mean_of(map(score, predictions, references))}
