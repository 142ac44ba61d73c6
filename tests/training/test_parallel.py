"""Several processes of one run: equal losses, kills, other numbers of processes, and the samples of each."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from dollhouse.data.dataset import StepDataset
from dollhouse.errors import RecipeError
from dollhouse.training.parallel import connect
from dollhouse.training.recipes import check_recipe
from dollhouse.training.run_folder import find_checkpoint
from dollhouse.training.train import prepare_student
from tests.conftest import LONG
from tests.fixtures.processes import finish, free_port, start
from tests.fixtures.recipes import LANGUAGE_PARTS, PERCEPTION_LOSSES, PERCEPTION_PARTS, STAGE, TINY, tiny_tree

STEPS = 50 if os.environ.get("DOLLHOUSE_LONG_TESTS") else 10  #: kills need a run that is long enough
ONLY = {
    **STAGE,
    "steps": STEPS,
    "batch_size": 4,
    "micro_batches": 4,
    "save_every": 5,
    "log_every": 1,
    "losses": [*PERCEPTION_LOSSES, "text"],
    "train": [*PERCEPTION_PARTS, *LANGUAGE_PARTS],
    "learning_rate": 2e-4,
    "muon_learning_rate": 2e-3,
    "gt_assignment_prob": 0.5,
}


def begin(folder: Path, out: str, count: int, *settings: str) -> list[subprocess.Popen[str]]:
    """Start ``count`` processes of a run."""
    recipe, to = str(folder / "recipe.yaml"), ["--out", str(folder / out)]
    return start([sys.executable, "-m", "dollhouse.cli", "distill", recipe, *settings, *to], count)


def errors_of(processes: list[subprocess.Popen[str]]) -> list[str]:
    """Wait for processes; return what each printed as errors."""
    return [errors for _, errors in finish(processes)]


def wait_for_metrics(out: Path, processes: list[subprocess.Popen[str]]) -> None:
    """Wait until a run has logged a step."""
    while not (out / "metrics.jsonl").exists():
        assert all(process.poll() is None for process in processes), errors_of(processes)
        time.sleep(0.05)


def run(folder: Path, out: str, count: int, *settings: str) -> None:
    processes = begin(folder, out, count, *settings)
    errors = errors_of(processes)
    assert [process.returncode for process in processes] == [0] * count, errors


def kill_at_random(folder: Path, out: str, count: int, chance: random.Random, step: int, *settings: str) -> None:
    """SIGKILL one process or all of them some time after a checkpoint of ``step`` or a later one."""
    processes = begin(folder, out, count, *settings)
    while not any(int(path.name[11:]) >= step for path in (folder / out / "only").glob("checkpoint-*")):
        assert all(process.poll() is None for process in processes), errors_of(processes)
        time.sleep(0.01)
    time.sleep(chance.random() * 2)
    killed = processes if chance.random() < 0.5 else [chance.choice(processes)]
    for process in killed:
        process.send_signal(signal.SIGKILL)
    errors = errors_of(processes)
    for process, text in zip(processes, errors, strict=True):
        if process not in killed and process.returncode:  # in the last seconds of a run it may end well
            assert process.returncode == 2, text
            assert [line for line in text.splitlines() if "another process of this run ended" in line], text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, and a run of it by one process in ``whole``."""
    path = tmp_path_factory.mktemp("parallel")
    data = {**TINY["data"], "scenes": "rooms:train/0-11", "cache": str(path / "cache")}
    (path / "recipe.yaml").write_text(json.dumps(tiny_tree(data=data, stages={"only": ONLY})))
    return path


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    run(folder, "whole", 1)
    return folder / "whole"


def assert_same_run(whole: Path, other: Path) -> None:
    """Losses of all steps are equal to 1e-5 and weights to what this leaves of them."""
    lines = [
        [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()] for path in (whole, other)
    ]
    assert [line["step"] for line in lines[1]] == list(range(1, STEPS + 1))
    assert max(line["grad_norm"] for line in lines[0]) > 1, "gradients are clipped, by their norm over all processes"
    for name in ("loss", "text", "voting", "detection", "camera", "depth_reg", "grad_norm"):
        values = [np.array([line[name] for line in each]) for each in lines]
        assert np.allclose(values[0], values[1], rtol=1e-5, atol=1e-5), (
            name,
            np.abs(values[0] - values[1]).max(),
        )
    expected, got = (load_file(path / "model" / "model.safetensors") for path in (whole, other))
    assert expected.keys() == got.keys()
    assert max(float((expected[name].float() - got[name].float()).abs().max()) for name in expected) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_does(kind: str, whole: Path, folder: Path) -> None:
    run(folder, kind, 2, f"parallel={kind}")
    assert_same_run(whole, folder / kind)
    if kind == "fsdp":  # continued from a checkpoint; the long tests do so with both kinds
        shutil.rmtree(folder / kind / "only" / f"checkpoint-{STEPS}")
        (folder / kind / "only" / "student.safetensors").unlink()
        run(folder, kind, 2, f"parallel={kind}")
        assert_same_run(whole, folder / kind)


