"""Every text scorer under its name and version: pure functions, the same bits for the same text.

A scorer's version rises whenever any of its numbers may change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from dollhouse.errors import ScoreError
from dollhouse.evaluation.metrics.text.bleu import score_nltk_bleu, score_sacrebleu
from dollhouse.evaluation.metrics.text.chrf import score_chrf
from dollhouse.evaluation.metrics.text.coco import score_coco
from dollhouse.evaluation.metrics.text.exact_match import score_exact_match
from dollhouse.evaluation.metrics.text.meteor import installed_wordnet, score_meteor
from dollhouse.evaluation.metrics.text.rouge import score_rouge
from dollhouse.evaluation.metrics.text.score import TextScore, check_rows

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

        Raises:
            ScoreError: one of them is not installed.
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
    """Score N predictions with one or more references each.

    Args:
        scorers: names in :data:`SCORERS`.

    Returns:
        Score name -> score, of every score of the scorers.

    Raises:
        ScoreError: rows do not fit together, a scorer is unknown, or its package is not installed.
    """
    unknown = [name for name in scorers if name not in SCORERS]
    if unknown:
        raise ScoreError(f"unknown text scorer {unknown[0]!r}; there are {', '.join(SCORERS)}")
    check_rows(predictions, references)
    scores: dict[str, TextScore] = {}
    for name in dict.fromkeys(scorers):
        scores |= SCORERS[name].function(predictions, references)
    return scores
