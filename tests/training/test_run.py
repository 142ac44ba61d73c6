"""A distil run: killed anywhere it ends with the same weights, and a full disk leaves what was there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dollhouse.data.target_cache import TargetCache
from dollhouse.errors import RecipeError, StorageError
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.training.train import distill
from tests.fixtures.recipes import TINY, tiny_recipe


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    distill(tiny_recipe(data={**TINY["data"], "views": 4}), out, progress=False)
    return out


def run_in_process(out: Path) -> subprocess.Popen[bytes]:
    code = (
        "import sys, json; from pathlib import Path; from dollhouse.training.config import check_recipe;"
        "from dollhouse.training.train import distill;"
        "distill(check_recipe(json.loads(sys.argv[1]), 'test'), Path(sys.argv[2]), progress=False)"
    )
    recipe = json.dumps({**TINY, "data": {**TINY["data"], "views": 4}})
    return subprocess.Popen(
        [sys.executable, "-c", code, recipe, str(out)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def kill_when(out: Path, reached: str) -> None:
    """Start the run and SIGKILL it as soon as the file or folder ``reached`` appears."""
    process = run_in_process(out)
    deadline = time.monotonic() + 180
    while not (out / reached).exists():
        assert process.poll() is None, f"the run ended before {reached} appeared"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_killed_three_times_ends_with_the_same_weights(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    kill_when(out, "pretrain_perception/checkpoint-4")
    assert not (out / "pretrain_perception" / "student.safetensors").exists()
    kill_when(out, "finetune_end_to_end/.saving")
    assert not (out / "model").exists()
    kill_when(out, "finetune_end_to_end/checkpoint-4")
    assert run_in_process(out).wait(timeout=180) == 0
    for name in (
        "pretrain_perception/student.safetensors",
        "finetune_end_to_end/student.safetensors",
        "model/model.safetensors",
    ):
        expected, got = load_file(undisturbed / name), load_file(out / name)
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[key], got[key]) for key in expected), name
    steps = [
        (line["stage"], line["step"]) for line in map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    ]
    assert len([step for step in steps if step == ("pretrain_perception", 4)]) == 1, "no step is told twice"


def test_run_tells_what_it_was(undisturbed: Path) -> None:
    told = json.loads((undisturbed / "run.json").read_text())
    assert told["recipe"]["stages"]["pretrain_perception"]["steps"] == 8
    assert {"torch", "transformers"} <= told["versions"].keys()
    assert told["samples"] == 6
    assert told["parameters"]["all"] == sum(v for k, v in told["parameters"].items() if k != "all")
    metrics = [json.loads(line) for line in (undisturbed / "metrics.jsonl").read_text().splitlines()]
    assert {"depth_reg", "camera", "voting", "detection", "weight_depth_reg"} <= metrics[0].keys()
    assert any("text" in line for line in metrics if line["stage"] == "finetune_end_to_end")


def test_frozen_parts_stay(undisturbed: Path) -> None:
    before = load_file(undisturbed / "pretrain_perception" / "student.safetensors")
    after = load_file(undisturbed / "finetune_end_to_end" / "student.safetensors")
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"multi_modal_projector", "language_model"}


def test_finished_model_answers(undisturbed: Path) -> None:
    pipeline = DollhousePipeline.from_pretrained(undisturbed / "model")
    memory = pipeline.encode_scene("rooms:test/1")
    assert len(memory.ask(["is there a chair?", "what colour is the sofa?"])) == 2
    assert memory.depth.shape == (4, 28, 28)
    assert (memory.depth > 0).all()


def test_folder_of_another_recipe_is_refused(undisturbed: Path) -> None:
    with pytest.raises(RecipeError, match=r"another recipe.*seed"):
        distill(tiny_recipe(seed=5, data={**TINY["data"], "views": 4}), undisturbed, progress=False)


@pytest.mark.slow
def test_full_disk_leaves_what_was_there(undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up while a checkpoint is written: a named error, and the checkpoint before it stays whole."""
    import dollhouse.training.trainer as trainer

    out = tmp_path / "full"
    save = trainer.Trainer._save_optimizer_and_scheduler
    written = []

    def fails_the_second_time(self: trainer.Trainer, folder: str) -> None:
        written.append(folder)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        save(self, folder)

    recipe = tiny_recipe(data={**TINY["data"], "views": 4})
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_save_optimizer_and_scheduler", fails_the_second_time)
        with pytest.raises(StorageError, match="No space left"):
            distill(recipe, out, progress=False)
    assert sorted(path.name for path in (out / "pretrain_perception").iterdir()) == ["checkpoint-2"]
    distill(recipe, out, progress=False)
    expected, got = load_file(undisturbed / "model/model.safetensors"), load_file(out / "model/model.safetensors")
    assert all(torch.equal(expected[key], got[key]) for key in expected)


def test_cached_lessons_are_the_same_lessons(undisturbed: Path, tmp_path: Path) -> None:
    """A run over a cache ends as one without it, the second time too; a damaged file is made again."""
    data = {**TINY["data"], "views": 4, "cache": str(tmp_path / "cache")}
    stages = {
        "pretrain_perception": {**TINY["stages"]["pretrain_perception"], "steps": 2},
        "finetune_end_to_end": {**TINY["stages"]["finetune_end_to_end"], "steps": 2},
    }
    weights = []
    for name in ("first", "second"):
        model = distill(tiny_recipe(data=data, stages=stages), tmp_path / name, progress=False)
        weights.append(load_file(model / "model.safetensors"))
        next((tmp_path / "cache").rglob("*.npz")).write_bytes(b"PK damaged")
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_cache_on_a_full_disk(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    cache = TargetCache(folder, "key")
    (folder / "key").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match=r"unset data\.cache"):
        cache.write_questions(3, "k", (("a?", "b", "size"),))


def test_no_processes_left() -> None:
    """Nothing that these tests started is still running."""
    children = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "check_recipe"], capture_output=True, check=False)
    assert not children.stdout.strip()
