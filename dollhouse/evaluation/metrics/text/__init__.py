"""Text scores, each tested against its reference program."""

from dollhouse.evaluation.metrics.text.score import TextScore
from dollhouse.evaluation.metrics.text.scorers import CORE, SCORERS, TextScorer, score_texts

__all__ = ["CORE", "SCORERS", "TextScore", "TextScorer", "score_texts"]
