"""The commands and code of the README and the guides run as they are written; only sizes are reduced."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from dollhouse import cli
from dollhouse.scenes.scannet_writer import write_scannet
from dollhouse.scenes.synthetic.room_scene import room_scene
from tests.scenes.fixture_scans import write_photo

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = ("README.md", "docs/index.md", "docs/guides/ask.md", "docs/guides/adapt.md", "docs/guides/distil.md")
RUN += ("docs/guides/scene_tools.md",)
SMALLER = {  # what a word of a command becomes
    "5": "1",
    "rooms:test/0-9": "rooms:test/0-0",
    "rooms:test/0-19": "rooms:test/0-0",
    "rooms:test/0-199": "rooms:test/0-0",
    "rooms:train/0-19": "rooms:train/0-1",
    "rooms:train/0-99": "rooms:train/0-1",
    "stages.finetune.steps=20": "stages.finetune.steps=1",
}
#: recipe -> overrides that make it a matter of seconds
TINY = {
    "learn_on": ["stages.finetune.steps=1"],
    "real_scene": ["stages.finetune.steps=1", "stages.finetune.batch_size=1"],
    "rooms_nano": [
        "data.scenes=rooms:train/0-1",
        "data.workers=0",
        "student.vocabulary=400",
        "student.image_size=126",
        "student.text.num_hidden_layers=4",
    ]
    + [
        f"stages.{stage}.{setting}"
        for stage in ("pretrain_perception", "pretrain_retrieval", "pretrain_reasoning", "finetune_end_to_end")
        for setting in ("steps=1", "batch_size=1", "muon_learning_rate=0")
    ],
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def commands(page: Path) -> Iterator[str]:
    """Yield the command lines of a page, joined where they continue, without comments and what is piped in."""
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"\s#.*", "", line).strip().rpartition("| ")[2]
            if line.startswith("dollhouse "):
                yield line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change into a folder that has the photos and scans that the pages name."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write_photo(tmp_path / "my_photos" / f"{number}.jpg", (60 * number, 120, 90), (160, 120))
    write_scannet(room_scene("train", 0, views=12, image_size=84), tmp_path / "path/to/scene")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_commands_run(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = list(commands(ROOT / page))
    assert lines
    for line in lines:
        words = [SMALLER.get(word, word) for word in shlex.split(line)]
        words += next((TINY[word] for word in words if words[1] == "distill" and word in TINY), [])
        words += {"evaluate": ["--questions", "4"], "annotate": ["--limit", "4"]}.get(words[1], [])
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.setattr(sys, "stdin", open(folder / "my_photos/0.jpg"))  # noqa: SIM115 - no terminal
        if words[1] == "ask" and len(words) == 3:
            (folder / "questions.txt").write_text("Is there a sofa?\n")
            monkeypatch.setattr(sys, "stdin", open(folder / "questions.txt"))  # noqa: SIM115
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code, f"{line}: {capsys.readouterr().err}"


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_python_runs(page: str, folder: Path) -> None:
    for block in blocks(ROOT / page, "python"):
        exec(compile(block, page, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_known(page: Path) -> None:
    """Every command of every page, whatever it needs to run, names verbs and options that exist."""
    for line in commands(page):
        words = shlex.split(line)[1:]
        command = get_command(cli.app)
        context = command.make_context("dollhouse", words[:1], resilient_parsing=True)
        while hasattr(command, "commands"):
            name, command, words = command.resolve_command(context, words)
            assert command is not None, line
            context = command.make_context(name, words[:1], parent=context, resilient_parsing=True)
        command.make_context(name, list(words), parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_of_the_tree_exist(page: Path) -> None:
    """Files of the project that a page names are there."""
    for path in re.findall(r"`((?:dollhouse|tests|benchmarks|experiments)/[\w/.]+\.(?:py|yaml|md))`", page.read_text()):
        assert (ROOT / path).exists(), path


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"^make ([\w-]+)", "\n".join(blocks(page, "bash")), flags=re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), (page, target)
