"""Every change of a listed file is noticed and named; the shipped models match their checksums."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dollhouse.errors import StorageError
from dollhouse.models.dollhouse.serialization import SHIPPED
from dollhouse.system.checksums import HASHES, check_checksums, write_checksums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("weights.bin", "state with blank.json", "README.md"):
        (tmp_path / name).write_bytes(name.encode() * 9)
    write_checksums(tmp_path)
    return tmp_path


def test_files_that_are_not_listed_are_ignored(folder: Path) -> None:
    assert list(check_checksums(folder)) == ["state with blank.json", "weights.bin"]
    (folder / "README.md").write_text("other words")
    (folder / "notes.txt").write_text("new")
    check_checksums(folder)


@pytest.mark.parametrize("name", ["weights.bin", "state with blank.json", HASHES])
@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "missing"])
def test_damage_is_named(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    content = path.read_bytes()
    damaged = {"cut": content[:-1], "empty": b"", "bit": bytes([content[0] ^ 1]) + content[1:]}
    path.unlink() if damage == "missing" else path.write_bytes(damaged[damage])
    with pytest.raises(StorageError, match="blank.json" if name == HASHES and damage == "bit" else name):
        check_checksums(folder)


def test_names_cannot_lead_out_of_the_folder(folder: Path) -> None:
    (folder / HASHES).write_bytes((folder / HASHES).read_bytes().replace(b"weights", b"../ights"))
    with pytest.raises(StorageError, match=f"{HASHES}: is damaged"):
        check_checksums(folder)


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="needs sha256sum")
def test_system_tool_agrees(folder: Path) -> None:
    assert subprocess.run(["sha256sum", "--quiet", "-c", HASHES], cwd=folder, check=False).returncode == 0


@pytest.mark.parametrize("folder", [SHIPPED, SHIPPED / "blind"], ids=lambda path: path.name)
def test_shipped_models_match(folder: Path) -> None:
    """After weights were replaced: ``python -m dollhouse.system.checksums <folder>``."""
    assert "model.safetensors" in check_checksums(folder)
