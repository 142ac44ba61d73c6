"""The benchmark on photos of real rooms: normalised answers, refused rows, controls worked out by hand, a run."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import calibrate_answers
from dollhouse.errors import QuestionError, SceneError, ScoreError, TeacherError
from dollhouse.evaluation.benchmark_runner import run_benchmark
from dollhouse.evaluation.benchmarks import BENCHMARKS
from dollhouse.evaluation.benchmarks.real_photos import canonical, choices_of, control_metrics
from dollhouse.evaluation.metrics.calibration import calibrate
from dollhouse.evaluation.verify import verify_report
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.inference.session import calibrated_confidence
from dollhouse.models.dollhouse.configuration import DollhouseConfig
from dollhouse.records.types import TeacherAnswer
from dollhouse.scenes.open import open_scene
from dollhouse.teachers.protocol import Teacher
from dollhouse.teachers.registry import open_teacher

BENCHMARK = BENCHMARKS["realphotos"]
ROW = {"scene": "a", "id": "a#0", "family": "existence", "question": "is there a sofa?", "answer": "no"}


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [path]


def row(number, scene, family, question, *accepted):
    return {"scene": scene, "id": f"{scene}#{number}", "family": family, "question": question,
            "answer": accepted[0], "accept": list(accepted)}  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        ("The Couch.", "sofa"),
        ("two", "2"),
        ("None", "0"),
        ("Gray", "grey"),
        ("a refrigerator", "fridge"),
        ("TV", "television"),
        ("bookcases", "bookshelf"),
        ("left", "left"),
        ("dark brown", "dark brown"),
    ],
)
def test_normalised_answers(answer, same):
    assert canonical(answer) == same


@pytest.mark.parametrize(
    ("question", "accepted", "choices"),
    [
        ("is there a sofa?", "no", ("yes", "no")),
        ("in view 2, is the lamp to the left or right of the bed?", "left", ("left", "right")),
        ("which is closer to the camera, the TV or the refrigerator?", "television", ("television", "fridge")),
        ("what is the lamp on?", "table", ()),
        ("how many chairs are there?", "2", ()),
        ("is the lamp red or blue?", "blue", ()),
    ],
)
def test_choices(question, accepted, choices):
    assert choices_of(question, [accepted]) == choices


@pytest.mark.parametrize(
    ("answer", "right"),
    [("the lamp and a couch", True), ("lamp, vase", False), ("sofa", True), ("", False), ("and", False)],
)
def test_every_item_of_a_list_must_be_accepted(answer, right, tmp_path):
    files = written(tmp_path / "q.jsonl", [row(0, "a", "open", "what is next to the table?", "lamp", "sofa")])
    assert bool(BENCHMARK.score(BENCHMARK.samples(files), [answer]).credits["accuracy"][0]) is right


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": " "}, "row 1: the question is empty"),
        ({"accept": []}, "accept must be a list of texts"),
        ({"accept": ["no", "the"]}, "'the' holds no word"),
        ({"family": 3}, "'family' is 3"),
        ({"scene": None}, "'scene' is None"),
    ],
)
def test_refused_rows(change, message, tmp_path):
    with pytest.raises(QuestionError, match=message):
        BENCHMARK.samples(written(tmp_path / "q.jsonl", [ROW | {"accept": ["no"]} | change]))


def test_a_row_without_accepted_answers_is_refused(tmp_path):
    with pytest.raises(QuestionError, match="has no 'accept'"):
        BENCHMARK.samples(written(tmp_path / "q.jsonl", [ROW]))


def test_the_shipped_questions():
    samples = BENCHMARK.samples(())
    assert len(samples) == 785
    assert len({sample.scene for sample in samples}) == 76
    chosen = [sample for sample in samples if sample.kind in ("existence", "orientation", "proximity", "size")]
    assert all(len(sample.facts["choices"]) == 2 for sample in chosen)


def test_controls(tmp_path):
    questions = [
        row(0, "a", "existence", "is there a bed?", "yes"),
        row(1, "a", "attribute", "what colour is it?", "white", "grey"),
        row(0, "b", "existence", "is there a rug?", "no"),
        row(1, "b", "attribute", "what colour is it?", "gray"),
        row(0, "c", "existence", "is there a cat?", "no"),
        row(1, "c", "attribute", "what colour is it?", "red"),
    ]
    samples = BENCHMARK.samples(written(tmp_path / "q.jsonl", questions))
    answers, blind = ["yes", "grey", "yes", "grey", "no", "red"], ["no", "red"] * 3
    rows = [
        BENCHMARK.row_of(sample, text, "", None) | {"blind_prediction": other, "confidence": 0.9}
        for sample, text, other in zip(samples, answers, blind, strict=True)
    ]
    found = control_metrics(rows, 0)
    assert found["majority_answers"] == {"existence": "no", "attribute": "grey"}
    values = {name: control["overall"]["value"] for name, control in found["controls"].items()}
    assert values == {"majority": 4 / 6, "chance": 1.5 / 6, "blind": 3 / 6}
    assert found["controls"]["chance"]["kinds"]["attribute"] == {"value": 0.0, "n": 3}
    paired = found["over_blind"]["overall"]
    assert paired["value"] == pytest.approx(2 / 6)
    assert paired["ci95"] == [0.0, 1.0]  # scenes a, b and c differ by 2, 0 and 0 of 2


def test_calibration_divides_log_odds():
    assert calibrated_confidence(0.8, 2.0) == pytest.approx(2 / 3)  # odds 4 become 2
    assert calibrated_confidence(1.0, 8.0) == 1.0
    scenes = [f"s{n:03}" for n in range(400)]
    confidences = [16 / 17 if n % 8 < 4 else 0.6 for n in range(400)]  # half of them at odds 16
    correct = [n // 8 % 5 > 0 if n % 8 < 4 else n // 8 % 3 == 0 for n in range(400)]  # four of five right, one of three
    found = calibrate(scenes, confidences, correct)
    assert found["temperature"] > 1.5
    lower, higher = (calibrated_confidence(p, found["temperature"]) for p in (0.6, 16 / 17))
    assert found["threshold"] == pytest.approx(0.5 * (lower + higher), abs=1e-4)
    assert found["held_out"]["below"]["n"] == 100
    assert found["held_out"]["above"]["value"] == pytest.approx(0.8)
    assert calibrate(scenes, [None, *confidences[1:]], correct) is None


class Counter(Teacher):
    """A teacher that answers with the number of photos."""

    def provenance(self):
        return {"teacher": "counter", "settings": {}}

    def answer(self, scene, questions):
        return [TeacherAnswer(str(len(scene.views))) for _ in questions]


def saved_rooms(folder):
    """Save views of a procedural room as a photo and as a folder of three photos."""
    views = open_scene("rooms:test/3").views
    (folder / "photos").mkdir(parents=True)
    (folder / "rooms" / "three").mkdir(parents=True)
    Image.fromarray(views[0].image).save(folder / "photos" / "single.jpg")
    for number, view in enumerate(views[:3], 1):
        Image.fromarray(view.image).save(folder / "rooms" / "three" / f"{number}.jpg")


def test_a_teacher_gets_all_photos_of_a_scene(tmp_path):
    saved_rooms(tmp_path)
    text = "how many photos are there?"
    questions = [row(0, "single", "counting", text, "1"), row(0, "three", "counting", text, "3")]
    files = written(tmp_path / "q.jsonl", questions)
    found = run_benchmark(BENCHMARK, Counter(), tmp_path, files, out=tmp_path / "out", progress=False)
    assert found.scores["overall"]["value"] == 1.0
    assert found.scores["more"]["over_blind"] is None
    assert verify_report(tmp_path / "out").agrees
    with pytest.raises(SceneError, match=r"no .*other; fetch photos/<scene>.jpg"):
        run_benchmark(
            BENCHMARK, Counter(), tmp_path, written(files[0], [row(0, "other", "counting", text, "1")]), progress=False
        )


def test_the_student_and_its_blind_control_answer(tmp_path):
    saved_rooms(tmp_path)
    files = written(tmp_path / "q.jsonl", [row(n, "three", "existence", "is there a table?", "yes") for n in range(2)])
    found = run_benchmark(BENCHMARK, "checkpoint", tmp_path, files, out=tmp_path / "out", progress=False)
    assert {"blind", "chance", "majority"} == set(found.scores["more"]["controls"])
    assert all(0 < line["confidence"] <= 1 and line["blind_prediction"] for line in found.rows)
    assert np.isfinite(found.scores["more"]["over_blind"]["overall"]["value"])
    assert verify_report(tmp_path / "out").agrees
    assert "majority" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    lines = (tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    changed = json.loads(lines[0]) | {"blind_prediction": "maybe"}
    (tmp_path / "out" / "predictions.jsonl").write_text("\n".join([json.dumps(changed), lines[1]]) + "\n")
    assert not verify_report(tmp_path / "out").agrees


def test_a_calibrated_student_is_unsure_below_its_threshold():
    pipeline = DollhousePipeline.from_pretrained()
    pipeline.model.config.answer_temperature, pipeline.model.config.min_confidence = 1.0, 0.0
    question = ["Is there a table?"]
    session = pipeline.encode_scene("rooms:test/3", views=1)
    plain = session.answer(question)[0]
    assert not plain.unsure
    pipeline.model.config.answer_temperature, pipeline.model.config.min_confidence = 4.0, 0.999
    found = session.answer(question)[0]
    assert found.text == plain.text
    assert found.unsure
    assert found.confidence == calibrated_confidence(plain.confidence, 4.0)
    with pytest.raises(ValueError, match="answer_temperature is 0"):
        DollhouseConfig(answer_temperature=0)


def test_calibration_is_stored_in_the_model(tmp_path, monkeypatch):
    report = {"model": {"answer_temperature": 2.0}, "scores": {"more": {"calibration": None}}}
    monkeypatch.setattr(calibrate_answers, "read_report", lambda path: (report, path))
    monkeypatch.setattr("sys.argv", ["", "report.json", str(tmp_path)])
    (tmp_path / "config.json").write_text(json.dumps({"answer_temperature": 2.0, "labels": ["bed"]}))
    with pytest.raises(ScoreError, match="holds no calibration"):
        calibrate_answers.main()
    report["scores"]["more"]["calibration"] = {"temperature": 1.5, "threshold": 0.4}
    for _ in range(2):
        calibrate_answers.main()
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored == {"answer_temperature": 3.0, "min_confidence": 0.4, "labels": ["bed"]}


def test_a_teacher_of_your_own_is_named_by_its_module():
    teacher = open_teacher("tests.evaluation.test_real_photos:Counter")
    assert teacher.provenance()["teacher"] == "counter"
    with pytest.raises(TeacherError, match="settings given: size"):
        open_teacher("tests.evaluation.test_real_photos:Counter", {"size": "2"})
