"""A folder has one writer; a second one is told who it is, and a dead one does not block."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from dollhouse.errors import StorageError
from dollhouse.system.folder_lock import locked_folder, locks_out

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
HOLD = """
import os, sys, time
from pathlib import Path
from dollhouse.system.folder_lock import locked_folder
with locked_folder(Path(sys.argv[1])):
    if sys.argv[2] == "fork" and os.fork() == 0:
        os.close(1)
        time.sleep(30)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(folder: Path, how: str = "") -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(folder), how]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_second_writer_is_refused_with_who_writes(tmp_path: Path) -> None:
    with holder(tmp_path / "out") as process:
        with pytest.raises(StorageError) as caught, locked_folder(tmp_path / "out"):
            pass
        for part in (
            str(tmp_path / "out"),
            f"process {process.pid}",
            os.uname().nodename,
            "since 20",
            "another folder",
        ):
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", ["", "fork"])
def test_a_killed_writer_does_not_block(tmp_path: Path, how: str) -> None:
    """Nor do its workers, which live on for a while with the files that were open when they were made."""
    with holder(tmp_path / "out", how) as process:
        name = f".unfinished-{'0' * 16}"
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "out" / "stage").mkdir()
        left = [tmp_path / "out" / name, tmp_path / "out" / "stage" / name]
        for path in [*left, tmp_path / "elsewhere" / name]:
            path.touch()
        process.kill()
        process.wait()
        started = time.monotonic()
        with locked_folder(tmp_path / "out"):
            assert time.monotonic() - started < 1.0
            assert not any(path.exists() for path in left)
    assert (tmp_path / "elsewhere" / name).exists()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["link", "stage"]


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot make the folder"), locked_folder(tmp_path / "file"):
        pass


def test_decorated_functions_hold_the_lock_of_their_folder(tmp_path: Path) -> None:
    @locks_out
    def write(number: int, out: Path | None = None) -> int:
        assert out is None or (out / ".writer.lock").exists()
        if number:
            raise KeyError(number)
        return number

    assert write(0) == write(0, tmp_path / "out") == write(0, out=tmp_path / "out") == 0
    with pytest.raises(KeyError):
        write(1, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_every_long_writer_holds_the_lock() -> None:
    from dollhouse.evaluation import benchmark_runner, evaluate
    from dollhouse.evaluation.probing import probe

    functions = [evaluate.evaluate, probe.probe_thinking]
    functions += [benchmark_runner.score_predictions, benchmark_runner.run_benchmark, benchmark_runner.evaluate_teacher]
    assert all(hasattr(function, "__wrapped__") for function in functions)


def test_a_run_is_refused_where_another_process_trains(tmp_path: Path) -> None:
    from dollhouse.training.train import distill
    from tests.fixtures.recipes import tiny_recipe

    out = tmp_path / "run"
    with locked_folder(out), pytest.raises(StorageError, match="writes there"):
        distill(tiny_recipe(), out)
