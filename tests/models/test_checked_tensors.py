"""A file of tensors is read as it was written, or refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dollhouse.errors import ModelError
from dollhouse.models.checked_tensors import load_tensors, require_finite, save_tensors
from dollhouse.system.atomic_io import remove_unfinished


def test_every_bit_is_covered(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    tensors = {"a": torch.randn(5, 3, dtype=torch.bfloat16), "b": torch.arange(4), "c": torch.tensor(1.5)}
    save_tensors(tensors, path)
    read = load_tensors(path)
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], value) for name, value in tensors.items())
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(ModelError, match="is damaged"):
            load_tensors(path)


def test_absent_and_unsealed_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_tensors(tmp_path / "nowhere")
    save_file({"a": torch.ones(2)}, tmp_path / "plain.safetensors")
    with pytest.raises(ModelError, match="digest"):
        load_tensors(tmp_path / "plain.safetensors")


def test_values_that_are_not_finite_are_named() -> None:
    require_finite({"whole": torch.arange(3), "good": torch.ones(2)}, "here")
    with pytest.raises(ModelError, match="here: bad holds"):
        require_finite({"good": torch.ones(2), "bad": torch.tensor([1.0, float("nan")])}, "here")


def test_what_safetensors_leaves_when_killed_is_removed_later(tmp_path: Path) -> None:
    """Its own temporary file has a name that nobody else knows."""
    path = tmp_path / "weights.safetensors"
    kill = (
        "import os, sys, torch; from pathlib import Path; from dollhouse.models import checked_tensors as c\n"
        "def save(stored, target, metadata): (Path(target).parent / '.tmpA').touch(); os._exit(9)\n"
        "c.save_file = save; c.save_tensors({'a': torch.ones(2)}, Path(sys.argv[1]))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", kill, str(path)], cwd=root).returncode == 9
    assert list(tmp_path.rglob(".tmpA"))
    remove_unfinished(tmp_path)
    save_tensors({"a": torch.ones(2)}, path)
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
