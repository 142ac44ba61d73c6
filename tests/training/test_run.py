"""Distillation runs: full disks, caches and records."""

from __future__ import annotations

import json
import time
from collections import Counter
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dollhouse.data.target_cache import TargetCache
from dollhouse.errors import RecipeError, StorageError
from dollhouse.inference.pipeline import DollhousePipeline
from dollhouse.scenes.synthetic.room_scene import room_scene
from dollhouse.training.recipes import check_recipe
from dollhouse.training.train import claim_folder, distill
from tests.fixtures.recipes import TINY, tiny_recipe, tiny_tree


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    out = tmp_path_factory.mktemp("runs") / "finished_run"
    distill(tiny_recipe(data={**TINY["data"], "views": 4}), out, progress=False)
    return out


def test_run_record(finished_run: Path) -> None:
    record = json.loads((finished_run / "run.json").read_text())
    assert record["recipe"]["stages"]["pretrain_perception"]["steps"] == 8
    assert {"torch", "transformers"} <= record["versions"].keys()
    assert record["samples"] == 6
    assert record["machine"]["threads"] == torch.get_num_threads()
    assert record["parameters"]["all"] == sum(v for k, v in record["parameters"].items() if k != "all")
    metrics = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    assert {"depth_reg", "camera", "voting", "detection", "weight_depth_reg"} <= metrics[0].keys()
    assert all(line["seconds_per_step"] > 0 and line["peak_memory_bytes"] > 1e7 for line in metrics)
    assert all(0 < line["utilisation"] < 2 and line["scenes_per_second"] > 0 for line in metrics)
    assert any("text" in line for line in metrics if line["stage"] == "finetune_end_to_end")
    assert all("loss" in line for line in metrics), "no summary, which would depend on when the run was interrupted"


def test_seconds_of_a_run_do_not_follow_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is set back while a run computes."""
    clock = count(time.time(), -1e4)
    monkeypatch.setattr(time, "time", lambda: next(clock))
    stage = {**tiny_tree()["stages"]["pretrain_perception"], "steps": 1}
    distill(tiny_recipe(stages={"only": stage}), tmp_path, progress=False)
    seconds = json.loads((tmp_path / "run.json").read_text())["seconds"]
    assert seconds.keys() == {"this_call", "only"}
    assert all(0 <= value < 1e4 for value in seconds.values())


def test_objects_without_a_label_are_ignored_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = tiny_tree(student={**TINY["student"], "labels": ["chair", "table", "office chair"]})
    tree["data"]["views"] = 4
    tree["stages"] = {"pretrain_perception": {**tree["stages"]["pretrain_perception"], "steps": 2}}
    distill(check_recipe(tree, "test"), tmp_path, progress=False)
    record = json.loads((tmp_path / "run.json").read_text())["ignored_labels"]
    boxes = [box.label for number in range(6) for box in room_scene("train", number).boxes or ()]
    ignored = Counter(label for label in boxes if label not in ("armchair", "chair", "desk", "table"))
    assert record == {"scenes": 6, "objects": len(boxes), "ignored": dict(ignored)}
    assert f"ignored labels: {ignored.total()} of {len(boxes)} objects in 6 scenes: " in capsys.readouterr().out
    losses = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert losses["voting"] > 0
    assert losses["detection"] >= 0


def test_frozen_parts_do_not_change(finished_run: Path) -> None:
    before = load_file(finished_run / "pretrain_perception" / "student.safetensors")
    after = load_file(finished_run / "finetune_end_to_end" / "student.safetensors")
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"multi_modal_projector", "language_model"}


def test_finished_model_answers(finished_run: Path) -> None:
    pipeline = DollhousePipeline.from_pretrained(finished_run / "model")
    session = pipeline.encode_scene("rooms:test/1")
    assert len(session.ask(["is there a chair?", "what colour is the sofa?"])) == 2
    assert session.depth.shape == (4, 28, 28)
    assert (session.depth > 0).all()


def test_folder_of_another_recipe_is_refused(finished_run: Path) -> None:
    with pytest.raises(RecipeError, match=r"another recipe.*seed"):
        distill(tiny_recipe(seed=5, data={**TINY["data"], "views": 4}), finished_run, progress=False)


def test_another_place_of_the_cache_is_no_other_recipe(tmp_path: Path) -> None:
    for place in ("cache", "moved"):
        claim_folder(tiny_recipe(data={**TINY["data"], "cache": str(tmp_path / place)}), tmp_path / "run")
    with pytest.raises(RecipeError, match="another recipe"):
        claim_folder(tiny_recipe(seed=5), tmp_path / "run")


@pytest.mark.slow
def test_full_disk_keeps_the_last_checkpoint(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk while a checkpoint is written raises StorageError; the last checkpoint stays complete."""
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
    expected, got = load_file(finished_run / "model/model.safetensors"), load_file(out / "model/model.safetensors")
    assert all(torch.equal(expected[key], got[key]) for key in expected)


def test_cached_targets_give_the_same_weights(finished_run: Path, tmp_path: Path) -> None:
    """Runs that fill and read a cache give the same weights; a damaged file is written again."""
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


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    cache = TargetCache(folder, "key")
    (folder / "key").write_text("a file in place of a folder")
    with pytest.raises(StorageError, match=r"unset data\.cache"):
        cache.write_questions(3, "k", (("a?", "b", "size"),))
