"""What scripts out there rely on: the command's options, the package's names, and that neither is slow to load."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.main import get_command

import dollhouse
from dollhouse import cli


def test_options_are_frozen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Changing one is a decision, not an accident."""
    command = get_command(cli.app)
    verbs = {name: sub for name, sub in command.commands.items()}  # type: ignore[attr-defined]
    for group in ("scenes", "records"):
        verbs |= {f"{group} {name}": sub for name, sub in verbs.pop(group).commands.items()}
    options = {
        name: sorted(option for p in sub.params for option in p.opts if option.startswith("--"))
        for name, sub in verbs.items()
    }
    assert options == {
        "ask": ["--json", "--model", "--show", "--skip-bad", "--views"],
        "distill": ["--dry-run", "--out", "--peak-tflops", "--steps"],
        "evaluate": [
            "--annotations",
            "--benchmark",
            "--blind",
            "--compare",
            "--holdout-every",
            "--out",
            "--predictions",
            "--questions",
            "--scenes",
            "--seed",
            "--teacher",
            "--true-boxes",
            "--verify",
        ],
        "label": [
            "--features",
            "--geometry",
            "--half",
            "--limit",
            "--out",
            "--questions",
            "--scenes",
            "--seed",
            "--set",
            "--skip-bad",
            "--teacher",
            "--views",
        ],
        "plan": ["--dtype", "--heads", "--size", "--training", "--views", "--views-at-once", "--weights"],
        "probe": ["--out", "--questions", "--scenes", "--seed"],
        "records check": [],
        "reproduce": ["--budget", "--cache", "--dry-run", "--only", "--out", "--paper-size", "--student", "--teacher"],
        "records show": ["--limit"],
        "scenes show": ["--out", "--skip-bad", "--views"],
        "train-teacher": ["--out"],
        "version": [],
    }
    monkeypatch.setattr(sys, "argv", ["dollhouse", "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    told = capsys.readouterr().out
    assert all(verb in told for verb in ("ask", "distill", "evaluate", "label", "plan", "probe", "records", "scenes"))


def test_importing_is_quick() -> None:
    """``import dollhouse`` and the command's help load none of the heavy libraries."""
    heavy = ("torch", "transformers", "matplotlib", "scipy")
    code = f"import sys, dollhouse, dollhouse.cli; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_public_names_exist() -> None:
    for name in dollhouse.__all__:
        assert getattr(dollhouse, name) is not None
