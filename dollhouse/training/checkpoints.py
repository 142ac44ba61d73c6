"""Checkpoints of a stage: which there are, and the last one whose files are all as they were written."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from dollhouse.errors import StorageError
from dollhouse.system.checksums import check_checksums

NAME = re.compile(r"checkpoint-([0-9]+)")
#: files without which transformers' Trainer would go on with fresh states and say nothing
STATES = {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}


def step_of(checkpoint: Path) -> int:
    """Return the step after which a checkpoint was written; -1: the path is no checkpoint."""
    match = NAME.fullmatch(checkpoint.name)
    return int(match[1]) if match and checkpoint.is_dir() else -1


def list_checkpoints(folder: Path) -> list[Path]:
    """List a stage's checkpoints, the newest first."""
    found = [path for path in folder.iterdir() if step_of(path) >= 0] if folder.is_dir() else []
    return sorted(found, key=step_of, reverse=True)


def find_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint of a stage, and print which newer ones are damaged; None: there is none yet.

    Raises StorageError where all are damaged.
    """
    fault = None
    for path in list_checkpoints(folder):
        try:
            if missing := STATES - check_checksums(path).keys():
                raise StorageError(f"{path}: has no {', '.join(sorted(missing))}")
            return path
        except StorageError as error:
            fault = error
            print(f"warning: {fault}; the checkpoint before it is taken", file=sys.stderr)
    if fault is not None:
        raise StorageError(f"{folder} has no whole checkpoint: delete that folder, to train its stage from the start")
    return None
