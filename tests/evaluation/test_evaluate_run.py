import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from dollhouse.errors import ModelError, SceneError, StorageError
from dollhouse.evaluation.evaluate import evaluate
from dollhouse.evaluation.report.gallery import Gallery
from dollhouse.evaluation.verify import verify_report
from dollhouse.models.model_folder import NEEDED
from dollhouse.scenes.labels import LabelMap

from .fake_models import QUESTIONS, Oracle, made_scene
from .test_report_pages import Page


@pytest.fixture(scope="module")
def run(scenes, tmp_path_factory):
    """The oracle beside a guesser, evaluated once for several tests."""
    folder = tmp_path_factory.mktemp("run")
    guesser = Oracle(scenes, model_id="<b>guesser</b>", guess=random.Random(0))
    report = evaluate(
        Oracle(scenes),
        scenes,
        blind=guesser,
        questions_per_scene=QUESTIONS,
        out=folder,
        progress=False,
        commit="abc123",
        command="dollhouse evaluate <x>",
    )
    return report, folder


def test_the_oracle_is_right_about_everything_and_the_guesser_near_chance(run):
    metrics = json.loads((run[1] / "metrics.json").read_text())
    assert metrics["overall"]["accuracy"] == 1.0
    assert metrics["overall"]["ci95"] == [1.0, 1.0]
    assert metrics["boxes"]["map_25"] == metrics["boxes"]["map_50"] == metrics["boxes"]["recall_50"] == 1.0
    assert metrics["depth"]["abs_rel"] == 0.0
    assert metrics["depth"]["delta_1"] == 1.0
    n, blind, chance = metrics["overall"]["n"], metrics["blind"]["overall"]["accuracy"], metrics["chance"]["overall"]
    assert n >= 60
    assert abs(blind - chance) < 3.5 * np.sqrt(chance * (1 - chance) / n)


def test_what_is_written(run):
    report, folder = run
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == report.metrics
    assert sorted(path.name for path in folder.iterdir()) == [
        "metrics.json", "perception.jsonl", "predictions.jsonl", "report.html", "report.json",
    ]  # fmt: skip
    assert set(metrics) >= {"families", "overall", "blind", "chance", "depth", "boxes", "model", "scenes", "seed"}
    assert set(metrics["families"]) <= {"proximity", "contact", "size", "orientation"}
    assert metrics["blind"]["families"].keys() == metrics["families"].keys() == metrics["chance"]["families"].keys()
    for entry in metrics["families"].values():
        assert set(entry) == {"accuracy", "n", "ci95"}
    assert metrics["depth"]["alignment"] == "none"
    assert metrics["threads"] == torch.get_num_threads()
    assert len(metrics["questions"]["sha256"]) == 64
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert lines == report.predictions
    assert len(lines) == metrics["questions"]["n"]
    assert set(lines[0]) == {
        "scene", "id", "family", "form", "question", "choices", "answer", "prediction", "confidence",
        "blind_prediction", "correct", "distance", "objects",
    }  # fmt: skip


def test_the_page_stands_alone_and_escapes(run):
    text = (run[1] / "report.html").read_text()
    page = Page(text)
    pictures = [link for link in page.links if not link.startswith("#")]
    assert len(pictures) == 16  # eight scenes, two pictures each
    assert all(link.startswith("data:image/png;base64,") for link in pictures)
    assert len(text) < 8e6
    assert "<b>guesser" not in text
    assert "&lt;b&gt;guesser" in text
    assert "evaluate &lt;x&gt;" in text
    assert "abc123" in text


def test_the_same_run_finds_the_same(run, scenes):
    again = evaluate(Oracle(scenes), scenes, questions_per_scene=QUESTIONS, progress=False)
    assert again.folder is None
    assert again.metrics["questions"] == run[0].metrics["questions"]
    assert again.metrics["families"] == run[0].metrics["families"]


def test_scenes_may_be_named(scenes, monkeypatch):
    monkeypatch.setattr(
        "dollhouse.evaluation.evaluate.open_scenes", lambda name, **_: {"rooms:test/0-1": scenes[:2]}[name]
    )
    report = evaluate(Oracle(scenes[:2]), "rooms:test/0-1", questions_per_scene=QUESTIONS, progress=True)
    assert report.metrics["scenes"] == {"source": "rooms:test/0-1", "n": 2}
    assert report.metrics["overall"]["accuracy"] == 1.0


def test_parts_that_scenes_lack_are_left_out_and_said(scenes, tmp_path):
    bare = replace(
        scenes[0],
        boxes=None,
        views=tuple(replace(view, open_depth=None, world_from_camera=None) for view in scenes[0].views),
    )
    metrics = evaluate(Oracle([bare]), [bare], out=tmp_path, progress=False).metrics
    assert metrics["left_out"] == {"questions": {"no boxes": 1}, "depth": {"no depth": 1}, "boxes": {"no boxes": 1}}
    assert metrics["overall"] is metrics["depth"] is metrics["boxes"] is None
    assert "No scene had depth" in (tmp_path / "report.html").read_text()


class LabelledOracle(Oracle):
    """Predicts the true boxes with its own labels, and takes objects that it has no label for to be chairs."""

    labels = ("chair", "sofa", "table")

    def encode_scene(self, scene):
        session, label_of = super().encode_scene(scene), LabelMap(self.labels).map
        return replace(
            session, boxes=tuple(replace(box, label=label_of(box.label) or "chair") for box in session.boxes)
        )


