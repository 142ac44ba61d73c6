"""COCO's captioning scores without Java: BLEU-1 to 4, ROUGE-L and CIDEr.

Texts are split into PTB words in the order in which COCO's evaluation passes them to its tokenizer, which reads all
predictions as one file and all references as another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dollhouse.evaluation.metrics.text.bleu import coco_bleu
from dollhouse.evaluation.metrics.text.cider import cider
from dollhouse.evaluation.metrics.text.ptb import split_captions
from dollhouse.evaluation.metrics.text.rouge import coco_rouge_l
from dollhouse.evaluation.metrics.text.score import TextScore


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
