"""The README's commands run as they stand there; only sizes are cut down, so that this takes seconds."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from dollhouse import cli
from dollhouse.models.dollhouse.checkpoint import SHIPPED
from tests.scenes.fixture_scans import write_photo, write_scan

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALLER = {  # what a command's words become
    "stages.pretrain_perception.steps=100": "stages.pretrain_perception.steps=1",
    "stages.pretrain_retrieval.steps=200": "stages.pretrain_retrieval.steps=1",
    "stages.pretrain_reasoning.steps=100": "stages.pretrain_reasoning.steps=1",
    "stages.finetune_end_to_end.steps=20": "stages.finetune_end_to_end.steps=1",
    **{
        f"stages.{stage}.steps=20": f"stages.{stage}.steps=1"
        for stage in ("pretrain_perception", "pretrain_retrieval", "pretrain_reasoning")
    },
    "stages.finetune_end_to_end.steps=10": "stages.finetune_end_to_end.steps=1",
    "rooms:test/0-19": "rooms:test/0-0",
    "rooms:train/0-19": "rooms:train/0-1",
}
FEWER = ["data.scenes=rooms:train/0-3", "data.workers=0", "student.vocabulary=400"]
FEWER += [
    f"stages.{stage}.batch_size=2"
    for stage in ("pretrain_perception", "pretrain_retrieval", "pretrain_reasoning", "finetune_end_to_end")
]

pytestmark = pytest.mark.skipif(not SHIPPED.is_dir(), reason="the shipped model is not in this tree")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def dollhouse_commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith("dollhouse ")]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the README speaks of."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write_photo(tmp_path / "my_photos" / f"{number}.jpg", (60 * number, 120, 90), (160, 120))
    write_scan(tmp_path / "path/to/scene", frames=12)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    return tmp_path


def test_every_command_runs(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    commands = dollhouse_commands()
    assert {command.split()[1] for command in commands} == {
        "ask",
        "distill",
        "evaluate",
        "label",
        "plan",
        "records",
        "scenes",
    }
    for command in commands:
        words = [SMALLER.get(word, word) for word in shlex.split(command)]
        if "nano" in words:
            words += FEWER
        if "real_scene" in words:
            words += ["stages.finetune.steps=1", "stages.finetune.batch_size=1"]
        if words[1] == "evaluate" and "--verify" not in words:
            words += ["--questions", "4"]
        monkeypatch.setattr(sys, "argv", words)
        code = None
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        assert not code, f"{command}: {capsys.readouterr().err}"
    assert (place / "answers.png").exists()
    assert (place / "room.png").exists()
    assert (place / "runs/first/report/report.html").exists()
    assert (place / "runs/place/model/config.json").exists()


def test_python_runs(place: Path) -> None:
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", "\n".join(blocks("bash")), flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link
