"""The ways in which programs read an answer, side by side, and the page of a benchmark."""

import json

import numpy as np
import pytest
from PIL import Image

from dollhouse.evaluation.benchmark_runner import run_benchmark, score_predictions
from dollhouse.evaluation.benchmarks import BENCHMARKS
from dollhouse.evaluation.benchmarks.answer_parsing import first_number
from dollhouse.evaluation.benchmarks.benchmark import Sample
from dollhouse.evaluation.benchmarks.summary import summarise
from dollhouse.records.types import TeacherAnswer


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("3", 3.0), ("about 2.5 m", 2.5), ("-2.5", -2.5), ("two", 2.0), ("Twenty-one boxes, 3 rooms", 21.0),
        ("three hundred and twenty-one", 321.0), ("two thousand", 2000.0), ("hundred", 100.0), ("room 2, one", 2.0),
        ("one apple, room 2", 1.0), ("one and the two", 1.0), ("b2", 2.0), ("", None), ("many", None),
    ],
)  # fmt: skip
def test_the_first_number(answer, number):
    assert first_number(answer) == number


def test_vsibench_is_read_in_three_ways():
    texts = {"4": (1, 1, 1), "about 4": (0, 1, 1), "four": (0, 1, 1), "4 of 9": (1, 1, 0), "many": (0, 0, 0)}
    samples = [Sample(str(n), f"s{n}", "object_counting", "?", ("4",), {"options": []}) for n in range(len(texts))]
    credits = BENCHMARKS["vsibench"].score(samples, list(texts)).credits
    assert list(credits) == ["official", "lmms_eval", "read"]
    assert list(zip(*(rows.tolist() for rows in credits.values()), strict=True)) == list(texts.values())


def test_3dsrbench_counts_rotations_and_mirrored_photos():
    right = {  # photo -> which of its variants are answered right
        "aaaaaaaa": {"": 1, "-1": 1, "-flip": 1, "-flip-1": 1},
        "bbbbbbbb": {"": 1, "-1": 0, "-flip": 1, "-flip-1": 0},
        "cccccccc": {"": 1, "-1": 1, "-flip": 0, "-flip-1": 1},
    }
    facts = {"choices": {"A": "yes", "B": "no"}}
    samples = [
        Sample(photo + variant, photo, "height_higher", "?", ("A",), facts)
        for photo in right
        for variant in right[photo]
    ]
    texts = ["A" if hit else "B" for variants in right.values() for hit in variants.values()]
    found = summarise(BENCHMARKS["3dsrbench"].score(samples, texts))
    assert found["scores"]["vanilla"]["value"] == 9 / 12
    assert found["scores"]["flip"] == {"value": 4 / 6, "n": 6}
    assert found["overall"]["value"] == 3 / 6
    assert found["scores"]["circular_flip"] == {"value": 1 / 3, "n": 3}


class Parrot:
    """Says "chair" to everything."""

    def provenance(self):
        return {"teacher": "parrot", "name": "<parrot>"}

    def answer(self, scene, questions):
        return [TeacherAnswer("chair") for _ in questions]


@pytest.fixture
def annotations(tmp_path):
    rows = [
        {"question_id": f"q{n}", "scene_id": f"s{n % 3}", "question": ("What is it?", "Where is it?")[n % 2],
         "answers": ["<chair>" if n % 4 else "lamp", "chair" if n % 4 else "light"]}
        for n in range(12)
    ]  # fmt: skip
    (tmp_path / "val.json").write_text(json.dumps(rows))
    for scene in range(3):
        (tmp_path / "scans" / f"s{scene}").mkdir(parents=True)
        for number in range(2):
            picture = Image.fromarray(np.full((30, 40, 3), 80 * scene + number, np.uint8))
            picture.save(tmp_path / "scans" / f"s{scene}" / f"{number}.png")
    return tmp_path / "val.json"


def test_the_page_of_a_benchmark_shows_what_went_right_and_wrong(annotations, tmp_path):
    out = tmp_path / "out"
    run_benchmark(BENCHMARKS["scanqa"], Parrot(), tmp_path / "scans", [annotations], out=out, progress=False)
    page = (out / "report.html").read_text(encoding="utf-8")
    successes, failures = page.split("<h2>Failures</h2>")
    assert successes.count('<li class="right">') == 9
    assert failures.count('<li class="wrong">') == 3
    assert page.count("data:image/jpeg;base64,") == 12
    assert 'src="http' not in page
    assert "&lt;parrot&gt;" in page
    assert "&lt;chair&gt;" in page
    assert "<chair>" not in page
    assert "Only 3 scenes" in page
    assert json.loads((out / "report.json").read_text(encoding="utf-8"))["model"]["lineage"] == "unknown"


def test_the_page_of_predictions_made_elsewhere_has_no_pictures(annotations, tmp_path):
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps([{"id": f"q{n}", "prediction": ""} for n in range(12)]))
    score_predictions(BENCHMARKS["scanqa"], path, [annotations], out=tmp_path / "out", progress=False)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<h2>Successes</h2>" not in page
    assert page.count("(nothing)") == 12
    assert "<img" not in page
