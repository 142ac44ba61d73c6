"""Every text scorer under its name and version: pure functions, the same bits for the same text.

A scorer's version rises whenever any of its numbers may change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from dollhouse.errors import ScoreError
from dollhouse.evaluation.metrics.text.bleu import coco_bleu, score_nltk_bleu, score_sacrebleu
from dollhouse.evaluation.metrics.text.chrf import score_chrf
from dollhouse.evaluation.metrics.text.cider import cider
from dollhouse.evaluation.metrics.text.exact_match import score_exact_match
from dollhouse.evaluation.metrics.text.meteor import installed_wordnet, score_meteor
from dollhouse.evaluation.metrics.text.ptb import split_captions
from dollhouse.evaluation.metrics.text.rouge import coco_rouge_l, score_rouge
from dollhouse.evaluation.metrics.text.score import TextScore, check_rows


def score_coco(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, TextScore]:
    """Compute ``coco_bleu_1`` to ``coco_bleu_4`` and ``coco_rouge_l`` in [0, 1], ``coco_cider`` in [0, 10]."""
    captions: Iterator[tuple[str, ...]] = iter(split_captions([text for row in references for text in row]))
    others = [[next(captions) for _ in row] for row in references]
    words = split_captions(predictions)
    # A fraction such as "1 1/2" is one word to the tokenizer and to ROUGE-L, two words to BLEU and CIDEr.
    split_words = [" ".join(caption).split() for caption in words]
    split_others = [[" ".join(caption).split() for caption in row] for row in others]
    scores = {f"coco_bleu_{n + 1}": score for n, score in enumerate(coco_bleu(split_words, split_others))}
    return scores | {
        "coco_rouge_l": coco_rouge_l(words, others),
        "coco_cider": cider(split_words, split_others),
    }


ScoreFunction = Callable[[Sequence[str], Sequence[Sequence[str]]], dict[str, TextScore]]


@dataclass(frozen=True)
class TextScorer:
    """A family of scores that are computed together."""

    name: str
    number: int  #: rises when any of its scores may change
    function: ScoreFunction
    packages: tuple[str, ...] = ()  #: whose versions its numbers depend on; all in the extra ``evaluate``

    @property
    def version(self) -> str:
        """Name the scorer's number and the versions of the packages and data that it needs.

        Raises ScoreError where one of them is not installed.
        """
        try:
            parts = [f"{self.name}:{self.number}", *(f"{package}:{version(package)}" for package in self.packages)]
        except PackageNotFoundError as error:
            raise ScoreError(
                f"the scorer {self.name} needs {error.name}; install it with: pip install 'dollhouse[evaluate]'"
            ) from error
        if self.name == "meteor":
            parts.append(f"wordnet:{installed_wordnet().get_version() or 'none'}")
        return "|".join(parts)


SCORERS: Mapping[str, TextScorer] = {
    scorer.name: scorer
    for scorer in (
        TextScorer("exact_match", 1, score_exact_match),
        TextScorer("coco", 2, score_coco),
        TextScorer("chrf", 1, score_chrf),
        TextScorer("rouge", 1, score_rouge, ("rouge-score", "nltk")),
        TextScorer("sacrebleu", 1, score_sacrebleu, ("sacrebleu",)),
        TextScorer("nltk_bleu", 1, score_nltk_bleu, ("nltk",)),
        TextScorer("meteor", 1, score_meteor, ("nltk",)),
    )
}
CORE = ("exact_match", "coco", "chrf")  #: these need no extra


def score_texts(
    predictions: Sequence[str], references: Sequence[Sequence[str]], scorers: Sequence[str] = CORE
) -> dict[str, TextScore]:
    """Score N predictions with one or more references each by ``scorers``, names in :data:`SCORERS`.

    Returns every score of the scorers by its name. Raises ScoreError where rows do not fit together, a scorer is
    unknown, or its package is not installed.
    """
    unknown = [name for name in scorers if name not in SCORERS]
    if unknown:
        raise ScoreError(f"unknown text scorer {unknown[0]!r}; there are {', '.join(SCORERS)}")
    check_rows(predictions, references)
    scores: dict[str, TextScore] = {}
    for name in dict.fromkeys(scorers):
        scores |= SCORERS[name].function(predictions, references)
    return scores
