"""A run: killed anywhere it ends with the same teacher, which `label` opens as any other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dollhouse.distill.nano_teacher.run import train_nano_teacher
from dollhouse.errors import RecipeError
from dollhouse.scenes.questions import questions_about
from dollhouse.scenes.source import open_scene
from dollhouse.teachers.llava3d.teacher import LLaVA3DTeacher
from dollhouse.teachers.source import open_teacher
from tests.distill.nano_teacher.made import TINY, tiny_recipe


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    train_nano_teacher(tiny_recipe(), out, progress=False)
    return out


def start(out: Path) -> subprocess.Popen[bytes]:
    code = (
        "import sys, json; from pathlib import Path; from dollhouse.distill.nano_teacher.recipe import "
        "check_nano_teacher; from dollhouse.distill.nano_teacher.run import train_nano_teacher;"
        "train_nano_teacher(check_nano_teacher(json.loads(sys.argv[1]), 'test'), Path(sys.argv[2]), progress=False)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(TINY), str(out)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def test_killed_ends_with_the_same_weights(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    process = start(out)
    deadline = time.monotonic() + 120
    while not (out / "speak" / ".saving").exists():  # the first stage is done, the second half way
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "model").exists()
    train_nano_teacher(tiny_recipe(), out, progress=False)
    expected, got = load_file(undisturbed / "model/model.safetensors"), load_file(out / "model/model.safetensors")
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[key], got[key]) for key in expected)


def test_run_tells_what_it_was(undisturbed: Path) -> None:
    told = json.loads((undisturbed / "run.json").read_text())
    assert told["parameters"]["all"] == sum(v for k, v in told["parameters"].items() if k != "all")
    assert told["lessons"] == 4
    metrics = [json.loads(line) for line in (undisturbed / "metrics.jsonl").read_text().splitlines()]
    assert {"votes", "weight_votes"} <= metrics[0].keys()
    assert any({"text", "grounding"} <= line.keys() for line in metrics if line["stage"] == "speak")


def test_parts_that_a_stage_does_not_train_stay(undisturbed: Path) -> None:
    before, after = (load_file(undisturbed / stage / "learner.safetensors") for stage in ("see", "speak"))
    moved = {name.split(".")[1] for name in before if name.startswith("model.") and (before[name] != after[name]).any()}
    assert moved == {"multi_modal_projector", "language_model"}


def test_the_teacher_answers_and_tells_where_it_saw_what(undisturbed: Path) -> None:
    teacher = open_teacher(f"llava3d:{undisturbed / 'model'}", {"dtype": "float32", "max_new_tokens": "4"})
    assert isinstance(teacher, LLaVA3DTeacher)
    told = teacher.provenance()
    assert told["licence"] == "Apache-2.0"
    assert told["settings"]["axes"] == "named_view"
    assert told["weights"] == json.loads((undisturbed / "run.json").read_text())["weights"]
    scene = open_scene("rooms:test/1")
    asked = questions_about(scene, limit=8)
    assert len(teacher.answer(scene, asked)) == len(asked)
    seen = teacher.features(scene)
    assert seen is not None
    corners = np.array(scene.metadata["floor"])
    assert (seen.points[:, :2] > corners.min(0) - 0.3).all()  # in the room's own axes
    assert (seen.points[:, :2] < corners.max(0) + 0.3).all()


def test_folder_of_another_recipe_is_refused(undisturbed: Path) -> None:
    with pytest.raises(RecipeError, match=r"another recipe.*seed"):
        train_nano_teacher(tiny_recipe(seed=5), undisturbed, progress=False)
