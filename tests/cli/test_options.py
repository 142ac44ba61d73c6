"""The command's options and the package's public names, and that neither is slow to import."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields

import pytest
from typer.main import get_command

import dollhouse
from dollhouse import cli
from dollhouse.scenes.corrections import Corrections

CORRECTING = ("ask", "annotate", "evaluate", "scenes show", "scenes info", "scenes export")


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
    shared = [f"--{field.name.replace('_', '-')}" for field in fields(Corrections)]
    for verb in CORRECTING:
        assert all(option in options[verb] for option in shared), verb
        options[verb] = [option for option in options[verb] if option not in shared]
    assert options == {
        "annotate": [
            "--boxes",
            "--cameras",
            "--depth",
            "--detector",
            "--features",
            "--fp16",
            "--geometry-teacher",
            "--limit",
            "--no-features",
            "--out",
            "--questions",
            "--ray",
            "--scenes",
            "--seed",
            "--shard",
            "--skip-bad",
            "--teacher",
            "--teacher-arg",
            "--views",
        ],
        "ask": [
            "--camera-height",
            "--engine",
            "--focal",
            "--json",
            "--known-length",
            "--model",
            "--show",
            "--skip-bad",
            "--views",
        ],
        "benchmark": [
            "--annotations",
            "--blind",
            "--data",
            "--model",
            "--out",
            "--predictions",
            "--scenes",
            "--seed",
            "--teacher",
            "--teacher-arg",
        ],
        "compare": ["--out", "--seed"],
        "distill": ["--dry-run", "--out", "--peak-tflops", "--profile-steps"],
        "env": [],
        "estimate": [
            "--dtype",
            "--heads",
            "--processes",
            "--size",
            "--training",
            "--views",
            "--views-at-once",
            "--weights",
        ],
        "bench": ["--out", "--question", "--repeats", "--rounds", "--scene", "--views"],
        "export": ["--out", "--photos", "--precision", "--questions-per-scene", "--scenes"],
        "evaluate": [
            "--blind",
            "--holdout-every",
            "--oracle-boxes",
            "--out",
            "--questions",
            "--scenes",
            "--seed",
            "--teacher",
            "--teacher-arg",
            "--views",
        ],
        "labels": ["--json"],
        "probe-thinking": ["--out", "--questions", "--scenes", "--seed"],
        "records check": [],
        "records merge": ["--out"],
        "records show": ["--limit"],
        "scenes export": ["--format", "--model", "--out", "--points", "--predicted", "--skip-bad", "--views"],
        "scenes info": ["--json"],
        "scenes show": ["--out", "--skip-bad", "--views"],
        "serve": [
            "--allow-host",
            "--deadline",
            "--disk",
            "--encoders",
            "--engine",
            "--host",
            "--keys",
            "--max-upload",
            "--memory",
            "--model",
            "--port",
            "--store",
        ],
        "verify": [],
        "version": [],
    }
    monkeypatch.setattr(sys, "argv", ["dollhouse", "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    text = capsys.readouterr().out
    assert all(verb.split()[0] in text for verb in options)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_works(shell: str) -> None:
    """The script that a shell sources, and the completions that bash then requests."""
    code = "import dollhouse.cli; dollhouse.cli.app(prog_name='dollhouse')"

    def complete(**environment: str) -> str:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
        return done.stdout

    assert "_DOLLHOUSE_COMPLETE" in complete(_DOLLHOUSE_COMPLETE=f"source_{shell}")
    words = complete(_DOLLHOUSE_COMPLETE="complete_bash", COMP_WORDS="dollhouse an", COMP_CWORD="1")
    assert words.split() == ["annotate"]


def test_importing_is_quick() -> None:
    """``import dollhouse`` and the command's help load none of the heavy libraries."""
    heavy = ("torch", "transformers", "matplotlib", "scipy")
    code = f"import sys, dollhouse, dollhouse.cli; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_public_names_exist() -> None:
    for name in dollhouse.__all__:
        assert getattr(dollhouse, name) is not None
