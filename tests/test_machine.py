"""The machine by its maker's name where the system tells it."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from dollhouse.system import environment as told


def test_linux_tells_the_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Acme Abacus 9\nflags\t: fpu\n")
    monkeypatch.setattr(told, "CPUINFO", tmp_path / "cpuinfo")
    assert told.processor() == f"Acme Abacus 9, {platform.machine()}"


def test_elsewhere_the_architecture_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(told, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert told.processor() == platform.machine()
    assert json.loads(json.dumps(told.describe_machine()))["cores"] >= 1
