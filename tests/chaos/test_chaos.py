"""After failed file operations and kills, the same command ends with the files of an undisturbed run.

The programs run in processes of their own, which fork: a process of pytest has threads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(module: str, *arguments: str) -> None:
    command = [sys.executable, "-m", f"tests.chaos.{module}", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_some_operations_of_annotate_fail() -> None:
    run("fail_every_operation", "--commands", "annotate", "--from", "6", "--every", "15")


@pytest.mark.slow
def test_some_operations_of_distill_fail() -> None:
    """All of them: ``python -m tests.chaos.fail_every_operation``."""
    run("fail_every_operation", "--commands", "distill", "--from", "9", "--every", "61")


@pytest.mark.slow
def test_kills() -> None:
    run("kill_at_random", "--kills", "12")
