"""The documentation site builds without a warning, and the notebook runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_site_builds_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    command_page = (tmp_path / "site/reference/cli.html").read_text(encoding="utf-8")
    assert all(verb in command_page for verb in ("dollhouse ask", "dollhouse annotate", "dollhouse verify"))
    recipe_page = (tmp_path / "site/reference/recipes.html").read_text(encoding="utf-8")
    assert "gt_assignment_prob" in recipe_page
    for page in (tmp_path / "site").rglob("*.html"):  # nothing is loaded from elsewhere
        assert '<script src="http' not in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_notebook_runs(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "notebooks/quick_start.ipynb", as_version=4)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("accuracy" in str(output.get("text", "")) for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
