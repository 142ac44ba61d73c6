"""Checkpoints: damage, full disks, weights that are not finite, and what is removed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import Trainer

from dollhouse.data.target_source import TargetSource
from dollhouse.errors import RecipeError, StorageError
from dollhouse.models.dollhouse.serialization import save_student
from dollhouse.system.atomic_io import atomic_folder
from dollhouse.system.checksums import write_checksums
from dollhouse.training.run_folder import STATES, find_checkpoint
from dollhouse.training.tokenizer import load_or_train_tokenizer
from dollhouse.training.train import distill
from dollhouse.training.trainer import DistillTrainer
from tests.fixtures.recipes import TINY, tiny_recipe
from tests.models.conftest import tiny_pipeline
from tests.training.test_interruptions import TEXT_STAGE, At, Killed, assert_same_weights, kill


def make_checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    for name in STATES:
        (path / name).write_bytes(f"{name} {step}".encode() * 9)
    write_checksums(path)
    return path


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def drop_a_state(path: Path) -> None:
    (path / "scheduler.pt").unlink()
    write_checksums(path)


DAMAGES: list[Callable[[Path], Any]] = [
    lambda path: flip_a_bit(path / "optimizer.pt"),
    lambda path: (path / "model.safetensors").write_bytes(b""),
    lambda path: (path / "trainer_state.json").unlink(),
    lambda path: (path / "SHA256SUMS").unlink(),
    lambda path: [file.unlink() for file in path.iterdir()],
    drop_a_state,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=["bit", "cut", "missing", "sums", "empty", "state"])
def test_damaged_checkpoint_is_named_and_the_one_before_taken(
    damage: Callable[[Path], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older, newer = make_checkpoint(tmp_path, 4), make_checkpoint(tmp_path, 16)
    (tmp_path / "checkpoint-old").mkdir()
    assert find_checkpoint(tmp_path) == newer
    assert not capsys.readouterr().err
    damage(newer)
    assert find_checkpoint(tmp_path) == older
    warning = capsys.readouterr().err
    assert warning.count("\n") == 1
    assert "checkpoint-16" in warning
    damage(older)
    with pytest.raises(StorageError, match="delete that folder"):
        find_checkpoint(tmp_path)


def test_stage_without_checkpoints(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path / "absent") is None
    (tmp_path / "checkpoint-old").mkdir()
    assert find_checkpoint(tmp_path) is None


def save(folder: Path, step: int, model: nn.Module) -> None:
    trainer = DistillTrainer.__new__(DistillTrainer)
    trainer.args = SimpleNamespace(output_dir=str(folder))
    trainer.state = SimpleNamespace(global_step=step)
    trainer.model = model
    trainer._save_checkpoint(model, None)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0\nframe #0"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        Exception("No space left on device (os error 28)"),
    ],
    ids=["system", "torch", "safetensors", "tokenizers"],
)
def test_full_disk_is_a_line_and_the_last_checkpoint_stays(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Trainer, model: nn.Module, trial: Any) -> None:
        (Path(self._get_output_dir()) / "checkpoint-4" / "model.safetensors").write_bytes(b"half")
        raise error

    make_checkpoint(tmp_path, 2)
    monkeypatch.setattr(Trainer, "_save_checkpoint", fail)
    with pytest.raises(StorageError, match=r"cannot write .*checkpoint-4 .*free some space") as caught:
        save(tmp_path, 4, nn.Linear(2, 2))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoint-2"


def test_only_own_checkpoints_are_removed_once_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: Trainer, model: nn.Module, trial: Any) -> None:
        assert (tmp_path / "checkpoint-2").exists()
        for name in STATES:
            (Path(self._get_output_dir()) / "checkpoint-6" / name).write_bytes(b"state")

    for step in (2, 4, 8):
        make_checkpoint(tmp_path, step)
    flip_a_bit(tmp_path / "checkpoint-8" / "rng_state.pth")
    for name in ("checkpoint-2-backup", "checkpoint-old"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(Trainer, "_save_checkpoint", write)
    save(tmp_path, 6, nn.Linear(2, 2))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"checkpoint-4", "checkpoint-6", "checkpoint-2-backup", "checkpoint-old"}
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoint-6"


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight[0, 0] = torch.nan
    with pytest.raises(RecipeError, match=r"step 4.*weight.*not finite.*lower the learning rates"):
        save(tmp_path, 4, model)
    assert not list(tmp_path.iterdir())


def test_tokenizers_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No space left"), atomic_folder(tmp_path / "tokenizer"):
        raise Exception("No space left on device (os error 28)")
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "tokenizer"):
        raise ZeroDivisionError


def test_run_continues_behind_damage_to_the_same_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tiny_recipe(stages={"only": {**TEXT_STAGE, "train": ["encoder", "projector"], "steps": 5}})
    distill(recipe, tmp_path / "whole", progress=False)
    with pytest.raises(Killed):
        distill(recipe, tmp_path / "damaged", False, callbacks=[At("only", "on_save", kill, 4)])
    flip_a_bit(tmp_path / "damaged" / "only" / "checkpoint-4" / "optimizer.pt")
    (tmp_path / "damaged" / "metrics.jsonl").write_bytes(b"\xff\n[]\n{}\n")
    distill(recipe, tmp_path / "damaged", progress=False)
    assert "checkpoint-4/optimizer.pt: is damaged" in capsys.readouterr().err
    assert_same_weights(tmp_path / "whole", tmp_path / "damaged")
    flip_a_bit(tmp_path / "damaged" / "only" / "student.safetensors")
    distill(recipe, tmp_path / "damaged", progress=False)
    warnings = capsys.readouterr().err.splitlines()
    assert any("student.safetensors" in line and "last checkpoint" in line for line in warnings)
    assert_same_weights(tmp_path / "whole", tmp_path / "damaged")
    (tmp_path / "damaged" / "recipe.json").write_text('{"name": ')
    with pytest.raises(StorageError, match=r"recipe\.json.*delete that file"):
        distill(recipe, tmp_path / "damaged", progress=False)
    (tmp_path / "damaged" / "recipe.json").unlink()
    flip_a_bit(tmp_path / "damaged" / "tokenizer" / "tokenizer.json")
    with pytest.raises(StorageError, match=r"tokenizer\.json: is damaged.*; delete .*tokenizer"):
        distill(recipe, tmp_path / "damaged", progress=False)


def test_a_pretrained_tokenizer_is_kept_and_checked(tmp_path: Path) -> None:
    """A run goes on with the tokenizer that it began with, whatever becomes of the folder that the recipe names."""
    pipeline = tiny_pipeline()
    save_student(pipeline.model, pipeline.processor, tmp_path / "named")
    recipe = tiny_recipe(student={**TINY["student"], "tokenizer": str(tmp_path / "named")})
    source = cast(TargetSource, None)
    shutil.copytree(tmp_path / "named", tmp_path / "whole")
    flip_a_bit(tmp_path / "named" / "tokenizer.json")
    with pytest.raises(StorageError, match=r"named/tokenizer\.json: is damaged"):
        load_or_train_tokenizer(recipe, source, tmp_path / "tokenizer")
    shutil.rmtree(tmp_path / "named")
    (tmp_path / "whole").rename(tmp_path / "named")
    first = load_or_train_tokenizer(recipe, source, tmp_path / "tokenizer")
    shutil.rmtree(tmp_path / "named")
    kept = load_or_train_tokenizer(recipe, source, tmp_path / "tokenizer")
    assert type(kept) is type(first)
    assert kept.get_vocab() == pipeline.processor.tokenizer.get_vocab()
    text = "How many chairs? <thinking> 2"
    assert kept(text)["input_ids"] == pipeline.processor.tokenizer(text)["input_ids"]
    flip_a_bit(tmp_path / "tokenizer" / "tokenizer.json")
    with pytest.raises(StorageError, match="is damaged"):
        load_or_train_tokenizer(recipe, source, tmp_path / "tokenizer")
