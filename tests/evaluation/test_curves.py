"""Curves on made rows whose every point is known by counting, and the lineage of a model."""

import json
from itertools import pairwise

import numpy as np
import pytest

from dollhouse.errors import StorageError
from dollhouse.evaluation.metrics.curves import LEAST, POINTS, answer_curves
from dollhouse.evaluation.perception_records import PerceptionScorer, depth_record
from dollhouse.evaluation.report.report_schema import UNKNOWN, model_lineage
from tests.records.record_fixtures import write_records


def row(number, **fields):
    return {
        "scene": f"s{number % 7}", "family": "contact", "choices": ["yes", "no"], "correct": True,
        "confidence": None, "distance": None, "objects": None, **fields,
    }  # fmt: skip


def test_calibration_is_counted():
    sure = [row(n, confidence=0.9, correct=n % 10 != 0) for n in range(100)]
    unsure = [row(n, confidence=0.6, correct=n % 2 == 0) for n in range(50)]
    others = [row(0, confidence=0.9, choices=["left", "right"]), row(0, confidence=0.9, correct=None), row(0)]
    found = answer_curves([*sure, *unsure, *others])["calibration"]
    assert found["n"] == 150
    assert [(point["middle"], point["value"], point["n"]) for point in found["points"]] == [
        (pytest.approx(0.6), 0.5, 50),
        (pytest.approx(0.9), 0.9, 100),
    ]
    assert found["ece"] == pytest.approx(50 * 0.1 / 150)
    low, high = found["points"][0]["ci95"]
    assert low < 0.5 < high


def test_points_hold_about_equally_many_answers_and_never_part_equal_values():
    draw = np.random.default_rng(0)
    rows = [
        row(n, distance=float(d), objects=int(d * 2), correct=bool(d < 3))
        for n, d in enumerate(draw.uniform(1, 5, 400))
    ]
    found = answer_curves(rows)
    by_distance = found["by_distance"]
    assert len(by_distance) == POINTS
    assert {point["n"] for point in by_distance} == {50}
    assert [point["value"] for point in by_distance][:3] == [0, 0, 0]
    assert [point["value"] for point in by_distance][-3:] == [1, 1, 1]
    ends = [(point["from"], point["to"]) for point in found["by_objects"]]
    assert all(before[1] < after[0] for before, after in pairwise(ends))
    assert sum(point["n"] for point in found["by_objects"]) == 400
    few = answer_curves([row(n, distance=n) for n in range(LEAST + 3)])["by_distance"]
    assert [point["n"] for point in few] == [LEAST + 3]


def test_nothing_known_gives_no_curve():
    assert answer_curves([row(0), row(1, family="counting", distance=2.0)]) == {
        "calibration": None, "by_distance": None, "by_objects": None,
    }  # fmt: skip


def test_depth_by_distance_is_the_mean_over_pixels():
    draw = np.random.default_rng(1)
    truth = draw.uniform(0.2, 7.0, (3, 8, 9))
    truth[0, :4] = 0
    predicted = truth * draw.uniform(0.8, 1.2, truth.shape) + 0.01
    scorer = PerceptionScorer()
    for view in range(3):  # of three scenes
        view_slice = slice(view, view + 1)
        scorer.add(
            {"scene": "s", "depth": depth_record(predicted[view_slice], truth[view_slice], "none"), "boxes": None}
        )
    found = scorer.result()
    assert found["boxes"] is None
    error = np.abs(predicted - truth) / np.where(truth > 0, truth, 1)
    for bin in found["depth_by_distance"]:
        inside = (truth >= bin["from"]) & (truth < bin["to"]) & (truth > 0)
        assert bin["n"] == inside.sum()
        assert bin["abs_rel"] == pytest.approx(error[inside].mean())
    assert sum(bin["n"] for bin in found["depth_by_distance"]) == (truth > 0).sum()


def test_the_origin_of_a_model_is_what_its_run_tells(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    assert model_lineage(model) == {"run": UNKNOWN, "records": UNKNOWN}
    run = {"recipe": {"seed": 3, "data": {"scenes": "rooms:train/0-9"}}, "commit": "abc"}
    (tmp_path / "run.json").write_text(json.dumps(run))
    lineage = model_lineage(model)
    assert (lineage["seed"], lineage["commit"], lineage["data"]["scenes"]) == (3, "abc", "rooms:train/0-9")
    assert len(lineage["run"]) == 64
    assert lineage["records"] == lineage["init_from"] == UNKNOWN
    run["recipe"]["data"]["records"] = str(tmp_path / "records")
    (model / "run.json").write_text(json.dumps(run))
    write_records(tmp_path / "records", 2)
    assert model_lineage(model)["records"] == UNKNOWN, "a folder that run.json names is not read"
    (model / "run.json").write_text(json.dumps(run | {"records": {"n": 2, "sha256": "abc"}}))
    assert model_lineage(model)["records"] == {"n": 2, "sha256": "abc"}
    (model / "run.json").write_text("{")
    with pytest.raises(StorageError, match=r"is not the run\.json of a run"):
        model_lineage(model)
