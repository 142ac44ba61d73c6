"""ROUGE-1, ROUGE-2 and ROUGE-L of Google's rouge-score, and the ROUGE-L of COCO.

rouge-score takes the best F1 over the references; COCO takes the best precision and the best recall, perhaps of
different references, with beta 1.2. Source: Lin, "ROUGE: a package for automatic evaluation of summaries" (2004).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import SimpleNamespace

from dollhouse.evaluation.metrics.text.score import TextScore, import_extra

BETA = 1.2


def longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    A row of the usual table is one integer whose bits are 0 where the table rises (Hyyrö, "Bit-parallel LCS-length
    computation revisited", 2004).
    """
    places: dict[str, int] = {}
    for place, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << place
    every = (1 << len(a)) - 1
    row = every
    for word in b:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & every
    return len(a) - row.bit_count()


def _coco_rouge_l_of(words: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    # COCO counts an empty caption as one empty word.
    words = words or ("",)
    others = [other or ("",) for other in references]
    common = [longest_common(words, other) for other in others]
    precision = max(count / len(words) for count in common)
    recall = max(count / len(other) for count, other in zip(common, others, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def coco_rouge_l(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> TextScore:
    """Compute COCO's ROUGE-L of N tokenised captions, in [0, 1]."""
    return TextScore.mean_of(map(_coco_rouge_l_of, predictions, references))


def score_rouge(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, TextScore]:
    """Compute ``rouge_1``, ``rouge_2``, ``rouge_l``, and each with ``_stem``: the best F1 of the references."""
    scorer, tokenizers = (import_extra(f"rouge_score.{name}", "rouge-score") for name in ("rouge_scorer", "tokenizers"))
    kinds = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l"}
    scores: dict[str, TextScore] = {}
    for stem, ending in ((False, ""), (True, "_stem")):
        tokenize = lru_cache(1 << 15)(tokenizers.DefaultTokenizer(use_stemmer=stem).tokenize)  # references repeat
        rouge = scorer.RougeScorer(list(kinds), tokenizer=SimpleNamespace(tokenize=tokenize))
        rows: dict[str, list[float]] = {kind: [] for kind in kinds}
        for text, row in zip(predictions, references, strict=True):
            by_reference = [rouge.score(reference, text) for reference in row]
            for kind in kinds:
                rows[kind].append(max(score[kind].fmeasure for score in by_reference))
        scores |= {name + ending: TextScore.mean_of(rows[kind]) for kind, name in kinds.items()}
    return scores
