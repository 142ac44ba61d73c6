"""The description of the machine and the software."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from dollhouse.system import environment


def test_processor_name_on_linux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Acme Abacus 9\nflags\t: fpu\n")
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "cpuinfo")
    assert environment.processor() == f"Acme Abacus 9, {platform.machine()}"


def test_architecture_where_there_is_no_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert environment.processor() == platform.machine()
    assert json.loads(json.dumps(environment.describe_machine()))["cores"] >= 1


def test_description_imports_no_torch_and_reads_no_environment_variables() -> None:
    code = (
        "import json, os, sys\n"
        "os.environ['DOLLHOUSE_API_KEY'] = 'a secret'\n"
        "from dollhouse.system.environment import describe_environment\n"
        "print(json.dumps(describe_environment()))\n"
        "assert 'torch' not in sys.modules\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    described = json.loads(process.stdout)
    assert described["python"] == platform.python_version()
    assert described["packages"]["numpy"]
    assert described["cuda"] is None
    assert "a secret" not in process.stdout


def test_extras_are_installed_where_all_their_packages_are(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = [
        "numpy>=1",
        'numpy>=1; extra == "video"',
        'dollhouse[video]; extra == "films"',
        'dollhouse[serve,video]>=0; extra == "both"',
        'numpy; extra == "serve"',
        'no-such-package; extra == "serve"',
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: [*requirements, "pillow; extra == 'photos'"])
    extras = environment.describe_environment()["extras"]
    assert extras == {"video": True, "films": True, "serve": False, "both": False, "photos": True}
