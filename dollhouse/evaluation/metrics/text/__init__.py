"""How alike a model's words and the true answers are: every usual score, checked against its reference."""

from dollhouse.evaluation.metrics.text.score import TextScore
from dollhouse.evaluation.metrics.text.scorers import CORE, SCORERS, TextScorer, score_texts

__all__ = ["CORE", "SCORERS", "TextScore", "TextScorer", "score_texts"]
