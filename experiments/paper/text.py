"""Text scores of descriptions against the teacher's, with intervals over rooms."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from dollhouse.evaluation.metrics.text.bleu import ORDERS, BleuCounts
from dollhouse.evaluation.metrics.text.meteor import score_meteor
from dollhouse.evaluation.metrics.text.ptb import split_captions
from dollhouse.evaluation.metrics.text.rouge import score_rouge
from dollhouse.evaluation.metrics.text.score import import_extra
from dollhouse.geometry import Array
from experiments.paper.statistics import Estimate, estimate, rate

ROUGE = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL"}


def rouge_1_scores(predictions: Sequence[str], references: Sequence[str]) -> list[float]:
    """Return ROUGE-1 (F1) of every text."""
    if not predictions:
        return []
    return score_rouge(predictions, [[text] for text in references])["rouge_1"].rows.tolist()


def text_scores(
    predictions: Sequence[str], references: Sequence[str], scenes: Sequence[str]
) -> dict[str, Estimate | None]:
    """Return every score of N texts against their references, with intervals over their S scenes."""
    names = list(dict.fromkeys(scenes))
    member = np.zeros((len(predictions), len(names)))  # (N, S)
    member[np.arange(len(predictions)), [names.index(scene) for scene in scenes]] = 1.0

    def mean(values: Sequence[float] | Array) -> Estimate | None:
        return estimate([rate(np.asarray(values) @ member, member.sum(0))], len(names), len(predictions))

    pairs = zip(split_captions(predictions), split_captions(references), strict=True)
    counts = [BleuCounts.of(words, [reference]) for words, reference in pairs]
    by_text = [[*count.matched, *count.predicted, count.length, count.closest] for count in counts]
    by_room = member.T @ np.array(by_text, dtype=np.float64)
    scores = {
        f"BLEU-{order + 1}": estimate([partial(_bleu, by_room, order)], len(names), len(predictions))
        for order in range(ORDERS)
    }
    scorer = import_extra("rouge_score.rouge_scorer", "rouge-score").RougeScorer(list(ROUGE.values()))
    rouge = [scorer.score(reference, text) for text, reference in zip(predictions, references, strict=True)]
    for name, kind in ROUGE.items():
        for suffix, field in (("", "fmeasure"), (" precision", "precision"), (" recall", "recall")):
            scores[name + suffix] = mean([getattr(score[kind], field) for score in rouge])
    name, meteor = next(iter(score_meteor(predictions, [[text] for text in references]).items()))
    scores["METEOR" if name == "meteor" else "METEOR without synonyms"] = mean(meteor.rows)
    return scores


def shortened(predictions: Sequence[str], references: Sequence[str]) -> tuple[list[str], list[str]]:
    """Cut both texts of every pair to the words of the shorter one."""
    pairs = [(a.split(), b.split()) for a, b in zip(predictions, references, strict=True)]
    return [" ".join(a[: len(b)]) for a, b in pairs], [" ".join(b[: len(a)]) for a, b in pairs]


def _bleu(by_room: Array, order: int, times: Array) -> Array:
    """BLEU of drawn rooms, whose counts are in ``by_room``."""
    values = []
    for *numbers, length, closest in (times @ by_room).tolist():
        counts = BleuCounts()
        counts.matched, counts.predicted = numbers[:ORDERS], numbers[ORDERS:]
        counts.length, counts.closest = length, closest
        values.append(counts.scores()[order])
    return np.array(values)