def test_true_boxes_are_compared_by_the_labels_of_the_model(tmp_path):
    labels = ["Couches", "office chair", "whiteboard", "whiteboards", "dining table", "wall", "40"]
    foreign = made_scene(3)
    foreign = replace(
        foreign, boxes=tuple(replace(box, label=label) for box, label in zip(foreign.boxes, labels, strict=True))
    )
    metrics = evaluate(
        LabelledOracle([foreign]), [foreign], questions_per_scene=QUESTIONS, out=tmp_path, progress=False
    ).metrics
    classes = metrics["boxes"]["classes"]
    assert set(classes) <= {"chair", "sofa", "table"}
    assert metrics["boxes"]["n"] == sum(entry["n"] for entry in classes.values()) >= 2
    assert {name: entry["ap_50"] for name, entry in classes.items() if name != "chair"} == {
        name: 1.0 for name in classes if name != "chair"
    }
    assert metrics["ignored_labels"] == {"whiteboard": 2, "40": 1}
    assert "no label for some true objects" in (tmp_path / "report.html").read_text()
    (row,) = map(json.loads, (tmp_path / "perception.jsonl").read_text().splitlines())
    assert sorted(box["label"] for box in row["boxes"]["unlabelled"]) == ["40", "whiteboard", "whiteboards"]
    assert verify_report(tmp_path).agrees
    raw = evaluate(Oracle([foreign]), [foreign], questions_per_scene=QUESTIONS, progress=False).metrics
    assert raw["boxes"]["map_50"] == 1.0, "a model with any labels"
    assert raw["ignored_labels"] == {"40": 1}


def test_scenes_without_metres_are_compared_after_scaling(scenes):
    loose = replace(scenes[0], metric=False)
    metrics = evaluate(Oracle([loose], depth_factor=3.0), [loose], progress=False).metrics
    assert metrics["depth"]["alignment"] == "median"
    assert metrics["depth"]["abs_rel"] < 1e-6
    assert metrics["left_out"]["boxes"] == {"not in metres": 1}
    spoilt = evaluate(Oracle(scenes[:2], depth_factor=1.1), scenes[:2], questions_per_scene=QUESTIONS, progress=False)
    assert spoilt.metrics["depth"]["abs_rel"] == pytest.approx(0.1, abs=1e-6)


def test_objects_that_cannot_be_judged_visible(scenes):
    blind = replace(
        scenes[0], views=tuple(replace(view, open_depth=None, open_instances=None) for view in scenes[0].views)
    )
    oracle = Oracle([])
    oracle.encode_scene = lambda scene: replace(Oracle([]).encode_scene(replace(scene, boxes=None)), scene=scene)
    left_out = evaluate(oracle, [blind], progress=False).metrics["left_out"]
    assert "what is visible is unknown" in next(iter(left_out["questions"]))


def test_an_interrupted_run_leaves_the_old_result_whole(scenes, tmp_path):
    for name in ("metrics.json", "predictions.jsonl", "report.html"):
        (tmp_path / name).write_text("old")
    oracle = Oracle(scenes)
    encode_scene = oracle.encode_scene

    def interrupted(scene):
        if len(oracle.seen) == 2:
            raise KeyboardInterrupt
        return encode_scene(scene)

    oracle.encode_scene = interrupted
    with pytest.raises(KeyboardInterrupt):
        evaluate(oracle, scenes, questions_per_scene=QUESTIONS, out=tmp_path, progress=False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("metrics.json", "predictions.jsonl", "report.html"), "old"
    )


def test_wrong_input_raises_before_the_work(scenes, tmp_path):
    with pytest.raises(SceneError, match="no scene"):
        evaluate(Oracle([]), [], progress=False)
    (tmp_path / "file").write_text("")
    oracle = Oracle(scenes)
    with pytest.raises(StorageError, match="cannot make the folder"):
        evaluate(oracle, scenes, out=tmp_path / "file", progress=False)
    assert oracle.seen == []


def test_the_gallery_keeps_the_best_and_the_worst():
    class Stub:
        def __init__(self, accuracy):
            self.accuracy = accuracy

    gallery = Gallery(4)
    for accuracy in (0.5, 0.9, None, 0.1, 0.7, 0.3, 1.0, 0.5):
        gallery.add(Stub(accuracy))
    assert [exhibit.accuracy for exhibit in gallery.scenes()] == [1.0, 0.9, 0.3, 0.1]


def test_a_model_folder_brings_its_blind_control(scenes, tmp_path, monkeypatch):
    (tmp_path / "blind").mkdir()
    for name in NEEDED:
        (tmp_path / name).write_text('{"model_type": "dollhouse"}')
    opened = []

    def from_pretrained(folder):
        opened.append(folder)
        return Oracle(scenes[:1], model_id=str(folder))

    monkeypatch.setattr("dollhouse.inference.pipeline.DollhousePipeline.from_pretrained", from_pretrained)
    run = evaluate(tmp_path, scenes[:1], questions_per_scene=QUESTIONS, progress=False)
    assert opened == [tmp_path, tmp_path / "blind"]
    assert run.metrics["blind"]["model"] == str(tmp_path / "blind")
    with pytest.raises(ModelError, match="not a Dollhouse model"):
        evaluate(Oracle(scenes[:1]), scenes[:1], oracle_boxes=True, progress=False)
