"""The wheel holds all that the package reads from its own folder, and runs from another place."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: of each kind of file, what must be there
EXPECTED = (
    "py.typed",
    "__init__.pyi",
    "recipes/nano.yaml",
    "scenes/labels.txt",
    "models/weights/nano/model.safetensors",
    "models/weights/nano/blind/model.safetensors",
    "evaluation/report/templates/style.css",
)


@pytest.mark.slow
def test_wheel_has_all_files_of_the_package(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="builds the wheel without a network")
    build = ["-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir"]
    subprocess.run([sys.executable, *build, str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("dollhouse-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("dollhouse/")}
        archive.extractall(tmp_path / "site")
    package = [path for path in (ROOT / "dollhouse").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {str(path.relative_to(ROOT)) for path in package} == names
    assert {f"dollhouse/{name}" for name in EXPECTED} <= names
    code = "from dollhouse.training.recipes import read_recipe as r; print(r('nano').name, r.__code__.co_filename)"
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, cwd=tmp_path / "site", capture_output=True, text=True, check=True).stdout
    assert shown.startswith(f"nano {tmp_path}")
