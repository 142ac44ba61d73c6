"""Pairs of texts scored by the reference programs themselves, for `DOLLHOUSE_TEXT_PAIRS`.

    pip install pycocoevalcap        # needs Java; its tokenizer is the Java program that ours is measured against
    python benchmarks/make_text_pairs.py ScanQA_v1.0_val.json --rows 400 --out pairs/
    DOLLHOUSE_TEXT_PAIRS=pairs/ python -m pytest tests/evaluation/test_text_pairs.py

Takes every text in the given JSON files and corrupts it: words left out, put in, put elsewhere, numbers, contractions,
punctuation. Scores come from sacrebleu, rouge-score, nltk and pycocoevalcap; nothing of Dollhouse is used.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sacrebleu
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu, sentence_bleu
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
from rouge_score.rouge_scorer import RougeScorer

ODD = """it's don't U.S. 3.5 1,000 (left) "quoted" wall-mounted TV/monitor 5% $3 o'clock ... -- A chairs running sofas,
couch; etc."""
SMOOTH = SmoothingFunction().method1
ROUGES = ("rouge1", "rouge2", "rougeL")

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("texts", type=Path, nargs="+", help="JSON files, such as the annotations of ScanQA and SQA3D")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    texts = sorted({text for path in options.texts for text in strings(json.loads(path.read_text("utf-8")))})
    rows = make_rows(texts, options.rows, random.Random(options.seed))
    groups, of_rows = scored(rows)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "text_pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    stored = {"groups": groups, "rows": [{"id": row["id"], **of_rows[row["id"]]} for row in rows]}
    (options.out / "text_pairs_scores.json").write_text(json.dumps(stored), encoding="utf-8")
    print(f"{len(rows)} pairs in {options.out}")


def strings(value: Any) -> Iterator[str]:
    """Yield every text with more than a letter in a JSON value."""
    if isinstance(value, str):
        if re.search("[A-Za-z]{2}", value):
            yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


def make_rows(texts: Sequence[str], count: int, draw: random.Random) -> list[Row]:
    """Corrupt texts to predictions, with one to three references, some corrupted too."""
    words = [word for text in texts for word in text.split()] + 20 * ODD.split()

    def corrupted(text: str) -> str:
        tokens = text.split()
        for _ in range(draw.randint(0, 3)):
            change = draw.random()
            if change < 0.3 and len(tokens) > 1:
                tokens.pop(draw.randrange(len(tokens)))
            elif change < 0.7:
                tokens.insert(draw.randint(0, len(tokens)), draw.choice(words))
            else:
                draw.shuffle(tokens)
        return " ".join(tokens).capitalize() + draw.choice(".!?") if draw.random() < 0.4 else " ".join(tokens)

    rows = []
    for number in range(count):
        text = draw.choice(texts)
        references = [text, *(corrupted(text) for _ in range(draw.randint(0, 2)))]
        source = "short" if len(text.split()) < 5 else "long"
        rows.append({"id": str(number), "references": references, "prediction": corrupted(text), "source": source})
    return rows


def scored(rows: Sequence[Row]) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Scores of the groups, and of each row (CIDEr with the whole set's counts)."""
    groups = {}
    for name in ("all", *sorted({row["source"] for row in rows})):
        chosen = [row for row in rows if name in ("all", row["source"])]
        predictions, most = [row["prediction"] for row in chosen], max(len(row["references"]) for row in chosen)
        columns = [
            [row["references"][n] if n < len(row["references"]) else None for row in chosen] for n in range(most)
        ]
        coco, rows_of_coco = coco_scores(chosen)
        groups[name] = coco | {
            "n": len(chosen),
            "sacrebleu_corpus": sacrebleu.corpus_bleu(predictions, columns).score,
            "sacrebleu_corpus_lc": sacrebleu.corpus_bleu(predictions, columns, lowercase=True).score,
            "chrf_corpus": sacrebleu.corpus_chrf(predictions, columns).score,
            "nltk_corpus_bleu4": corpus_bleu(
                [list(map(nltk_words, row["references"])) for row in chosen], list(map(nltk_words, predictions))
            ),
        }
        if name == "all":
            of_rows = rows_of_coco
    plain, stems = RougeScorer(ROUGES), RougeScorer(ROUGES, use_stemmer=True)
    for row in rows:
        prediction, references = row["prediction"], row["references"]
        words, answers = nltk_words(prediction), list(map(nltk_words, references))
        of_rows[row["id"]] |= {
            "sacrebleu_sent": sacrebleu.sentence_bleu(prediction, references).score,
            "sacrebleu_sent_lc": sacrebleu.sentence_bleu(prediction, references, lowercase=True).score,
            "chrf": sacrebleu.sentence_chrf(prediction, references).score,
            "nltk_bleu1": sentence_bleu(answers, words, weights=(1,), smoothing_function=SMOOTH),
            "nltk_bleu4_m1": sentence_bleu(answers, words, smoothing_function=SMOOTH),
        }
        for scorer, ending in ((plain, ""), (stems, "_stem")):
            of_rows[row["id"]] |= {
                name + ending: max(scorer.score(reference, prediction)[name].fmeasure for reference in references)
                for name in ROUGES
            }
    return groups, of_rows


def coco_scores(rows: Sequence[Row]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    tokenizer = PTBTokenizer()
    truth = tokenizer.tokenize({row["id"]: [{"caption": reference} for reference in row["references"]] for row in rows})
    predicted = tokenizer.tokenize({row["id"]: [{"caption": row["prediction"]}] for row in rows})
    bleu, bleu_rows = Bleu(4).compute_score(truth, predicted, verbose=0)
    rouge, rouge_rows = Rouge().compute_score(truth, predicted)
    cider, cider_rows = Cider().compute_score(truth, predicted)
    values = {f"coco_Bleu_{n}": bleu[n - 1] for n in range(1, 5)}
    values |= {"coco_ROUGE_L": float(rouge), "coco_CIDEr": float(cider)}
    of_rows = {
        id: {f"coco_Bleu_{n}": bleu_rows[n - 1][place] for n in range(1, 5)}
        | {"coco_ROUGE_L": float(rouge_rows[place]), "coco_CIDEr": float(cider_rows[place])}
        for place, id in enumerate(truth)
    }
    return values, of_rows


def nltk_words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text.lower())


if __name__ == "__main__":
    main()
