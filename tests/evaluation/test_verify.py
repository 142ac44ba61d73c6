"""Reports that agree, and every single change that must be noticed and named."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from dollhouse.cli import app
from dollhouse.errors import QuestionError, ScoreError
from dollhouse.evaluation.benchmark_runner import score_predictions
from dollhouse.evaluation.benchmarks import BENCHMARKS
from dollhouse.evaluation.compare import compare_reports
from dollhouse.evaluation.verify import verify_report

from .small_report import COUNT, scored


@pytest.fixture
def folder(tmp_path):
    scored(tmp_path, "a", set(range(0, COUNT, 2)))
    return tmp_path / "a"


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_report_agrees_wherever_it_lies(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "elsewhere")
    for place in (folder, tmp_path / "elsewhere" / "report.json"):
        found = verify_report(place)
        assert found.agrees, found.findings
        assert found.samples == COUNT


def test_what_a_report_holds(folder):
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["frames"]["count"] == 24
    assert report["prompts"]["short"].startswith("{question} Answer")
    assert report["prompt_match"] == {"same": 0, "different": 0, "unknown": COUNT}
    assert report["scorers"]["scanqa"] == "scanqa:1"
    assert report["perception"] is report["metrics"] is None
    assert {"exact_match", "coco"} < set(report["scorers"])
    assert report["samples"]["ids"] == [f"q{n}" for n in range(COUNT)]
    assert report["packages"]["numpy"] == np.__version__
    assert report["model"]["name"] == "a"
    assert set(report["machine"]) == {"system", "processor", "cores"}
    assert report["scores"]["overall"]["value"] == 0.5


@pytest.mark.parametrize(
    ("file", "old", "new", "finding"),
    [
        ("predictions.jsonl", '"prediction": "thing 2"', '"prediction": "thing 3"', r"row 3 \(q2\): the prediction"),
        ("predictions.jsonl", '"a lamp é"', '"a lamp e"', r"row 2 \(q1\): the prediction"),
        ("predictions.jsonl", '"prompt": null', '"prompt": "x"', r"row 1 \(q0\): the question or its prompt"),
        ("predictions.jsonl", "Where is it?", "Where is it??", r"row 2 \(q1\): the question or its prompt"),
        ("predictions.jsonl", '"thing 1"', '"thing 9"', r"row 2 \(q1\): the true answer"),
        ("predictions.jsonl", '"score": 1.0', '"score": 0.0', "1 rows hold another score than they earn, first row 1"),
        ("predictions.jsonl", '"id": "q0"', '"id": "q00"', "row 1: is about 'q00', the report has 'q0'"),
        ("predictions.jsonl", '{"id"', '{ "id"', "white space"),
        ("report.json", "using one word", "using two words", "prompts, short: the report has .* two words or"),
        ("report.json", '"scanqa": "scanqa:1"', '"scanqa": "scanqa:2"', "scorers, scanqa: the report has scanqa:2"),
        ("report.json", '"coco": "coco:2', '"coco": "coco:0', "scorers, coco: the report has coco:0"),
        ("report.json", '"overall": {"value": 0.5', '"overall": {"value": 0.6', "overall.value: .* 0.6, .* 0.5"),
        ("report.json", '"count": 24', '"count": 20', "frames, count: the report has 20, installed is 24"),
        ("report.json", '"seed": 0', '"seed": 1', "'seed' was changed"),
        ("report.json", '"name": "a"', '"name": "b"', "'model' was changed"),
        ("report.json", '"q0"', '"q7"', "the ids of the samples are not those of their hash"),
    ],
)  # fmt: skip
def test_one_changed_character_is_noticed_and_named(folder, file, old, new, finding):
    edit(folder / file, old, new)
    found = verify_report(folder)
    assert not found.agrees
    listed = "\n".join(found.findings)
    assert any(re.search(finding, line) for line in found.findings), listed


@pytest.mark.parametrize("file", ["predictions.jsonl", "report.json"])
def test_no_changed_character_goes_unnoticed(folder, file):
    path, draw = folder / file, random.Random(7)
    text = path.read_text(encoding="utf-8")
    for place in draw.sample(range(len(text)), 60):
        other = draw.choice([letter for letter in 'aZ09"{}[],: \\\n' if letter != text[place]])
        path.write_text(text[:place] + other + text[place + 1 :], encoding="utf-8")
        try:
            noticed = not verify_report(folder).agrees
        except ScoreError:
            noticed = True
        assert noticed or json.loads(path.read_text(encoding="utf-8")) == json.loads(text), (place, other)


def test_the_command_returns_an_exit_code(folder):
    assert CliRunner().invoke(app, ["verify", str(folder)]).exit_code == 0
    edit(folder / "predictions.jsonl", '"prediction": "thing 4"', '"prediction": "thing 5"')
    result = CliRunner().invoke(app, ["verify", str(folder / "report.json")])
    assert result.exit_code == 1
    assert "row 5 (q4): the prediction was changed" in result.output


def test_the_command_prints_definition_and_figures(folder, tmp_path):
    files = ["--predictions", str(tmp_path / "a.jsonl"), "--annotations", str(tmp_path / "val.json")]
    result = CliRunner().invoke(app, ["benchmark", "ScanQA", "--model", "a", *files, "--out", str(tmp_path / "c")])
    assert result.exit_code == 0
    for expected in ("24 of every 10th", "{question} Answer the question", "40 unknown", "overall", "0.5000"):
        assert expected in result.output
    compared = CliRunner().invoke(app, ["compare", str(folder), str(tmp_path / "c"), "--out", str(tmp_path)])
    assert "credit differs in 0 answers" in compared.output
    assert json.loads((tmp_path / "comparison.json").read_text())["overall"]["n"] == COUNT
    with pytest.raises(QuestionError, match="--annotations"):
        CliRunner().invoke(app, ["benchmark", "ScanQA", *files[:2]], catch_exceptions=False)


def test_another_version_of_a_scorer_here_is_named(folder, monkeypatch):
    later = replace(BENCHMARKS["scanqa"], version="scanqa:2")
    monkeypatch.setattr("dollhouse.evaluation.verify.benchmark_definition", lambda name: later)
    assert "scorers, scanqa: the report has scanqa:1, installed is scanqa:2" in verify_report(folder).findings


def test_a_truth_that_cannot_be_scored_is_a_finding_not_a_crash(tmp_path):
    row = {"id": 0, "dataset": "scannet", "scene_name": "s", "question_type": "object_counting", "question": "How?",
           "ground_truth": "4", "options": None}  # fmt: skip
    (tmp_path / "test.json").write_text(json.dumps([row]))
    (tmp_path / "predictions.json").write_text(json.dumps([{"id": 0, "prediction": "4"}]))
    out = tmp_path / "out"
    score_predictions(
        BENCHMARKS["vsibench"], tmp_path / "predictions.json", [tmp_path / "test.json"], out=out, progress=False
    )
    assert verify_report(out).agrees
    edit(out / "predictions.jsonl", '["4"]', '["four"]')
    findings = verify_report(out).findings
    assert findings[0] == "predictions.jsonl, row 1 (0): the true answer or another field was changed"
    assert findings[-1].startswith("not scored again: ")
    with pytest.raises(ScoreError, match="some row is not one of VSI-Bench"):
        compare_reports(out, out)


def test_rows_taken_away_and_files_that_are_gone(folder):
    path = folder / "predictions.jsonl"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.split("\n", 1)[1], encoding="utf-8")
    findings = verify_report(folder).findings
    assert "predictions.jsonl: has 39 rows, the report 40" in findings
    path.write_text(text[:-20], encoding="utf-8")
    with pytest.raises(ScoreError, match="row 40: is not JSON"):
        verify_report(folder)
    path.unlink()
    with pytest.raises(ScoreError, match="belongs beside"):
        verify_report(folder)
    (folder / "report.json").write_text('{"format": "other"}')
    with pytest.raises(ScoreError, match="not a report of this version"):
        verify_report(folder)
    with pytest.raises(ScoreError, match="cannot be read"):
        verify_report(folder.parent / "nowhere.json")


def test_an_evaluation_on_scenes_is_verified_without_its_model(rooms_run, tmp_path):
    assert verify_report(rooms_run).findings == []
    report = json.loads((rooms_run / "report.json").read_text(encoding="utf-8"))
    metrics = json.loads((rooms_run / "metrics.json").read_text(encoding="utf-8"))
    assert report["scores"]["overall"]["value"] == metrics["overall"]["accuracy"]
    assert report["scores"]["overall"]["ci95"] == pytest.approx(metrics["overall"]["ci95"], abs=1e-12)
    assert report["scores"]["more"]["blind"]["families"] == metrics["blind"]["families"]
    assert report["model"] == {"name": "guesser", "weights": "1", "blind": "guesser@1", "lineage": "unknown"}
    shutil.copytree(rooms_run, tmp_path / "copy")
    metrics["overall"]["accuracy"] += 1e-9
    (tmp_path / "copy" / "metrics.json").write_text(json.dumps(metrics))
    findings = verify_report(tmp_path / "copy").findings
    assert findings[0] == "metrics.json: was changed after it was written"
    assert findings[1].startswith("metrics.json: overall.accuracy: the report has")


@pytest.mark.slow
def test_a_report_verifies_in_another_place_process_and_processor(rooms_run, folder, tmp_path):
    """The other processor is this one without its wide registers and without fused multiply and add."""
    wide = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    older = {
        "NPY_DISABLE_CPU_FEATURES": " ".join(wide),
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-FMA,-FMA4",
    }
    code = "import sys; sys.argv = ['dollhouse', 'verify', 'report']; from dollhouse.cli import main; main()"
    for name, report in (("rooms", rooms_run), ("answers", folder)):
        there = tmp_path / name
        shutil.copytree(report, there / "report")
        for environment in ({}, older):
            ran = subprocess.run(
                [sys.executable, "-c", code],
                cwd=there,
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                check=False,
            )
            assert ran.returncode == 0, ran.stdout + ran.stderr
            assert ran.stdout.startswith("verified: ")


@pytest.mark.parametrize(
    ("file", "change", "finding"),
    [
        (
            "perception.jsonl",
            lambda line: line["depth"]["views"][0].update(abs_rel=0.5),
            r"metrics.json: depth.abs_rel: ",
        ),
        (
            "perception.jsonl",
            lambda line: line["depth"]["by_distance"][3].__setitem__(1, 9.0),
            r"depth_by_distance\[\d\]",
        ),
        ("perception.jsonl", lambda line: line["boxes"]["truth"][0].update(label="x"), r"metrics.json: boxes.map_25"),
        ("perception.jsonl", lambda line: line["boxes"]["predicted"].pop(), "metrics.json: boxes.predicted: "),
        ("perception.jsonl", lambda line: line.pop("boxes"), r"line 1: cannot be scored again \(KeyError"),
        (
            "perception.jsonl",
            lambda line: line["boxes"]["truth"][0].update(center=[1]),
            "line 1: cannot be scored again",
        ),
        ("perception.jsonl", lambda line: line.update(scene="made:9"), "perception.jsonl, line 1: was changed after"),
        ("predictions.jsonl", lambda line: line.update(choices=["a"]), "metrics.json: chance."),
        ("predictions.jsonl", lambda line: line.update(distance=9.0), "metrics.json: by_distance"),
        ("metrics.json", lambda metrics: metrics["chance"].update(overall=0.1), "metrics.json: chance.overall: "),
        ("metrics.json", lambda metrics: metrics["depth"].update(rmse=0.1), "metrics.json: depth.rmse: "),
        ("metrics.json", lambda metrics: metrics["blind"]["overall"].update(n=1), "metrics.json: blind.overall.n: "),
    ],
)
def test_depth_boxes_and_chance_are_scored_again(rooms_run, tmp_path, file, change, finding):
    shutil.copytree(rooms_run, tmp_path / "copy")
    path = tmp_path / "copy" / file
    lines = [path.read_text(encoding="utf-8")] if file == "metrics.json" else path.read_text("utf-8").splitlines()
    places = range(len(lines)) if file == "predictions.jsonl" else range(1)
    for place in places:  # some rows of predictions count in no figure
        first = json.loads(lines[place])
        change(first)
        lines[place] = json.dumps(first, ensure_ascii=False)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    findings = verify_report(tmp_path / "copy").findings
    assert any(re.search(finding, line) for line in findings), findings
    assert len(findings) > 1 or file == "perception.jsonl"
    path.unlink()
    if file == "perception.jsonl":
        assert "perception.jsonl: is missing" in verify_report(tmp_path / "copy").findings


def test_predictions_for_rooms_made_elsewhere(rooms_run, tmp_path):
    """The questions of an evaluation, answered by another program."""
    rows = [json.loads(line) for line in (rooms_run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    (tmp_path / "predictions.json").write_text(
        json.dumps([{"id": row["id"], "prediction": row["answer"]} for row in rows])
    )
    asked = [rooms_run / "predictions.jsonl"]
    found = score_predictions(
        BENCHMARKS["rooms"], tmp_path / "predictions.json", asked, out=tmp_path / "o", progress=False
    )
    assert found.scores["overall"]["value"] == 1.0
    assert verify_report(tmp_path / "o").findings == []
    assert compare_reports(rooms_run, tmp_path / "o").overall["difference"] > 0
