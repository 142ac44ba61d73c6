"""Nothing is made twice: runs and measurements are kept by content, and a killed run goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dollhouse.training.config import Recipe, check_recipe
from experiments.paper import archive as archive_module
from experiments.paper.archive import Archive, measuring_key, recipe_key
from experiments.paper.measuring import FIXED_LOSSES, Measuring

STAGE: dict[str, Any] = {"steps": 4, "batch_size": 1, "losses": ["text"], "train": ["language_model"], "save_every": 1}


def short_recipe(start: Path, **changes: Any) -> Recipe:
    data = {"scenes": "rooms:train/0-1", "questions_per_scene": 2, "workers": 0}
    tree = {"name": "short", "init_from": str(start), "precision": "float32", "threads": 1, "data": data}
    return check_recipe(tree | {"stages": {"think": STAGE}} | changes, "test")


def test_a_run_is_known_by_what_it_makes(tiny_student: Path, tmp_path: Path) -> None:
    recipe = short_recipe(tiny_student)
    key = recipe_key(recipe)
    moved = shutil.copytree(tiny_student, tmp_path / "elsewhere")
    other_place = {"scenes": "rooms:train/0-1", "questions_per_scene": 2, "workers": 1, "cache": str(tmp_path)}
    same = [{"name": "renamed"}, {"threads": 2}, {"init_from": str(moved)}, {"data": other_place}]
    assert {recipe_key(short_recipe(tiny_student, **change)) for change in same} == {key}
    more = {"scenes": "rooms:train/0-2", "questions_per_scene": 2, "workers": 0}
    others = [{"seed": 1}, {"stages": {"think": {**STAGE, "steps": 5}}}, {"loss_weighting": "equal"}, {"data": more}]
    assert len({recipe_key(short_recipe(tiny_student, **change)) for change in others} | {key}) == 5


def test_other_weights_are_another_run(tiny_student: Path, tmp_path: Path) -> None:
    other = shutil.copytree(tiny_student, tmp_path / "other")
    weights = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert recipe_key(short_recipe(other)) != recipe_key(short_recipe(tiny_student))


def test_other_code_is_another_run(tiny_student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipe_key(short_recipe(tiny_student)), measuring_key(tiny_student, Measuring("rooms:test/0-1", 5))
    monkeypatch.setattr(archive_module, "TRAINING_VERSION", 99)
    monkeypatch.setattr(archive_module, "MEASURING_VERSION", 99)
    assert recipe_key(short_recipe(tiny_student)) != before[0]
    assert measuring_key(tiny_student, Measuring("rooms:test/0-1", 5)) != before[1]


def test_other_records_are_another_run(tiny_student: Path, tmp_path: Path) -> None:
    """By what the teacher said, wherever it lies."""
    keys = []
    for name, told in (("one", "sums"), ("moved", "sums"), ("other", "other sums")):
        record = tmp_path / name / "0123"
        record.mkdir(parents=True)
        (record / "SHA256SUMS").write_text(told)
        data = {"scenes": "rooms:train/0-1", "records": str(tmp_path / name)}
        keys.append(recipe_key(short_recipe(tiny_student, data=data)))
    assert keys[0] == keys[1] != keys[2]


def test_a_finished_run_is_never_run_again(tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, recipe = Archive(tmp_path), short_recipe(tiny_student)
    assert archive.trained(recipe) is None
    model = archive.train("K = 0, seed 0", recipe)
    assert model.parent.name.startswith("k-0-seed-0-")
    assert not (model.parent / "think").exists(), "optimiser states are not kept"
    assert {"run.json", "metrics.jsonl", "model"} <= {path.name for path in model.parent.iterdir()}

    def never(*arguments: Any, **named: Any) -> Path:
        raise AssertionError("run again")

    monkeypatch.setattr(archive_module, "distill", never)
    monkeypatch.setattr(archive_module, "measure", never)
    assert archive.train("another name", recipe) == model
    with pytest.raises(AssertionError, match="run again"):
        archive.train("K = 0, seed 1", short_recipe(tiny_student, seed=1))


def test_a_measurement_is_kept_whole(tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses and figures room by room, a report that can be verified; half a measurement counts as none."""
    from dollhouse.evaluation.verify import verify_report

    archive = Archive(tmp_path)
    measuring = Measuring("rooms:test/0-1", 12, validation="rooms:validation/0-1", cache=tmp_path / "rooms")
    measured = archive.measure("tiny", tiny_student, measuring)
    assert measured.names == ["rooms:test/0", "rooms:test/1"]
    assert measured.losses is not None
    assert set(measured.losses) == set(FIXED_LOSSES)
    assert all(len(values) == 2 for values in measured.losses.values())
    assert all(room["views"] == 4 and room["depth"]["rmse"] > 0 for room in measured.rooms)
    overall = measured.metrics["overall"]
    assert measured.accuracy().n == overall["n"]
    assert measured.depth("abs_rel").statistic(torch.ones(1, 2).numpy())[0] == pytest.approx(
        measured.metrics["depth"]["abs_rel"]
    )
    assert measured.boxes().statistic(torch.ones(1, 2).numpy())[0] == pytest.approx(measured.metrics["boxes"]["map_25"])
    assert verify_report(measured.folder).agrees
    monkeypatch.setattr(archive_module, "measure", lambda *arguments: pytest.fail("measured again"))
    assert archive.measure("other name", tiny_student, measuring).rows == measured.rows
    (measured.folder / "rooms.json").unlink()
    assert archive.measured(tiny_student, measuring) is None


def test_a_killed_run_goes_on(tiny_student: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle, then the same call: the weights of a run that nobody disturbed."""
    recipe = short_recipe(tiny_student)
    undisturbed = Archive(tmp_path / "undisturbed").train("run", recipe)
    out = tmp_path / "killed"
    code = (
        "import sys, json; from pathlib import Path; from dollhouse.training.config import check_recipe;"
        "from experiments.paper.archive import Archive;"
        "Archive(Path(sys.argv[2])).train('run', check_recipe(json.loads(sys.argv[1]), 'test'))"
    )
    told = json.dumps(recipe.model_dump(mode="json", exclude={"student"}))
    process = subprocess.Popen([sys.executable, "-c", code, told, str(out)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(out.glob("runs/*/think/checkpoint-2")):
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    archive = Archive(out)
    assert archive.trained(recipe) is None
    continued = archive.train("run", recipe)
    assert len(list(out.glob("runs/*"))) == 1
    expected, got = load_file(undisturbed / "model.safetensors"), load_file(continued / "model.safetensors")
    assert all(torch.equal(expected[name], got[name]) for name in expected)
