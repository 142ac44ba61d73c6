"""Every text score against stored numbers of the reference programs.

The pairs are found in the folder that ``DOLLHOUSE_TEXT_PAIRS`` names (default: ``shared/data`` beside the repository):
``text_pairs.jsonl`` with ``text_pairs_scores.json``, and any ``sqa3d_*pred_gt.txt``. Nothing here knows which pairs.
"""

import ast
import json
import math
import os
import re
from pathlib import Path

import pytest

from dollhouse.evaluation.metrics.text import SCORERS, score_texts
from dollhouse.evaluation.metrics.text.exact_match import exact_match, refined_match
from dollhouse.evaluation.metrics.text.meteor import NoWordNet, installed_wordnet
from dollhouse.evaluation.metrics.text.score import TextScore

for package in ("sacrebleu", "rouge_score", "nltk"):
    pytest.importorskip(package, reason="the reference scores need the extra 'evaluate'")

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FOLDER = Path(os.environ.get("DOLLHOUSE_TEXT_PAIRS") or SHARED)
#: name in the file -> ours; of rows, and with "mean_" before it of a group's rows
ROWS = {
    "sacrebleu_sent": "sacrebleu",
    "sacrebleu_sent_lc": "sacrebleu_lc",
    "chrf": "chrf",
    "rouge1": "rouge_1",
    "rouge2": "rouge_2",
    "rougeL": "rouge_l",
    "rouge1_stem": "rouge_1_stem",
    "rouge2_stem": "rouge_2_stem",
    "rougeL_stem": "rouge_l_stem",
    "nltk_bleu1": "nltk_bleu_1",
    "nltk_bleu4_m1": "nltk_bleu_4",
    "nltk_meteor": "meteor",
    "coco_ROUGE_L": "coco_rouge_l",
    "coco_CIDEr": "coco_cider",
} | {f"coco_Bleu_{n}": f"coco_bleu_{n}" for n in range(1, 5)}
#: name in the file -> ours, over a whole group
GROUPS = {
    "sacrebleu_corpus": "sacrebleu",
    "sacrebleu_corpus_lc": "sacrebleu_lc",
    "chrf_corpus": "chrf",
    "nltk_corpus_bleu4": "nltk_bleu_4",
    "coco_ROUGE_L": "coco_rouge_l",
    "coco_CIDEr": "coco_cider",
    "exact_match_raw": "em_plain",
} | {f"coco_Bleu_{n}": f"coco_bleu_{n}" for n in range(1, 5)}
#: METEOR 1.5 needs Java and a paraphrase table; cleaned predictions are tested by themselves
NOT_OURS = {"n", "coco_METEOR", "coco_METEOR_1.5", "mean_coco_METEOR", "EM1_clean"}
PERCENT = {"sacrebleu", "sacrebleu_lc", "chrf"}  #: from 0 to 100, stored with two digits less

WITH_WORDNET = not isinstance(installed_wordnet(), NoWordNet)


def close(name: str, ours: float, stored: float) -> bool:
    return abs(ours - stored) <= (1e-4 if name in PERCENT else 1e-6)


@pytest.fixture(scope="module")
def pairs():
    path = FOLDER / "text_pairs.jsonl"
    if not path.is_file():
        pytest.skip(f"no text_pairs.jsonl in {FOLDER}; DOLLHOUSE_TEXT_PAIRS may name another folder")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return rows, json.loads((FOLDER / "text_pairs_scores.json").read_text(encoding="utf-8"))


def scores_of(rows) -> dict[str, TextScore]:
    return score_texts([row["prediction"] for row in rows], [row["references"] for row in rows], tuple(SCORERS))


@pytest.fixture(scope="module")
def all_scores(pairs):
    return scores_of(pairs[0])


def test_every_row(pairs, all_scores):
    rows, stored = pairs
    assert [row["id"] for row in stored["rows"]] == [row["id"] for row in rows]
    wrong = []
    for number, row in enumerate(stored["rows"]):
        for key, value in row.items():
            if key == "id" or key in NOT_OURS or (ROWS[key] == "meteor" and not WITH_WORDNET):
                continue
            ours = float(all_scores[ROWS[key]].rows[number])
            if not close(ROWS[key], ours, value):
                wrong.append((row["id"], key, ours, value))
    assert not wrong, f"{len(wrong)} differ, first {wrong[0]}"


def test_every_group(pairs, all_scores):
    rows, stored = pairs
    assert len(stored["groups"]) > 1
    wrong = []
    for group, values in stored["groups"].items():
        members = [number for number, row in enumerate(rows) if group in ("all", row["source"])]
        assert len(members) == values["n"]
        scores = all_scores if group == "all" else scores_of([rows[number] for number in members])
        for key, value in values.items():
            if key in NOT_OURS or (key == "mean_nltk_meteor" and not WITH_WORDNET):
                continue
            if key in GROUPS:
                name = GROUPS[key]
                ours = scores[name].value
            else:
                name = ROWS[key.removeprefix("mean_")]
                ours = math.fsum(all_scores[name].rows[members]) / len(members)
            if not close(name, ours, value):
                wrong.append((group, key, ours, value))
    assert not wrong, f"{len(wrong)} differ, first {wrong[0]}"


def test_meteor_was_compared(all_scores):
    if not WITH_WORDNET:
        assert "meteor_exact_stem" in all_scores
        pytest.skip("NLTK's WordNet is not installed, so METEOR has no synonyms and another name")
    assert "meteor" in all_scores


def test_cleaned_predictions(pairs):
    rows, stored = pairs
    for group, values in stored["groups"].items():
        if "EM1_clean" in values:
            members = [row for row in rows if group in ("all", row["source"]) and "prediction_clean" in row]
            scores = scores_of_exact(members)
            assert close("em", scores["em"].value, values["EM1_clean"]), group


def scores_of_exact(rows) -> dict[str, TextScore]:
    return score_texts([row["prediction"] for row in rows], [row["references"] for row in rows], ["exact_match"])


def test_stored_predictions_of_llava_3d_give_the_published_figures():
    files = sorted(FOLDER.glob("sqa3d_*pred_gt.txt"))
    if not files:
        pytest.skip(f"no sqa3d_*pred_gt.txt in {FOLDER}")
    for path in files:
        lines = path.read_text(encoding="utf-8").splitlines()
        pairs = [
            match.groups() for line in lines if (match := re.fullmatch(r"pred_answer: (.*) gt_answers: (.*)", line))
        ]
        published = ast.literal_eval(lines[-1])
        assert len(pairs) > 100
        em = TextScore.mean_of(exact_match(prediction, [truth]) for prediction, truth in pairs)
        refined = TextScore.mean_of(refined_match(prediction, [truth]) for prediction, truth in pairs)
        assert em.value == published["[sqa3d] EM1"], path
        assert refined.value == published["[sqa3d] EM1_refined"], path
