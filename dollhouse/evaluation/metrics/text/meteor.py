"""METEOR as NLTK computes it: words aligned by identity, stem and synonym (Lavie and Agarwal, WMT 2007).

Synonyms are those of NLTK's WordNet (``python -m nltk.downloader wordnet``). Without it the score is named
``meteor_exact_stem``. Neither is METEOR 1.5 of the COCO evaluation, which needs a table of paraphrases.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from dollhouse.evaluation.metrics.text.bleu import simple_words
from dollhouse.evaluation.metrics.text.score import TextScore, import_extra


class NoWordNet:
    """Placeholder without synonyms, where NLTK's WordNet is not installed."""

    def get_version(self) -> None:
        return None

    def synsets(self, word: str) -> tuple[()]:
        return ()


@lru_cache(maxsize=1)
def installed_wordnet() -> Any:
    """Return NLTK's WordNet reader; :class:`NoWordNet` where its data is not installed."""
    reader = import_extra("nltk.corpus", "nltk").wordnet
    try:
        reader.ensure_loaded()
    except LookupError:
        return NoWordNet()
    return reader


def score_meteor(
    predictions: Sequence[str], references: Sequence[Sequence[str]], wordnet: Any = None
) -> dict[str, TextScore]:
    """Compute ``meteor`` (without WordNet ``meteor_exact_stem``), in [0, 1], the best over the references.

    Args:
        wordnet: default the installed one. Other parameters are NLTK's: alpha 0.9, beta 3, gamma 0.5.
    """
    wordnet = wordnet or installed_wordnet()
    meteor = import_extra("nltk.translate.meteor_score", "nltk").meteor_score
    stemmer = SimpleNamespace(stem=lru_cache(1 << 16)(import_extra("nltk.stem.porter", "nltk").PorterStemmer().stem))

    def score(prediction: str, row: Sequence[str]) -> float:
        others = [simple_words(reference) for reference in row]
        return float(meteor(others, simple_words(prediction), stemmer=stemmer, wordnet=wordnet))

    name = "meteor_exact_stem" if isinstance(wordnet, NoWordNet) else "meteor"
    return {name: TextScore.mean_of(map(score, predictions, references))}
