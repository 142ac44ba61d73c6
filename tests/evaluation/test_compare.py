"""Two reports beside each other: paired by question, drawn by scene, and only like with like."""

import shutil

import numpy as np
import pytest

from dollhouse.errors import ScoreError
from dollhouse.evaluation.compare import compare_reports

from .small_report import COUNT, scored


def test_compare_is_paired(tmp_path):
    scored(tmp_path, "a", set(range(0, COUNT, 2)))
    scored(tmp_path, "b", {*range(0, COUNT, 2), 1, 3} - {0})
    found = compare_reports(tmp_path / "a", tmp_path / "b" / "report.json")
    assert (found.a, found.b) == ("a", "b")
    assert (found.overall["a"], found.overall["b"]) == (0.5, 21 / 40)
    assert found.overall["difference"] == pytest.approx(1 / 40)
    assert {row["id"]: row["credit_b"] - row["credit_a"] for row in found.differing} == {"q0": -1, "q1": 1, "q3": 1}
    # kinds: questions of even number ask what (object), of odd number where (place)
    assert found.kinds["object"]["difference"] == pytest.approx(-1 / 20)
    assert found.kinds["place"]["difference"] == pytest.approx(2 / 20)
    # the plain way: draw scenes, and take the mean of the differences of their questions
    credit = {row["id"]: row["credit_b"] - row["credit_a"] for row in found.differing}
    by_scene = [[credit.get(f"q{n}", 0) for n in range(COUNT) if n % 12 == scene] for scene in range(12)]
    rng = np.random.default_rng(5)
    drawn = [np.mean([credit for scene in rng.integers(0, 12, 12) for credit in by_scene[scene]]) for _ in range(4000)]
    assert found.overall["ci95"] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.02)
    assert compare_reports(tmp_path / "a", tmp_path / "b", seed=0) == found
    same = compare_reports(tmp_path / "a", tmp_path / "a")
    assert (same.overall["difference"], same.overall["ci95"], same.differing) == (0, [0, 0], [])


def test_what_cannot_be_compared(tmp_path, rooms_run):
    scored(tmp_path, "a", set())
    with pytest.raises(ScoreError, match="compare like with like"):
        compare_reports(tmp_path / "a", rooms_run)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    path = tmp_path / "b" / "predictions.jsonl"
    rows = path.read_text(encoding="utf-8")
    path.write_text(rows.split("\n", 1)[1], encoding="utf-8")
    assert compare_reports(tmp_path / "a", tmp_path / "b").only_a == ["q0"]
    path.write_text(rows.replace("What is it?", "What was it?", 1), encoding="utf-8")
    with pytest.raises(ScoreError, match="1 questions of the same id differ, the first is q0"):
        compare_reports(tmp_path / "a", tmp_path / "b")
    path.write_text(rows.replace('"id": "q', '"id": "x'), encoding="utf-8")
    with pytest.raises(ScoreError, match="share no question"):
        compare_reports(tmp_path / "a", tmp_path / "b")