@LONG
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seed"), [("ddp", 0), ("fsdp", 1), ("fsdp", 2)])
def test_killed_runs_continue_on_other_numbers_of_processes(kind: str, seed: int, whole: Path, folder: Path) -> None:
    chance, out = random.Random(seed), f"killed-{seed}"
    kill_at_random(folder, out, 2, chance, 5, f"parallel={kind}")
    kill_at_random(folder, out, 1, chance, 20)
    kill_at_random(folder, out, 4, chance, 35, f"parallel={kind}")
    run(folder, out, 2, f"parallel={kind}")
    assert_same_run(whole, folder / out)


@LONG
@pytest.mark.slow
@pytest.mark.parametrize(("number", "kind"), [(signal.SIGTERM, "ddp"), (signal.SIGUSR1, "fsdp")])
def test_a_signal_to_one_process_ends_all_after_a_checkpoint(number: signal.Signals, kind: str, folder: Path) -> None:
    out = f"stopped-{number}"
    processes = begin(folder, out, 2, "stages.only.save_every=1000", f"parallel={kind}")
    wait_for_metrics(folder / out, processes)
    processes[1].send_signal(number)
    errors = errors_of(processes)
    assert [process.returncode for process in processes] == [128 + number] * 2, errors
    assert len(list((folder / out / "only").glob("checkpoint-*"))) == 1


@LONG
@pytest.mark.slow
def test_torchrun_passes_sigterm_on(folder: Path, whole: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*torchrun, "--shutdown-timeout=300", "-m", "dollhouse.cli", "distill", str(folder / "recipe.yaml")]
    processes = start([*command, "--out", str(folder / "torchrun")], 1)
    wait_for_metrics(folder / "torchrun", processes)
    processes[0].send_signal(signal.SIGTERM)
    errors = errors_of(processes)
    assert processes[0].returncode, errors
    assert "interrupted after step" in errors[0]
    assert find_checkpoint(folder / "torchrun" / "only") is not None
    run(folder, "torchrun", 1)
    assert_same_run(whole, folder / "torchrun")


@LONG
@pytest.mark.slow
def test_processes_of_the_slurm_script_stop_at_its_signal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's command with Slurm's variables set by hand."""
    page = (Path(__file__).parents[2] / "docs" / "guides" / "distil.md").read_text()
    script = page[page.index("srun ") :].split("'")[1]
    ours = f"{sys.executable} -m dollhouse.cli distill {folder / 'recipe.yaml'} --out {folder / 'slurm'}"
    script = script[: script.index("dollhouse distill")] + ours
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("MASTER_PORT", free_port())
    processes = []
    for number in range(2):
        monkeypatch.setenv("SLURM_PROCID", str(number))
        monkeypatch.setenv("SLURM_LOCALID", str(number))
        processes += start(["bash", "-c", script], 1)
    wait_for_metrics(folder / "slurm", processes)
    for process in processes:
        process.send_signal(signal.SIGUSR1)
    errors = errors_of(processes)
    assert [process.returncode for process in processes] == [138, 138], errors
    assert find_checkpoint(folder / "slurm" / "only") is not None


@LONG
@pytest.mark.slow
def test_shards_in_bfloat16_give_the_losses_of_one_process(folder: Path) -> None:
    """Sums over processes round otherwise, which may change the last bit of a product in bfloat16."""
    losses = []
    for count in (1, 2):
        run(folder, f"half-{count}", count, "precision=bfloat16", "parallel=fsdp", "stages.only.steps=5")
        lines = (folder / f"half-{count}" / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
    assert np.allclose(*losses, rtol=1e-3), losses


def test_processes_must_divide_the_micro_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(RecipeError, match=r"3 processes.*4 micro-batches.*stages\.only\.micro_batches"):
        connect(check_recipe(tiny_tree(stages={"only": ONLY}), "test"))


def test_samples_of_a_step_are_distinct_and_do_not_depend_on_the_processes(tmp_path: Path) -> None:
    """Process r of n takes the items r, r + n, ...; one epoch has every sample once."""
    tree = tiny_tree(data={**TINY["data"], "scenes": "rooms:train/0-7"}, stages={"only": ONLY})
    recipe = check_recipe(tree, "test")
    model, processor, source = prepare_student(recipe, tmp_path)
    sampling = recipe.stages["only"].sampling(recipe.data)
    dataset = StepDataset(source, sampling, recipe.seed, processor.tokenizer, model.config)
    assert len(dataset) == 4 * STEPS
    items = [dataset[item].sample_indices for item in range(8)]
    assert all(len(indices) == 1 for indices in items)
    assert sorted(index for indices in items for index in indices) == list(range(8))
    for count in (2, 4):
        ids = [{items[item][0] for item in range(rank, 8, count)} for rank in range(count)]
        assert sum(map(len, ids)) == len(set.union(*ids)) == 8
    assert dataset[5].sample_indices == items[5], "an item is a pure function of its number"
