"""Runs that end early: at every boundary, by signals, and by the death of their data workers."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset
from transformers import TrainerCallback

from dollhouse.data.batch_workers import start_worker
from dollhouse.data.dataset import StepDataset
from dollhouse.errors import RecipeError
from dollhouse.training.callbacks import Interrupted, StopOnSignal
from dollhouse.training.train import distill
from dollhouse.training.trainer import DistillTrainer
from tests.conftest import LONG
from tests.fixtures.recipes import STAGE, TINY, tiny_recipe
from tests.fixtures.teacher_targets import EVERY_LOSS, every_loss_recipe, every_loss_tree

TEXT_STAGE = {**STAGE, "losses": ["text"], "train": ["projector", "language_model"]}


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class At(TrainerCallback):
    """Calls ``action`` at an event of a stage, once."""

    def __init__(self, stage: str, event: str, action: Callable[[], Any], step: int = 0) -> None:
        self.stage, self.step, self.action = stage, step, action
        setattr(self, event, self._act)

    def _act(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if Path(args.output_dir).name == self.stage and state.global_step >= self.step:
            self.step = sys.maxsize
            self.action()


def kill() -> None:
    raise Killed


def assert_same_weights(first: Path, second: Path) -> None:
    for path in sorted(first.rglob("*.safetensors")):
        expected, got = load_file(path), load_file(second / path.relative_to(first))
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[name], got[name]) for name in expected), path


BOUNDARIES = [("on_train_begin", 0), ("on_step_end", 1), ("on_save", 2), ("on_step_end", 3), ("on_train_end", 3)]


@pytest.mark.parametrize(
    "kills",
    [
        [("two", "on_train_begin", 0)],  # between the first stage's weights and the second's first step
        pytest.param([(stage, *event) for stage in ("one", "two") for event in BOUNDARIES], marks=pytest.mark.slow),
    ],
    ids=["between stages", "everywhere"],
)
def test_kills_at_boundaries_give_the_same_weights(
    synthetic_teacher: None, tmp_path: Path, kills: list[tuple[str, str, int]]
) -> None:
    """At ``on_train_end`` the stage's last checkpoint is written and ``student.safetensors`` is not."""
    stage = {**every_loss_tree()["stages"]["all"], "losses": [*EVERY_LOSS, "thinking_probe"]}
    recipe = every_loss_recipe(stages={"one": stage, "two": stage})
    distill(recipe, tmp_path / "whole", progress=False)
    for name, event, step in kills:
        with pytest.raises(Killed):
            distill(recipe, tmp_path / "killed", False, callbacks=[At(name, event, kill, step)])
    distill(recipe, tmp_path / "killed", progress=False)
    assert_same_weights(tmp_path / "whole", tmp_path / "killed")
    checkpoint = load_file(tmp_path / "killed" / "two" / "checkpoint-3" / "model.safetensors")
    assert "teacher_map.weight" in checkpoint
    sigmas = [float(value) for name, value in checkpoint.items() if name.startswith("weighting.")]
    assert len(sigmas) == len(stage["losses"])
    assert all(sigmas)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_stage_after_a_checkpoint(number: signal.Signals, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        stages={"only": {**TEXT_STAGE, "train": ["encoder", "projector"], "save_every": 100, "steps": 4}}
    )
    earlier = signal.getsignal(number)

    def send() -> None:
        os.kill(os.getpid(), number)
        assert signal.getsignal(number) == signal.SIG_DFL, "a second signal ends the process"

    with pytest.raises(Interrupted, match=r"step 2 of 4: the same command continues") as caught, StopOnSignal() as stop:
        distill(recipe, tmp_path / "stopped", False, callbacks=[stop, At("only", "on_step_begin", send, 1)])
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) == earlier
    assert (tmp_path / "stopped" / "only" / "checkpoint-2").is_dir()
    distill(recipe, tmp_path / "stopped", progress=False)
    distill(recipe, tmp_path / "whole", progress=False)
    assert_same_weights(tmp_path / "whole" / "model", tmp_path / "stopped" / "model")


def test_a_signal_outside_a_stage_ends_at_once() -> None:
    with pytest.raises(Interrupted), StopOnSignal():
        os.kill(os.getpid(), signal.SIGTERM)


class Batches(Dataset[dict[str, torch.Tensor]]):
    """Stands for batches."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"pixel_values": torch.full((1000,), float(index))}


def test_batches_without_shared_memory_come_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: torch.UntypedStorage) -> Any:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", refuse)
    loader = DataLoader(
        Batches(),
        batch_size=None,
        num_workers=2,
        worker_init_fn=start_worker,
        multiprocessing_context="fork",
        timeout=60,
    )
    batches = list(loader)
    assert all(isinstance(batch, bytes) for batch in batches)
    assert [float(pickle.loads(batch)["pixel_values"][0]) for batch in batches] == [0, 1, 2, 3]


def test_run_without_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: torch.UntypedStorage) -> Any:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", refuse)
    stages = {"only": {**TEXT_STAGE, "train": ["encoder", "projector"], "steps": 3}}
    distill(tiny_recipe(stages=stages, data={**TINY["data"], "workers": 1}), tmp_path / "piped", progress=False)
    assert capsys.readouterr().err.count("too little shared memory") == 1
    distill(tiny_recipe(stages=stages), tmp_path / "whole", progress=False)
    assert_same_weights(tmp_path / "whole" / "model", tmp_path / "piped" / "model")


def test_killed_worker_is_reported_and_the_run_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = {"only": {**TEXT_STAGE, "train": ["encoder", "projector"], "steps": 6}}
    recipe = tiny_recipe(stages=tree, data={**TINY["data"], "workers": 1})
    load = StepDataset.__getitem__

    def dies(self: StepDataset, step: int) -> Any:
        if step == 4 and torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return load(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(StepDataset, "__getitem__", dies)
        with pytest.raises(RecipeError, match=r"data\.workers=0") as caught:
            distill(recipe, tmp_path / "killed", progress=False)
    assert "\n" not in str(caught.value)
    without_workers = tiny_recipe(stages=tree)  # another number of workers is no other recipe
    distill(without_workers, tmp_path / "killed", progress=False)
    distill(without_workers, tmp_path / "whole", progress=False)
    assert_same_weights(tmp_path / "whole" / "model", tmp_path / "killed" / "model")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGUSR1, marks=LONG)])
def test_a_signal_to_the_command_and_its_worker(number: signal.Signals, tmp_path: Path) -> None:
    """As a terminal sends SIGINT, and Slurm SIGUSR1."""
    stages = {"only": {**TEXT_STAGE, "train": ["encoder", "projector"], "steps": 400, "save_every": 400}}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({**TINY, "stages": stages, "data": {**TINY["data"], "workers": 1}}))
    # Shells start background jobs with SIGINT ignored, and children inherit that.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from dollhouse.cli import main; main()"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code, "distill", str(recipe), "--out", str(tmp_path / "run")],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists():
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.01)
    os.killpg(run.pid, number)
    errors = run.communicate(timeout=120)[1]
    assert run.returncode == 128 + number, errors
    assert "the same command continues the run" in errors
    assert errors.count("stopping after this step") == 1
    assert "Traceback" not in errors
    checkpoints = list((tmp_path / "run" / "only").glob("checkpoint-*"))
    assert len(checkpoints) == 1


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_worker_that_dies_while_it_hands_over_a_batch_is_reported(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reset(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(DistillTrainer, "train", reset)
    with pytest.raises(RecipeError, match=r"a process that prepares batches ended \(.+\), .*data\.workers=0"):
        distill(tiny_recipe(), tmp_path, progress=False)
