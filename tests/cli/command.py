"""The command run in the process of a test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dollhouse import cli
from tests.scenes.fixture_scans import write_photo

SHIPPED = Path(cli.__file__).parents[1] / "models" / "weights" / "nano"
needs_model = pytest.mark.skipif(not SHIPPED.is_dir(), reason="the shipped model is not in this tree")


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``dollhouse ARGUMENTS``."""
    monkeypatch.setattr(sys, "argv", ["dollhouse", *arguments])
    code = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    error = capsys.readouterr()
    return code, error.out, error.err


def photos(folder: Path, count: int = 3) -> Path:
    for number in range(count):
        write_photo(folder / f"{number}.jpg", (40 * number, 90, 120), (160, 120))
    return folder
