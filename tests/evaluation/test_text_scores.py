"""Text scores against golden numbers of the official evaluations, plain references and hand-made cases."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from dollhouse.errors import ScoreError
from dollhouse.evaluation.metrics.text import CORE, SCORERS, score_texts
from dollhouse.evaluation.metrics.text.bleu import coco_bleu
from dollhouse.evaluation.metrics.text.chrf import score_chrf
from dollhouse.evaluation.metrics.text.cider import cider
from dollhouse.evaluation.metrics.text.exact_match import (
    clean_answer,
    exact_match,
    official_means,
    refined_match,
    score_exact_match,
    strict_match,
)
from dollhouse.evaluation.metrics.text.meteor import NoWordNet, installed_wordnet, score_meteor
from dollhouse.evaluation.metrics.text.rouge import coco_rouge_l, longest_common
from dollhouse.evaluation.metrics.text.score import import_extra

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "l3d_eval_text.json").read_text(encoding="utf-8"))
EXTRAS = [name for name, scorer in SCORERS.items() if scorer.packages]


@pytest.mark.parametrize(("answer", "cleaned"), GOLDEN["clean_answer"])
def test_cleaning(answer, cleaned):
    assert clean_answer(answer) == cleaned


@pytest.mark.parametrize(("prediction", "references", "expected"), GOLDEN["answer_match"])
def test_matching(prediction, references, expected):
    assert [exact_match(prediction, references), refined_match(prediction, references)] == [bool(e) for e in expected]


def test_an_empty_answer_earns_nothing_when_strict():
    scores = score_exact_match(
        ["", " .", "a", "left side", "sofa"], [["left"], ["left"], ["a"], ["left"], ["", "sofa"]]
    )
    assert scores["em_refined"].rows.tolist() == [1, 1, 1, 1, 1]
    assert scores["em_refined_strict"].rows.tolist() == [0, 0, 1, 1, 1]
    assert not strict_match("", [""])
    assert not strict_match("sofa", [""])


def test_plain_exact_match_does_not_clean():
    scores = score_exact_match(["The Sofa. ", "2"], [["the sofa"], ["two"]])
    assert scores["em_plain"].rows.tolist() == [1, 0]
    assert scores["em"].rows.tolist() == [1, 1]


def test_scanqa_scores():
    items = GOLDEN["scanqa"]["items"]
    predictions = [clean_answer(item["pred"]) for item in items]
    references = [[clean_answer(answer) for answer in item["gts"]] for item in items]
    scores = score_texts(predictions, references)
    names = {"EM1": "em", "EM1_refined": "em_refined", "ROUGE_L": "coco_rouge_l", "CIDEr": "coco_cider"}
    names |= {f"Bleu_{n}": f"coco_bleu_{n}" for n in range(1, 5)}
    for name, ours in names.items():
        assert scores[ours].value == pytest.approx(GOLDEN["scanqa"]["scores"][f"[scanqa] {name}"], abs=1e-9), name


def test_sqa3d_scores_bit_for_bit():
    golden = GOLDEN["sqa3d"]
    predictions = [item["pred"] for item in GOLDEN["scanqa"]["items"]]
    kinds = [answer["type"] for answer in golden["gts"]]
    scores = score_exact_match(predictions, [[answer["text"]] for answer in golden["gts"]])
    ours = {"EM1": scores["em"].value, "EM1_refined": scores["em_refined"].value}
    for name, score in (("EM_type", "em"), ("EM_refined_type", "em_refined")):
        ours |= {f"{name}{kind}": mean for kind, mean in enumerate(official_means(scores[score], kinds))}
    assert {f"[sqa3d] {name}": value for name, value in ours.items()} == golden["scores"]


def test_caption_scores_on_words():
    items, golden = GOLDEN["capeval"]["items"].values(), GOLDEN["capeval"]["scores"]
    words = [prediction.split() for (prediction,), _ in items]
    references = [[reference.split() for reference in row] for _, row in items]
    for score, value, rows in zip(coco_bleu(words, references), golden["bleu"], golden["bleu_each"], strict=True):
        assert score.value == pytest.approx(value, abs=1e-9)
        assert score.rows == pytest.approx(rows, abs=1e-9)
    for score, name in ((cider(words, references), "cider"), (coco_rouge_l(words, references), "rouge_l")):
        assert score.value == pytest.approx(golden[name], abs=1e-9)
        assert score.rows == pytest.approx(golden[f"{name}_each"], abs=1e-9)


def plain_longest_common(a, b):
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return 1 + plain_longest_common(a[:-1], b[:-1])
    return max(plain_longest_common(a[:-1], b), plain_longest_common(a, b[:-1]))


def test_longest_common_sequence_against_its_definition():
    generator = random.Random(0)
    for _ in range(200):
        a, b = (generator.choices("abc", k=generator.randint(0, 7)) for _ in range(2))
        assert longest_common(a, b) == plain_longest_common(a, b)


def test_empty_predictions():
    scores = score_texts(["", "a chair", "..."], [["a chair"], ["a chair"], ["a"]])
    for name in ("coco_bleu_1", "coco_rouge_l", "coco_cider", "chrf"):
        assert scores[name].rows[0] == pytest.approx(0.0, abs=1e-9), name
        assert np.isfinite(scores[name].rows).all()
    assert scores["coco_bleu_1"].rows[1] == pytest.approx(1.0)


def test_one_row_has_no_cider_because_nothing_is_rare():
    assert score_texts(["a chair"], [["a chair"]])["coco_cider"].value == 0.0


def test_chrf_against_sacrebleu():
    sacrebleu = pytest.importorskip("sacrebleu", reason="needs the extra 'evaluate'")
    generator = random.Random(1)

    def text():
        return "".join(generator.choices("abc  d.é", k=generator.choice([0, 0, 1, 2, 3, 5, 8, 20])))

    for _ in range(100):
        rows, count = generator.choice([1, 2, 10]), generator.choice([1, 2, 3])
        predictions, references = [text() for _ in range(rows)], [[text() for _ in range(count)] for _ in range(rows)]
        score = score_chrf(predictions, references)["chrf"]
        streams = [list(stream) for stream in zip(*references, strict=True)]
        assert score.value == pytest.approx(sacrebleu.CHRF().corpus_score(predictions, streams).score, abs=1e-9)
        for prediction, others, ours in zip(predictions, references, score.rows, strict=True):
            assert ours == pytest.approx(sacrebleu.CHRF().sentence_score(prediction, others).score, abs=1e-9)


def test_sacrebleu_of_the_corpus_is_the_library_s():
    sacrebleu = pytest.importorskip("sacrebleu", reason="needs the extra 'evaluate'")
    predictions = ["the cat sat on the mat", "A chair, near the 2 tables.", "no", ""]
    references = [
        ["the cat is on the mat", "a cat sat on a mat"],
        ["a chair near the two tables."],
        ["No", "none"],
        ["x"],
    ]
    streams = [[row[n] if n < len(row) else None for row in references] for n in range(2)]
    scores = score_texts(predictions, references, ["sacrebleu"])
    for name, lowercase in (("sacrebleu", False), ("sacrebleu_lc", True)):
        assert scores[name].value == sacrebleu.corpus_bleu(predictions, streams, lowercase=lowercase).score


def test_same_text_same_bits_in_any_order_of_scorers():
    pytest.importorskip("sacrebleu", reason="needs the extra 'evaluate'")
    predictions, references = ["The chair is red.", "2", "no"], [["a red chair", "red"], ["two"], ["yes"]]
    names = ("coco", "exact_match", "sacrebleu")
    first = score_texts(predictions, references, names)
    second = score_texts(predictions, references, (*names[::-1], names[0]))
    assert set(first) == set(second)
    for name, score in first.items():
        assert score.value == second[name].value
        assert score.rows.tobytes() == second[name].rows.tobytes()
        assert len(score.rows) == 3


def test_versions_name_what_numbers_rest_on():
    assert SCORERS["coco"].version == "coco:2"
    nltk = pytest.importorskip("nltk", reason="needs the extra 'evaluate'")
    assert SCORERS["meteor"].version.startswith(f"meteor:1|nltk:{nltk.__version__}|wordnet:")


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], "nothing to score"),
        (["a"], [["a"], ["b"]], "1 predictions but 2 lists"),
        (["a", "b"], [["a"], []], "row 1: references must be a list of one or more texts"),
        (["a"], ["a"], "row 0: references must be a list"),
        (["a"], [[None]], "row 0: references"),
        ([1], [["a"]], "row 0: the prediction is int"),
    ],
)
def test_rows_that_do_not_fit_are_named(predictions, references, message):
    with pytest.raises(ScoreError, match=message):
        score_texts(predictions, references)


def test_unknown_scorers_and_missing_packages_are_named():
    with pytest.raises(ScoreError, match=r"unknown text scorer 'spice'; there are exact_match"):
        score_texts(["a"], [["a"]], ["spice"])
    with pytest.raises(ScoreError, match=r"needs nothing-of-the-kind; install it with: pip install 'dollhouse\[eval"):
        import_extra("nothing_of_the_kind", "nothing-of-the-kind")
    assert not [name for name in CORE if SCORERS[name].packages]


def test_meteor_without_wordnet_has_another_name():
    pytest.importorskip("nltk", reason="needs the extra 'evaluate'")
    scores = score_meteor(["the chairs", "a couch"], [["chair"], ["a sofa"]], NoWordNet())
    assert list(scores) == ["meteor_exact_stem"]
    chairs, couch = scores["meteor_exact_stem"].rows
    assert chairs > 0  # by stem
    if not isinstance(installed_wordnet(), NoWordNet):
        assert score_meteor(["the chairs", "a couch"], [["chair"], ["a sofa"]])["meteor"].rows[1] > couch  # by synonym
