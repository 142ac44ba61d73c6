"""What answering by exported graphs imports, and what is printed where a package of the extra `train` is missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from dollhouse.models.model_folder import find_export

#: what only ``dollhouse[train]`` installs
TRAIN = ("torch", "transformers", "accelerate", "embreex", "httpx2", "jinja2", "omegaconf", "pyarrow", "yaml", "scipy")
TRAIN += ("safetensors", "matplotlib")
HEAVY = (*TRAIN, "pydantic")
#: refuses to import the packages that are given as arguments after the second
BLOCK = """
import sys
blocked = sys.argv[2:]
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""
ASK = """
import sys
import dollhouse.cli
import dollhouse.inference.pipeline, dollhouse.inference.onnx_session
from dollhouse.questions.wording import normalise_question
from dollhouse.scenes.open import open_scene
open_scene(sys.argv[1], skip_bad=True).read_sample(4, True)
normalise_question("How many chairs are there?")
print(" ".join(name for name in sys.argv[2:] if name in sys.modules))
"""
BASE = f"""{BLOCK}
import dollhouse, dollhouse.evaluation.report.answer_picture, dollhouse.scenes.description
try:
    dollhouse.distill
except dollhouse.DollhouseError as error:
    print(error)
import dollhouse.cli
sys.argv[1:] = ["scenes", "show", sys.argv[1], "--out", sys.argv[1] + "/plan.png"]
dollhouse.cli.main()
"""
ANSWER = f"""{BLOCK}
import dollhouse.cli
picture = sys.argv[1] + "/answers.png"
sys.argv[1:] = ["ask", sys.argv[1], "Is there a chair?", "How big is the room?", "--json", "--show", picture]
try:
    dollhouse.cli.main()
finally:
    assert not set(blocked) & set(sys.modules)
"""
LABELS = f"""{BLOCK}
import dollhouse.cli
sys.argv[1:] = ["labels", "nano"]
dollhouse.cli.main()
"""


def run(code: str, folder: Path, *names: str, **settings: str) -> subprocess.CompletedProcess[str]:
    Image.new("RGB", (64, 48)).save(folder / "photo.png")
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | settings
    command = [sys.executable, "-c", code, str(folder), *names]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_the_base_installs_nothing_of_train() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    base, train = (
        {re.split("[^A-Za-z0-9_-]", line)[0] for line in lines}
        for lines in (project["dependencies"], project["optional-dependencies"]["train"])
    )
    assert {name.replace("yaml", "pyyaml") for name in TRAIN} == train
    assert not base & train


def test_the_onnx_engine_imports_no_torch(tmp_path: Path) -> None:
    done = run(ASK, tmp_path, *HEAVY)
    assert (done.stdout, done.returncode) == ("\n", 0), done.stderr


def test_what_needs_torch_names_the_extra(tmp_path: Path) -> None:
    done = run(BASE, tmp_path, *TRAIN, "markupsafe")
    assert done.returncode == 0, done.stderr
    assert "which is not installed: pip install 'dollhouse[train]'" in done.stdout
    assert (tmp_path / "plan.png").is_file()


def test_labels_are_printed_without_torch(tmp_path: Path) -> None:
    done = run(LABELS, tmp_path, *TRAIN, "markupsafe")
    assert done.returncode == 0, done.stderr
    assert "sofa (has a front): " in done.stdout


def test_the_shipped_export_answers_without_torch(tmp_path: Path) -> None:
    if find_export("nano") is None:
        pytest.skip("the shipped model has no export")
    done = run(ANSWER, tmp_path, *TRAIN, "markupsafe")  # comes with jinja2; Typer imports pydantic itself
    assert done.returncode == 0, done.stderr
    answered = json.loads(done.stdout)
    assert "/float16" in answered["model"]
    assert all(answer["text"] for answer in answered["answers"])
    assert Image.open(tmp_path / "answers.png").width > 1000


def test_onnx_runtime_reports_nothing_to_its_maker(tmp_path: Path) -> None:
    if find_export("nano") is None:
        pytest.skip("the shipped model has no export")
    cache = tmp_path / "cache"
    cache.mkdir()
    done = run(ANSWER, tmp_path, XDG_CACHE_HOME=str(cache))
    assert done.returncode == 0, done.stderr
    assert not list(cache.iterdir())
